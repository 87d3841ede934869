"""The one stream: server-sent events of everything that changes."""

import asyncio
from contextlib import suppress
from typing import Annotated, Any, Literal

import structlog
from fastapi import APIRouter, Header, Query
from pydantic import BaseModel, Field
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelgrid.api.context import Caller, Context
from modelgrid.domain.event import Level
from modelgrid.domain.log_filter import LogFilter
from modelgrid.services.stream.frames import LONGEST_POSITION
from modelgrid.services.stream.hub import Hub, Stream
from modelgrid.services.stream.wish import Wish, parse_topics

router = APIRouter(tags=["events"])

STALL_SECONDS = 10.0
"""A client that takes nothing for so long is cut off."""
LAST_WORD_SECONDS = 20.0
"""How long it can still fetch the frame that says so."""
MOST_SOURCES = 64

log = structlog.get_logger()


class Changed(BaseModel):
    """Data of `event: change`."""

    topic: str = Field(examples=["deployments"])
    op: Literal["upsert", "remove", "replace", "append"]
    """`upsert` and `remove`: one row of a collection, by `key`. `replace`: a document. `append`: records of a log or
    a timeline."""
    key: str
    value: Any = None
    """What the REST answer shows of it; null for `remove`."""


class Hello(BaseModel):
    """Data of `event: hello`, the first of every stream."""

    epoch: str
    """Differs after each start of the control process."""
    at: float
    id: str
    """Where the stream begins."""


class Beat(BaseModel):
    """Data of `event: beat`, every 5 seconds: without it the data is old."""

    at: float
    """The server's time."""


class Reset(BaseModel):
    """Data of `event: reset`: what was missed cannot be replayed. Fetch the topics anew."""

    reason: str
    topics: list[str]


class Lagged(BaseModel):
    """Data of `event: lagged`, the last of a stream that is cut off because it was not read fast enough."""

    reason: str


class EventStream(Response):
    """Sends what a stream gives, as it comes, and holds back while the client does not read."""

    media_type = "text/event-stream"

    def __init__(self, hub: Hub, stream: Stream) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Connection": "close"})
        del self.headers["content-length"]
        self._hub, self._stream = hub, stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        gone = asyncio.create_task(_watch(receive, self._stream))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await self._send_all(send)
        except TimeoutError:
            log.warning("console stream cut off: it is not read", owner=self._stream.owner)
            self._stream.end(self._hub.lagged(f"nothing was read for {STALL_SECONDS:g} s"))
            with suppress(TimeoutError):
                await self._send_next(send, LAST_WORD_SECONDS)
        finally:
            self._stream.end()
            gone.cancel()

    async def _send_all(self, send: Send) -> None:
        more = True
        while more:
            await self._stream.ready()
            more = await self._send_next(send, STALL_SECONDS)

    async def _send_next(self, send: Send, seconds: float) -> bool:
        """Send what is there, if anything; return whether more can follow.

        Raises `TimeoutError` when what was sent before is not taken."""
        data = self._stream.take()
        more = not self._stream.ended
        if data or not more:
            async with asyncio.timeout(seconds):
                await send({"type": "http.response.body", "body": data, "more_body": more})
        return more


async def _watch(receive: Receive, stream: Stream) -> None:
    """End the stream when its client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.end()


class EventIds:
    """ASGI middleware: says in every answer to a GET up to which change of the stream it is current.

    The position is taken before anything is read, so that a stream that goes on from there misses nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        position = str(scope["app"].state.services.hub.position).encode()

        async def with_position(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                message["headers"] = [*message["headers"], (b"x-event-id", position)]
            await send(message)

        await self._app(scope, receive, with_position)


@router.get(
    "/events",
    status_code=200,
    response_class=EventStream,
    responses={
        200: {
            "model": Changed | Hello | Beat | Reset | Lagged,
            "description": "Server-sent events; the data of each is one of these, by its `event`.",
        }
    },
)
async def stream_events(
    services: Context,
    caller: Caller,
    topics: Annotated[str, Query(max_length=8_000, examples=["overview,gpus,deployments"])],
    last_event_id: Annotated[str | None, Query(max_length=LONGEST_POSITION)] = None,
    source: Annotated[list[str] | None, Query(max_length=MOST_SOURCES)] = None,
    level: Level = Level.DEBUG,
    last_event_header: Annotated[str | None, Header(alias="Last-Event-ID", max_length=LONGEST_POSITION)] = None,
) -> EventStream:
    """Stream what changes in `topics`, for as long as the connection stands.

    Topics: overview, nodes, targets, placements, gpus, deployments, logs, catalog, apikeys, config, and
    `deployment:<id>` for the events and metrics of one deployment; separated by commas. `source` and `level` filter
    the log: only these sources, and nothing below this level. `last_event_id` continues after a frame or a REST answer
    (`X-Event-Id`); the header `Last-Event-ID` goes before it, since a browser that reconnects by itself sends the
    newer id there."""
    log_filter = LogFilter(sources=frozenset(source) if source else None, level=level)
    wish = Wish(topics=parse_topics(topics), log=log_filter)
    return EventStream(services.hub, services.hub.open(wish, last_event_header or last_event_id, owner=caller))
