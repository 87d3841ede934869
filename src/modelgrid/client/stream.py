"""Reading the console's one stream of server-sent events."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from modelgrid.client.transport import Transport
from modelgrid.domain.errors import DaemonUnreachable

if TYPE_CHECKING:
    from modelgrid.client.views import Level

SILENCE_SECONDS = 15.0
"""The daemon says something every 5 s; three beats that stay out mean that the connection is dead."""
FIRST_WAIT_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 10.0
FIRST_TRIES_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Frame:
    """One event of the stream."""

    id: str
    """Its position; `last_event_id` of a later stream goes on after it."""
    event: Literal["hello", "change", "beat", "reset", "lagged"]
    data: dict[str, Any]
    """As `Hello`, `Changed`, `Beat`, `Reset` and `Lagged` in `modelgrid.client.views`."""


class Streaming(Transport):
    """The call that does not end: `GET events`."""

    def stream_events(
        self,
        topics: str | Sequence[str],
        *,
        last_event_id: str | None = None,
        source: list[str] | None = None,
        level: "Level | None" = None,
        patience_seconds: float = FIRST_TRIES_SECONDS,
    ) -> Iterator[Frame]:
        """Yield what changes in `topics`, without an end, over restarts of the daemon and lost connections.

        After a gap it goes on behind the last frame. Where that cannot be, a frame `reset` says so: then fetch these
        topics anew. `source` and `level` filter the log. Each wait for a frame blocks; closing the generator closes
        the connection.

        Raises what the daemon refuses the call with, and `DaemonUnreachable` once nothing was heard of it for
        `patience_seconds`."""
        query = {
            "topics": topics if isinstance(topics, str) else ",".join(topics),
            "last_event_id": last_event_id,
            "source": source,
            "level": level,
        }
        wait, heard_at = FIRST_WAIT_SECONDS, time.monotonic()
        while True:
            try:
                with self._streaming("/events", query, silence_seconds=SILENCE_SECONDS) as response:
                    for frame in frames(response.iter_bytes()):
                        query["last_event_id"] = frame.id
                        wait = FIRST_WAIT_SECONDS
                        yield frame
                        heard_at = time.monotonic()
            except DaemonUnreachable:
                if time.monotonic() - heard_at > patience_seconds:
                    raise
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)


def frames(pieces: Iterator[bytes]) -> Iterator[Frame]:
    """Yield the events in the bytes of a stream, however they are cut. One that is not whole at the end is left out."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n\n")
        for text in whole:
            fields = dict(line.split(b": ", 1) for line in text.split(b"\n") if b": " in line)
            if b"event" in fields:
                yield msgspec.convert(
                    {
                        "id": fields[b"id"].decode(),
                        "event": fields[b"event"].decode(),
                        "data": msgspec.json.decode(fields[b"data"]),
                    },
                    Frame,
                )
