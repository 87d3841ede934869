"""Faults that a simulated engine can be told to have."""

from collections.abc import Iterable
from dataclasses import dataclass, fields

HELP = """\
faults (--sim-fault, may be repeated):
  oom-at-load            torch.OutOfMemoryError while the weights load, exit 1
  kv-too-small           vLLM's ValueError about the KV cache, exit 1
  exit-at-load=CODE      end with CODE while loading
  hang-at-load           never finish loading
  exit-after=N           end with code 1 after N more answered inference requests
  status=CODE[:RATE]     answer inference requests with CODE, all or the share RATE (0 to 1, evenly spread)
  slow=FACTOR            multiply the time to first token and between tokens
  hang                   accept inference requests and never answer them; /health stays well, as with vLLM
  freeze                 answer nothing at all, /health included
  unhealthy              /health answers 503
  die-mid-stream[=N]     SIGKILL to itself once a stream has sent N tokens (default 3)
  drop-mid-stream[=N]    close the connection of a stream after N tokens (default 3)
  error-mid-stream[=N]   end a stream with vLLM's error event after N tokens (default 3)
"""
_DEFAULT_TOKENS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """The faults in force. The default has none."""

    oom_at_load: bool = False
    kv_too_small: bool = False
    exit_at_load: int | None = None
    hang_at_load: bool = False
    exit_after: int | None = None
    status: int | None = None
    status_rate: float = 1.0
    slow: float = 1.0
    hang: bool = False
    freeze: bool = False
    unhealthy: bool = False
    die_mid_stream: int | None = None
    drop_mid_stream: int | None = None
    error_mid_stream: int | None = None

    @property
    def mid_stream(self) -> bool:
        return not (self.die_mid_stream is None and self.drop_mid_stream is None and self.error_mid_stream is None)

    def active(self) -> dict[str, bool | int | float]:
        """Return what differs from a sound engine, by its name on the command line."""
        return {
            field.name.replace("_", "-"): getattr(self, field.name)
            for field in fields(self)
            if getattr(self, field.name) != getattr(SOUND, field.name)
        }


SOUND = Faults()


def parse_faults(specs: Iterable[str]) -> Faults:
    """Return the faults named by `specs`, each `name` or `name=value`. Raises `ValueError` for any other text."""
    values: dict[str, bool | int | float] = {}
    for spec in specs:
        name, given, value = spec.partition("=")
        try:
            values |= _parse(name, value if given else None)
        except ValueError as error:
            raise ValueError(f"fault {spec!r}: {error}") from error
    return Faults(**values)  # type: ignore[arg-type]


def _parse(name: str, value: str | None) -> dict[str, bool | int | float]:
    field = name.replace("-", "_")
    if field in {"oom_at_load", "kv_too_small", "hang_at_load", "hang", "freeze", "unhealthy"}:
        if value is not None:
            raise ValueError("takes no value")
        return {field: True}
    if field in {"die_mid_stream", "drop_mid_stream", "error_mid_stream"}:
        return {field: _whole(value if value is not None else str(_DEFAULT_TOKENS), least=0)}
    if field == "exit_at_load":
        return {field: _whole(value, least=0, most=255)}
    if field == "exit_after":
        return {field: _whole(value, least=1)}
    if field == "slow":
        factor = float(value or "")
        if not 0 < factor < float("inf"):
            raise ValueError("expected a factor above 0")
        return {field: factor}
    if field == "status":
        code, _, rate = (value or "").partition(":")
        share = float(rate) if rate else 1.0
        if not 0 <= share <= 1:
            raise ValueError("expected a rate from 0 to 1")
        return {"status": _whole(code, least=400, most=599), "status_rate": share}
    raise ValueError("no such fault; see --help")


def _whole(text: str | None, *, least: int, most: int = 2**31) -> int:
    if text is None or not text.isdigit() or not least <= int(text) <= most:
        raise ValueError(
            f"expected a whole number of at least {least}" + (f" and at most {most}" if most < 600 else "")
        )
    return int(text)
