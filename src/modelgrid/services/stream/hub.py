"""Where changes are published and streams are opened. All methods run on the event loop and never block."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Literal

import structlog
from pydantic_core import to_json

from modelgrid.domain.errors import ModelGridError
from modelgrid.domain.event import Level
from modelgrid.ports.clock import Clock
from modelgrid.services.stream.backlog import Backlog
from modelgrid.services.stream.frames import Position, change_frame, frame, parse_position
from modelgrid.services.stream.wish import Wish

Op = Literal["upsert", "remove", "replace", "append"]

FLUSH_SECONDS = 0.05
"""Shortest time between two looks of a stream at what is new: bounds the work, whatever the rate of changes."""
BEAT_SECONDS = 5
LINGER_SECONDS = 60.0
"""A topic goes on being published so long after its last listener has left, so that it can come back without a gap."""
MOST_STREAMS = 512
CHUNK_BYTES = 64 * 1024

log = structlog.get_logger()


class TooManyStreams(ModelGridError):
    """As many streams are open as the daemon serves."""

    code = "too_many_streams"
    status = 503


class Stream:
    """One client's place in the backlog. Whoever sends awaits `ready`, then sends what `take` gives, until `ended`."""

    def __init__(self, hub: "Hub", wish: Wish, position: int, owner: str, opening: bytes) -> None:
        self.wish = wish
        self.owner = owner
        """Who opened it; `Hub.end` finds it by that."""
        self.position = position
        self.ended = False
        """Nothing more comes after what `take` gives next."""
        self.beat_due = False
        self.phase = hub.streams % BEAT_SECONDS
        """The second, of every few, in which it beats."""
        self._hub = hub
        self._opening = opening
        self._last_word = b""
        self._ready = asyncio.Event()
        self._ready.set()

    def wake(self) -> None:
        self._ready.set()

    async def ready(self) -> None:
        """Wait until there may be something to send."""
        await self._ready.wait()

    def take(self) -> bytes:
        """Return the next frames, some 64 KiB at most; empty when the client is up to date."""
        if self.ended:
            return self._last_word
        opening, self._opening = self._opening, b""
        return opening + self._hub.read(self, self._ready)

    def end(self, last_word: bytes = b"") -> None:
        """End it; the client is sent `last_word` if it still reads."""
        if self.ended:
            return
        self.ended, self._last_word = True, last_word
        self._hub.forget(self)
        self._ready.set()


