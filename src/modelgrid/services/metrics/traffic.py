"""What the gateways' reports say of the present: rates and times, of the fleet, of each model and each deployment.

Reports are cumulative since a gateway's start and come once a second from each of this node's, and with the heartbeats
of other nodes from theirs. The rate of one gateway holds until its
next report, so that reports which come a little early or late do not make teeth.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from modelgrid.decide.quantile import histogram_quantile
from modelgrid.domain.metric import QUANTILES
from modelgrid.domain.routing import LATENCY_BUCKETS_SECONDS, GatewayReport, Series

FRESH_SECONDS = 3.0
WINDOW_SECONDS = 10.0
"""Of quantiles: what one second holds is too little."""
FLEET = ("", "")
_BUCKETS = len(LATENCY_BUCKETS_SECONDS) + 1

Scope = tuple[str, str]
"""(`model`, id), (`deployment`, id) or `FLEET`."""
_Cell = tuple[str, str, str, str]


@dataclass(slots=True)
class Change:
    """What happened between two reports."""

    requests: float = 0.0
    errors: float = 0.0
    input_tokens: float = 0.0
    output_tokens: float = 0.0
    first_byte: list[int] = field(default_factory=lambda: [0] * _BUCKETS)
    duration: list[int] = field(default_factory=lambda: [0] * _BUCKETS)

    def add(self, new: Series, old: Series | None) -> None:
        requests = new.requests - (old.requests if old else 0)
        self.requests += requests
        if new.status == "5xx":
            self.errors += requests
        self.input_tokens += new.input_tokens - (old.input_tokens if old else 0)
        self.output_tokens += new.output_tokens - (old.output_tokens if old else 0)
        _add(self.first_byte, new.first_byte_buckets, old.first_byte_buckets if old else ())
        _add(self.duration, new.duration_buckets, old.duration_buckets if old else ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """The present traffic of one scope. Times are seconds; `None` without requests in the window."""

    requests_per_second: float = 0.0
    errors_per_second: float = 0.0
    input_tokens_per_second: float = 0.0
    output_tokens_per_second: float = 0.0
    latency: tuple[float | None, ...] = (None,) * len(QUANTILES)
    """p50, p95, p99; so is `ttft`."""
    ttft: tuple[float | None, ...] = (None,) * len(QUANTILES)

    @property
    def error_ratio(self) -> float | None:
        """Share of the requests that were answered with 5xx; `None` without requests."""
        return self.errors_per_second / self.requests_per_second if self.requests_per_second > 0 else None

    def figures(self) -> Iterator[tuple[str, float | None]]:
        """Yield each figure under its name in `domain.metric`, prefix aside."""
        yield "requests_per_second", self.requests_per_second
        yield "errors_per_second", self.errors_per_second
        yield "input_tokens_per_second", self.input_tokens_per_second
        yield "output_tokens_per_second", self.output_tokens_per_second
        for name, values in (("latency", self.latency), ("ttft", self.ttft)):
            for (quantile, _), value in zip(QUANTILES, values, strict=True):
                yield f"{name}_{quantile}_seconds", value


@dataclass(slots=True)
class _Gateway:
    report: GatewayReport
    cells: dict[_Cell, Series]
    at: float
    fresh_seconds: float
    seconds: float = 1.0
    changes: dict[Scope, Change] = field(default_factory=dict)
    """Since the report before the newest."""


class Traffic:
    def __init__(self) -> None:
        self._gateways: dict[tuple[str, int, float], _Gateway] = {}
        self._windows: dict[Scope, deque[tuple[float, Change]]] = {}

    def take(self, report: GatewayReport, now: float, fresh_seconds: float = FRESH_SECONDS) -> None:
        """Take in a report that came at monotonic time `now` and holds for `fresh_seconds`."""
        key = (report.gateway, report.pid, report.started_at)
        cells = {(s.model, s.replica, s.key, s.status): s for s in report.series}
        before = self._gateways.get(key)
        if before is None:  # what it counted before was counted in the time of an earlier control
            self._gateways[key] = _Gateway(report, cells, now, fresh_seconds)
            return
        if now - before.at < 0.2:  # sent besides the regular ones; the next one covers its time
            before.report = report
            return
        changes = _changes(before.cells, cells)
        self._gateways[key] = _Gateway(report, cells, now, fresh_seconds, now - before.at, changes)
        for scope, change in changes.items():
            self._windows.setdefault(scope, deque()).append((now, change))

    def flows(self, now: float) -> dict[Scope, Flow]:
        """Return the traffic of every scope that has some, or had in the last seconds, and always of the fleet."""
        self._forget(now)
        sums: dict[Scope, list[float]] = {}
        for gateway in self._gateways.values():
            for scope, change in gateway.changes.items():
                total = sums.setdefault(scope, [0.0] * 4)
                figures = (change.requests, change.errors, change.input_tokens, change.output_tokens)
                for index, figure in enumerate(figures):
                    total[index] += figure / gateway.seconds
        scopes = {FLEET, *sums, *self._windows}
        return {scope: self._flow(scope, sums.get(scope, [0.0] * 4)) for scope in scopes}

    def reports(self, now: float) -> tuple[GatewayReport, ...]:
        """Return the newest report of every gateway that reports."""
        return tuple(g.report for g in self._gateways.values() if now - g.at <= g.fresh_seconds)

    def _flow(self, scope: Scope, rates: list[float]) -> Flow:
        latency, ttft = [0] * _BUCKETS, [0] * _BUCKETS
        for _, change in self._windows.get(scope, ()):
            _add(latency, change.duration)
            _add(ttft, change.first_byte)
        return Flow(
            requests_per_second=rates[0],
            errors_per_second=rates[1],
            input_tokens_per_second=rates[2],
            output_tokens_per_second=rates[3],
            latency=tuple(histogram_quantile(q, LATENCY_BUCKETS_SECONDS, latency) for _, q in QUANTILES),
            ttft=tuple(histogram_quantile(q, LATENCY_BUCKETS_SECONDS, ttft) for _, q in QUANTILES),
        )

    def _forget(self, now: float) -> None:
        for key in [key for key, gateway in self._gateways.items() if now - gateway.at > gateway.fresh_seconds]:
            del self._gateways[key]
        for scope, window in tuple(self._windows.items()):
            while window and window[0][0] < now - WINDOW_SECONDS:
                window.popleft()
            if not window:
                del self._windows[scope]


def _changes(old: dict[_Cell, Series], new: dict[_Cell, Series]) -> dict[Scope, Change]:
    changes: dict[Scope, Change] = {}
    for cell, series in new.items():
        before = old.get(cell)
        if before is not None and before.requests == series.requests:
            continue
        scopes = [FLEET]
        scopes += [("model", series.model)] if series.model else []
        scopes += [("deployment", series.replica)] if series.replica else []
        for scope in scopes:
            changes.setdefault(scope, Change()).add(series, before)
    return changes


def _add(total: list[int], new: tuple[int, ...] | list[int], old: tuple[int, ...] | list[int] = ()) -> None:
    for index, value in enumerate(new):
        total[index] += value - (old[index] if old else 0)
