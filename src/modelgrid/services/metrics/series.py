"""All series that are kept, by metric and what they are about."""

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from modelgrid.domain.metric import METRIC, Metric
from modelgrid.services.metrics.ring import COARSE_SECONDS, COARSE_STEP, FINE_SECONDS, HOUR_SECONDS, Ring

MOST_BYTES = 64 * 1024**2
"""Of values. What does not fit is the oldest of the long range, of all series alike."""
MOST_SERIES = 10_000
"""So many have room for 15 minutes and an hour; 20 nodes × 8 GPUs × 200 deployments of 200 models make 6,260."""
POINTS = 600
"""Of a series, when no step is asked for."""
MOST_POINTS = 10_000

Labels = tuple[str, ...]
"""Values, in the order of the metric's label names."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One series with its values at the times asked for."""

    metric: Metric
    labels: Mapping[str, str]
    values: tuple[float | None, ...]


class SeriesStore:
    """One event loop."""

    def __init__(self) -> None:
        self._series: dict[str, dict[Labels, Ring]] = {name: {} for name in METRIC}
        self._count = 0
        self._refused_at, self._refused = 0, 0
        """The last second in which values found no room, and how many."""
        self._looked_at = 0
        """Second of the last look for what has ended: a fleet of many series asks for room for each of them."""
        self.long_range = COARSE_SECONDS
        """Seconds that ten-second means reach back: a day, or as much of it as there is room for."""

    def takes(self, name: str, labels: Labels, second: int) -> bool:
        """Whether there is such a series, or room for one more."""
        return labels in self._series[name] or self._count < MOST_SERIES or self._make_room(second)

    def put(self, name: str, labels: Labels, second: int, value: float | None) -> None:
        """Keep a value; `None` is a gap."""
        if value is None:
            return
        group = self._series[name]
        ring = group.get(labels)
        if ring is None:
            if self._count >= MOST_SERIES and not self._make_room(second):
                return
            ring = group[labels] = Ring(METRIC[name].scale)
            self._count += 1
        ring.put(second, value)

    def latest(self, name: str, labels: Labels, second: int, within: int = 5) -> float | None:
        """Return the newest value that is at most `within` seconds old."""
        ring = self._series[name].get(labels)
        if ring is None or ring.last < second - within:
            return None
        return ring.values((ring.last,), 1)[0]

    def find(self, name: str, wanted: Mapping[str, str], times: range) -> list[Found]:
        """Return the series of a metric whose labels are as `wanted` says, in the order of their labels."""
        metric = METRIC[name]
        found = []
        for labels, ring in sorted(self._series[name].items()):
            named = dict(zip(metric.labels, labels, strict=True))
            if all(named.get(label) == value for label, value in wanted.items()):
                found.append(Found(metric=metric, labels=named, values=tuple(ring.values(times, times.step))))
        return found

    def forget_old(self, second: int) -> None:
        """Drop the series that have nothing of the last day, and the oldest hours of all when they take too much."""
        self._drop(second - COARSE_SECONDS)
        before = self.long_range
        if self.long_range < COARSE_SECONDS and self.size() < MOST_BYTES * 3 // 4:
            self.long_range += HOUR_SECONDS
        self._shorten(second)
        while self.size() > MOST_BYTES and self.long_range > HOUR_SECONDS:
            self.long_range -= HOUR_SECONDS
            self._shorten(second)
        if self.long_range < before:
            log.warning("series reach back less far", hours=self.long_range // HOUR_SECONDS, series=self._count)

    def left_out(self, second: int, within: int = 5) -> int:
        """Return how often there was no room in the last second in which there was none, if that was within so many:
        once for each series, and once for what `takes` refuses, all of whose series are left out."""
        return self._refused if self._refused_at >= second - within else 0

    def size(self) -> int:
        """Return the bytes of all values."""
        return sum(ring.size for group in self._series.values() for ring in group.values())

    def __len__(self) -> int:
        return self._count

    def _make_room(self, second: int) -> bool:
        """Drop what has ended; return whether there is room now."""
        if self._looked_at != second:
            self._looked_at = second
            self._drop(second - FINE_SECONDS)
        if self._count < MOST_SERIES:
            return True
        if self._refused_at < second - HOUR_SECONDS:
            log.warning("no further metric series are kept", series=self._count)
        self._refused = self._refused + 1 if self._refused_at == second else 1
        self._refused_at = second
        return False

    def _shorten(self, second: int) -> None:
        if self.long_range < COARSE_SECONDS:
            for group in self._series.values():
                for ring in group.values():
                    ring.forget(second - self.long_range)

    def _drop(self, before: int) -> None:
        for group in self._series.values():
            for labels in [labels for labels, ring in group.items() if ring.last < before]:
                del group[labels]
                self._count -= 1


def times_for(since: float, until: float, step: int | None, now: float) -> range:
    """Return the times of the points, at multiples of the step, so that all series have the same ones.

    Without a step it is the smallest that gives at most `POINTS`. What reaches further back than 15 minutes is kept
    every 10 s: a finer step becomes ten."""
    length = max(1.0, until - since)
    if step is None:
        step = max(1, -int(-length // POINTS))
    step = max(step, -int(-length // MOST_POINTS))
    if since < now - FINE_SECONDS or step >= COARSE_STEP:
        step = max(1, -(-step // COARSE_STEP)) * COARSE_STEP
    first = int(since) // step * step
    return range(first, int(until) + 1, step)