class Hub:
    """`epoch` differs with each start of the control process. `run` sends the beats; `close` ends all streams."""

    def __init__(self, epoch: str, clock: Clock, backlog: Backlog | None = None) -> None:
        self._epoch = epoch
        self._clock = clock
        self._backlog = backlog or Backlog()
        self._streams: dict[Stream, None] = {}
        self._listeners: Counter[str] = Counter()
        self._left_at: dict[str, float] = {}
        """When the last listener of a topic left it."""
        self._changed: set[str] = set()
        self._flush: asyncio.TimerHandle | None = None
        self._flushed_at = 0.0
        self._open = True

    # publishing

    @property
    def position(self) -> Position:
        """The newest change. Whoever reads this first and the facts afterwards misses nothing from there on."""
        return Position(self._epoch, self._backlog.head)

    @property
    def streams(self) -> int:
        return len(self._streams)

    def wanted(self, topic: str) -> bool:
        """Whether somebody listens to `topic`, or did a moment ago."""
        return topic in self._listeners or topic in self._left_at

    def heard(self, topic: str) -> bool:
        """Call it when something of `topic` changed. Whether it is to be published; if not, the change is noted as
        one that no stream can be brought up to date with."""
        if not self.wanted(topic):
            self._backlog.skip(topic)
            return False
        return True

    def publish(
        self,
        topic: str,
        op: Op,
        key: str,
        value: Callable[[], object],
        *,
        gauge: bool = False,
        source: str = "",
        level: Level | None = None,
    ) -> None:
        """Publish a change. `value` is asked only when somebody listens, and gives what the REST answer shows
        (a Pydantic model, a dataclass, or what JSON knows).

        `gauge`: only the newest value of the key counts. One that is equal to the one before is not published.
        `source` and `level` are those of log records, for the streams' filters."""
        if not self.heard(topic):
            return
        data = to_json(value())
        if gauge:
            before = self._backlog.gauge(topic, key)
            if before is not None and before.frame.endswith(b'"value":' + data + b"}\n\n"):
                return
        self._backlog.add(
            topic,
            key,
            lambda seq: change_frame(Position(self._epoch, seq), topic, op, key, data),
            gauge=gauge,
            source=source,
            level=level,
        )
        self._changed.add(topic)
        if self._flush is None:
            loop = asyncio.get_running_loop()
            self._flush = loop.call_at(max(loop.time(), self._flushed_at + FLUSH_SECONDS), self._wake)

    # streams

    def open(self, wish: Wish, resume: str | None = None, owner: str = "") -> Stream:
        """Open a stream that goes on after `resume`, the id of a frame or of a REST answer; without one, from now on.

        What cannot be continued (another epoch, too long ago) is told by a `reset` frame that names the topics to
        fetch anew. Raises `TooManyStreams`."""
        if not self._open or len(self._streams) >= MOST_STREAMS:
            raise TooManyStreams(
                f"{MOST_STREAMS} streams are open." if self._open else "The daemon is stopping.",
                fix="Close consoles that nobody looks at, or try again later.",
            )
        position, reason, topics = self._continue(wish, resume)
        here = Position(self._epoch, position)
        opening = frame("hello", {"epoch": self._epoch, "at": self._clock.now(), "id": str(here)}, here)
        if reason:
            opening += frame("reset", {"reason": reason, "topics": topics}, here)
        stream = Stream(self, wish, position, owner, opening)
        self._streams[stream] = None
        for topic in wish.topics:
            self._listeners[topic] += 1
            self._left_at.pop(topic, None)
        return stream

    def end(self, owner: str) -> int:
        """End all streams of `owner`, whose right to them is gone; return how many there were."""
        own = [stream for stream in self._streams if stream.owner == owner]
        for stream in own:
            stream.end()
        return len(own)

    def read(self, stream: Stream, ready: asyncio.Event) -> bytes:
        """Return the next frames of a stream. `ready` is cleared when it is up to date then."""
        if lost := self._backlog.missing(stream.wish, stream.position):
            log.warning("console stream cut off: it does not keep up", owner=stream.owner)
            stream.end(self.lagged(f"too far behind in {', '.join(lost)}"))
            return stream.take()
        batch = self._backlog.after(stream.wish, stream.position, CHUNK_BYTES)
        stream.position = batch.position
        if batch.position < self._backlog.head:
            return batch.data
        ready.clear()
        if not stream.beat_due:
            return batch.data
        stream.beat_due = False
        return batch.data + frame("beat", {"at": self._clock.now()}, Position(self._epoch, stream.position))

    def lagged(self, reason: str) -> bytes:
        """Return the frame that tells a client why it is cut off."""
        return frame("lagged", {"reason": reason}, self.position)

    def forget(self, stream: Stream) -> None:
        """Nobody reads `stream` any more. Repeating it changes nothing."""
        if stream not in self._streams:
            return
        del self._streams[stream]
        for topic in stream.wish.topics:
            self._listeners[topic] -= 1
            if not self._listeners[topic]:
                del self._listeners[topic]
                self._left_at[topic] = self._clock.monotonic()

    # life

    async def run(self) -> None:
        """Have every stream beat every `BEAT_SECONDS`, a part of them each second, until cancelled."""
        second = 0
        while True:
            await self._clock.sleep(1.0)
            second += 1
            for stream in self._streams:
                if stream.phase == second % BEAT_SECONDS:
                    stream.beat_due = True
                    stream.wake()
            cold = self._clock.monotonic() - LINGER_SECONDS
            for topic in [topic for topic, at in self._left_at.items() if at < cold]:
                del self._left_at[topic]

    def close(self) -> None:
        """End every stream, so that their connections close now; no new ones are opened."""
        self._open = False
        for stream in tuple(self._streams):
            stream.end()
        if self._flush is not None:
            self._flush.cancel()

    def _continue(self, wish: Wish, resume: str | None) -> tuple[int, str, list[str]]:
        """Return where a stream goes on, and where it cannot, why and for which topics."""
        head = self._backlog.head
        if not resume:
            return head, "", []
        given = parse_position(resume)
        if given is None or given.epoch != self._epoch:
            return head, "the daemon was restarted", sorted(wish.topics)
        if lost := self._backlog.missing(wish, given.seq):
            return head, "too long ago", list(lost)
        return given.seq, "", []

    def _wake(self) -> None:
        self._flush = None
        self._flushed_at = asyncio.get_running_loop().time()
        changed, self._changed = self._changed, set()
        for stream in self._streams:
            if not changed.isdisjoint(stream.wish.topics):
                stream.wake()
