"""How far deployments are: one line each, in the width there is. No clock, no output: `now` is an argument."""

from collections import deque
from typing import TYPE_CHECKING

from rich.text import Text

from modelgrid.cli.output import short, status
from modelgrid.domain.units import format_bytes, format_duration

if TYPE_CHECKING:
    from modelgrid.client.views import DeploymentView, PullProgress

RATE_WINDOW_SECONDS = 10.0
"""A rate is averaged over so long: a pull comes in bursts, one per layer."""
_PART_DONE = frozenset({"Pull complete", "Already exists"})
_BAR_CELLS = 20
_NARROW = 100
"""Windows narrower than this get half a bar."""


class RateMeter:
    """Bytes per second out of readings of a counter."""

    def __init__(self) -> None:
        self._readings: deque[tuple[float, int]] = deque()

    def read(self, now: float, done: int) -> float | None:
        """Note a reading and return the rate; `None` until it can be told. `now` in seconds of any clock."""
        if self._readings and done < self._readings[-1][1]:
            self._readings.clear()  # a new pull
        self._readings.append((now, done))
        while len(self._readings) > 2 and now - self._readings[0][0] > RATE_WINDOW_SECONDS:
            self._readings.popleft()
        first_at, first = self._readings[0]
        return (done - first) / (now - first_at) if now - first_at >= 1.0 else None


def progress_line(item: "DeploymentView", meter: RateMeter, now: float, width: int) -> Text:
    """Return what a deployment does at present, on one line of at most `width` cells."""
    line = Text("  ").append_text(status(item["state"])).append("  ")
    pull = item["pull"]
    said = _pull(pull, meter, now, width) if pull and pull["layers"] else [_doing(item)]
    line.append(short(said[0]))
    for part in said[1:]:
        # The less important parts come last and are left out where there is no room for them.
        if line.cell_len + 2 + len(part) < width:
            line.append("  ").append(part)
    line.truncate(max(width - 1, 1), overflow="ellipsis")
    line.no_wrap = True
    return line


def _doing(item: "DeploymentView") -> str:
    return str(item["trouble"] or item["phase"] or item["reason"])


def _pull(pull: "PullProgress", meter: RateMeter, now: float, width: int) -> list[str]:
    layers = pull["layers"]
    done = sum(layer["done_bytes"] for layer in layers)
    total = sum(layer["total_bytes"] or layer["done_bytes"] for layer in layers)
    ready = sum(layer["status"] in _PART_DONE for layer in layers)
    rate = meter.read(now, done)
    cells = _BAR_CELLS if width >= _NARROW else _BAR_CELLS // 2
    said = [f"{bar(done, total, cells)} {format_bytes(done)} of {format_bytes(total)}"]
    if rate:
        said.append(f"{format_bytes(int(rate))}/s")
        if total > done:
            said.append(f"{format_duration((total - done) / rate)} left")
    said.append(f"layer {ready} of {len(layers)}")
    said.append(pull["image"])
    return [short(part) for part in said]


def bar(done: int, total: int, cells: int = _BAR_CELLS) -> str:
    """Return a bar and the percentage."""
    share = min(1.0, done / total) if total > 0 else 0.0
    full = int(share * cells)
    return f"{'━' * full}{'╌' * (cells - full)} {int(share * 100):>3} %"
