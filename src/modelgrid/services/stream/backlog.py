"""The changes of the recent past, in order: what every stream is read from.

There are no queues per client. A client is a position in this backlog; whoever falls so far behind that the backlog has
let go of what it did not read yet is told so. A gauge (the latest value of one key counts) keeps only its newest
change, which is what coalesces: a slow reader skips values that were superseded, and nothing else.

Log records have a lane of their own, so that a chatty engine does not push the state of the fleet out.
Without IO and clocks; all positions are sequence numbers.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from modelgrid.domain.event import Level
from modelgrid.services.stream.wish import Wish

LOG_TOPIC = "logs"
MOST_HOLES = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much one lane keeps. Whichever is reached first lets go of the oldest."""

    changes: int
    size: int
    """Bytes of the frames."""


STATE_BOUNDS = Bounds(changes=5_000, size=1024**2)
"""Two minutes of ten changes a second: a page that is loaded anew, or a line that is down for a moment. A change takes
half as much again as its frame."""
LOG_BOUNDS = Bounds(changes=20_000, size=8 * 1024**2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One published change. `frame` is what is sent, the same bytes for every client."""

    seq: int
    topic: str
    key: str
    frame: bytes
    gauge: bool = False
    """A newer change of the same topic and key makes this one superfluous."""
    source: str = ""
    level: Level | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """What one stream is sent next, and its position afterwards."""

    data: bytes
    position: int


class _Lane:
    """Sizes of what one lane keeps, oldest first."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.sizes: OrderedDict[int, int] = OrderedDict()
        self.total = 0
        self.floor = 0
        """Changes up to here may be gone."""

    def drop(self, seq: int) -> None:
        self.total -= self.sizes.pop(seq)

    def overflow(self) -> Iterator[int]:
        """Let go of the oldest while there is too much; the newest always stays."""
        while len(self.sizes) > 1 and (len(self.sizes) > self.bounds.changes or self.total > self.bounds.size):
            seq, size = self.sizes.popitem(last=False)
            self.total -= size
            self.floor = seq
            yield seq


class Backlog:
    """One sequence of changes over all topics."""

    def __init__(self, state: Bounds = STATE_BOUNDS, logs: Bounds = LOG_BOUNDS) -> None:
        self.head = 0
        """Sequence number of the newest change."""
        self._changes: dict[int, Change] = {}
        self._state, self._logs = _Lane(state), _Lane(logs)
        self._gauges: dict[tuple[str, str], int] = {}
        self._holes: dict[str, int] = {}
        self._lost_holes = 0
        self._newest_gap = 0
        self._shared: dict[tuple[Wish, int], Batch] = {}

    def add(
        self,
        topic: str,
        key: str,
        frame: Callable[[int], bytes],
        *,
        gauge: bool = False,
        source: str = "",
        level: Level | None = None,
    ) -> Change:
        """Append a change whose frame `frame` makes from its sequence number."""
        self.head += 1
        self._shared.clear()
        change = Change(
            seq=self.head, topic=topic, key=key, frame=frame(self.head), gauge=gauge, source=source, level=level
        )
        lane = self._lane(topic)
        if (superseded := self._gauges.pop((topic, key), None)) is not None:
            lane.drop(superseded)
            del self._changes[superseded]
        if gauge:
            self._gauges[topic, key] = change.seq
        self._changes[change.seq] = change
        lane.sizes[change.seq] = len(change.frame)
        lane.total += len(change.frame)
        for seq in lane.overflow():
            self._forget(seq)
        self._newest_gap = max(self._newest_gap, lane.floor)
        return change

    def skip(self, topic: str) -> None:
        """Something of `topic` changed and was not published: whoever was here before cannot be brought up to date."""
        self.head += 1
        self._shared.clear()
        self._holes.pop(topic, None)
        self._holes[topic] = self._newest_gap = self.head
        if len(self._holes) > MOST_HOLES:
            oldest = next(iter(self._holes))
            self._lost_holes = self._holes.pop(oldest)

    def gauge(self, topic: str, key: str) -> Change | None:
        """Return the change that everybody who is up to date has for this key; `None` when that is not known."""
        seq = self._gauges.get((topic, key))
        if seq is None or seq < max(self._holes.get(topic, 0), self._lost_holes):
            return None
        return self._changes[seq]

    def missing(self, wish: Wish, position: int) -> tuple[str, ...]:
        """Return the topics of `wish` that cannot be brought up to date from `position`; empty when all can."""
        if position >= self._newest_gap and position <= self.head:
            return ()
        return tuple(sorted(topic for topic in wish.topics if not self._reaches(topic, position)))

    def after(self, wish: Wish, position: int, most_bytes: int) -> Batch:
        """Return the wanted changes after `position`, up to about `most_bytes` of them."""
        known = self._shared.get((wish, position))
        if known is None:
            known = self._shared[wish, position] = self._collect(wish, position, most_bytes)
        return known

    def _collect(self, wish: Wish, position: int, most_bytes: int) -> Batch:
        frames: list[bytes] = []
        size = 0
        for change in self._newer(position):
            if not wish.wants(change.topic, change.source, change.level):
                continue
            if size >= most_bytes:
                return Batch(b"".join(frames), position)
            frames.append(change.frame)
            size += len(change.frame)
            position = change.seq
        return Batch(b"".join(frames), self.head)

    def _newer(self, position: int) -> Iterator[Change]:
        if self.head - position <= len(self._changes):
            for seq in range(position + 1, self.head + 1):
                if (change := self._changes.get(seq)) is not None:
                    yield change
        else:
            yield from (change for seq, change in self._changes.items() if seq > position)

    def _reaches(self, topic: str, position: int) -> bool:
        gap = max(self._lane(topic).floor, self._holes.get(topic, 0), self._lost_holes)
        return gap <= position <= self.head

    def _forget(self, seq: int) -> None:
        change = self._changes.pop(seq)
        if change.gauge:
            del self._gauges[change.topic, change.key]

    def _lane(self, topic: str) -> _Lane:
        return self._logs if topic == LOG_TOPIC else self._state
