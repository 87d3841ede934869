"""What this process counts. Cumulative since it started; read by `/metrics` and by the report to control."""

from bisect import bisect_left
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

from modelgrid.domain.routing import LATENCY_BUCKETS_SECONDS, Series
from modelgrid.gateway.sheet import OVERHEAD_BUCKETS_SECONDS, TOKEN_BUCKETS
from modelgrid.gateway.usage import NO_TOKENS

if TYPE_CHECKING:
    from modelgrid.gateway.request import Request

CANCELLED: Final = "cancelled"
"""The status of requests whose client went away."""
_CLASSES: Final = {hundred: f"{hundred}xx" for hundred in range(1, 6)}


def status_class(status: int) -> str:
    """Return `2xx` for 200, and so on."""
    return _CLASSES.get(status // 100, "5xx")


class Histogram:
    """Counts per bucket, one more for what is above the last bound."""

    __slots__ = ("_bounds", "buckets", "sum")

    def __init__(self, bounds: tuple[float, ...] = LATENCY_BUCKETS_SECONDS) -> None:
        self._bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.buckets[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def add(self, other: "Histogram") -> None:
        """Count all that `other`, of the same bounds, has counted."""
        self.buckets = [one + more for one, more in zip(self.buckets, other.buckets, strict=True)]
        self.sum += other.sum


class Cell:
    """Figures of one (model, replica, key label, status class)."""

    __slots__ = ("duration", "first_byte", "input_tokens", "output_tokens", "requests")

    def __init__(self) -> None:
        self.requests = 0
        self.input_tokens = 0
        self.output_tokens = 0
        self.first_byte = Histogram()
        self.duration = Histogram()

    def count(self, seconds: float, first_byte: float | None) -> None:
        """Count a request that took `seconds`; `first_byte`: of these up to the first payload byte, None without."""
        self.requests += 1
        duration = self.duration  # `observe`, without the calls: this is on the way of every request
        duration.buckets[bisect_left(LATENCY_BUCKETS_SECONDS, seconds)] += 1
        duration.sum += seconds
        if first_byte is not None:
            first = self.first_byte
            first.buckets[bisect_left(LATENCY_BUCKETS_SECONDS, first_byte)] += 1
            first.sum += first_byte


def _token_histograms() -> tuple[Histogram, Histogram]:
    return Histogram(TOKEN_BUCKETS), Histogram(TOKEN_BUCKETS)


class Counters:
    """All figures of one gateway process."""

    def __init__(self) -> None:
        self.cells: dict[tuple[str, str, str, str], Cell] = {}
        self.failovers: Counter[str] = Counter()
        """By replica that could not be reached, or was too busy: requests that another replica got instead."""
        self.resends: Counter[str] = Counter()
        """By replica: requests sent again on a fresh connection because the pooled one was already closed."""
        self.upstream_failures: Counter[tuple[str, str]] = Counter()
        """By replica and kind: `connect`, `accepted`, `mid_stream`, `timeout`, `malformed`."""
        self.refused: Counter[str] = Counter()
        """By error code: requests the gateway answered itself."""
        self.shed: Counter[tuple[str, str]] = Counter()
        """By model and reason: requests that were refused, or cut short, for now."""
        self.queue_waits: defaultdict[str, Histogram] = defaultdict(Histogram)
        """By model: seconds in line."""
        self.overheads: defaultdict[str, Histogram] = defaultdict(lambda: Histogram(OVERHEAD_BUCKETS_SECONDS))
        """By model: the gateway's own seconds on a request."""
        self.token_usage: defaultdict[str, tuple[Histogram, Histogram]] = defaultdict(_token_histograms)
        """By model: input and output tokens of a request whose answer states them."""
        self.key_last_used: dict[str, float] = {}
        """Unix time by key id."""
        self.wanted: dict[str, float] = {}
        """Unix time of the last request for a model that is known and not running."""

    def cell(self, model: str, replica: str, key: str, status: str) -> Cell:
        """Return the figures of these labels, made on first use."""
        labels = (model, replica, key, status)
        cell = self.cells.get(labels)
        if cell is None:
            cell = self.cells[labels] = Cell()
        return cell

    def over(
        self,
        request: "Request",
        model: str,
        replica: str,
        status: str,
        now: float,
        first_byte: float,
        usage: tuple[int, int],
    ) -> None:
        """Count a request to a replica that is over at `now`, on the clock of `request.started`; `first_byte`: when its
        payload began, 0 when it did not."""
        grant, started = request.grant, request.started
        cell = self.cell(model, replica, grant.label if grant is not None else "", status)
        cell.count(now - started, first_byte - started if first_byte else None)
        if usage != NO_TOKENS:
            self.count_tokens(model, cell, usage)

    def count_tokens(self, model: str, cell: Cell, usage: tuple[int, int]) -> None:
        """Count the (input, output) tokens that an answer states."""
        into, out = usage
        cell.input_tokens += into
        cell.output_tokens += out
        read, generated = self.token_usage[model]
        read.observe(into)
        generated.observe(out)

    def answered_here(self, key: str, status: int, seconds: float) -> None:
        """Count a request that reached no replica; `key`: its label, empty without a valid one."""
        cell = self.cell("", "", key, status_class(status))
        cell.requests += 1
        cell.duration.observe(seconds)

    def series(self) -> tuple[Series, ...]:
        """Return all cells as messages."""
        return tuple(
            Series(
                model=model,
                replica=replica,
                key=key,
                status=status,
                requests=cell.requests,
                input_tokens=cell.input_tokens,
                output_tokens=cell.output_tokens,
                first_byte_buckets=tuple(cell.first_byte.buckets),
                duration_buckets=tuple(cell.duration.buckets),
                duration_seconds_sum=cell.duration.sum,
                first_byte_seconds_sum=cell.first_byte.sum,
            )
            for (model, replica, key, status), cell in self.cells.items()
        )
