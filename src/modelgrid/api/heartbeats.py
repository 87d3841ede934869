"""How a control plane takes heartbeats: hundreds a second in a large cluster, so no framework is in between."""

from typing import TypeVar

import msgspec
from starlette.types import Receive, Scope, Send

from modelgrid.api.errors import error_response
from modelgrid.domain.cluster import Report
from modelgrid.domain.errors import InvalidInput, MalformedRequest, ModelGridError, TooLarge
from modelgrid.services.cluster.control_plane import ControlPlane

LARGEST_REPORT = 32 * 1024 * 1024
"""Bytes. A node with hundreds of deployments, each with the 500 last lines of one that has just ended, stays below."""
PIECE_BYTES = 16 * 1024
"""Of an answer: as much as goes into one TLS record (RFC 8446, 5.1). A connection keeps the room that the largest write
took to encrypt, and there is one for each node."""
T = TypeVar("T")


class Heartbeats:
    """The ASGI application of one call: a report comes, orders go."""

    def __init__(self, control: ControlPlane) -> None:
        self._control = control
        self._decoder = msgspec.json.Decoder(Report)
        self._encoder = msgspec.json.Encoder()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            name = await self._control.members.authenticate(bearer(scope))
            orders = await self._control.heartbeat(name, await message(receive, self._decoder, LARGEST_REPORT))
        except ModelGridError as error:
            await error_response(error)(scope, receive, send)
            return
        body = self._encoder.encode(orders)
        headers = [
            (b"content-length", b"%d" % len(body)),
            (b"content-type", b"application/json"),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for begin in range(0, len(body), PIECE_BYTES):
            end = begin + PIECE_BYTES
            await send({"type": "http.response.body", "body": body[begin:end], "more_body": end < len(body)})


def bearer(scope: Scope) -> str:
    """Return the credential that a call shows, or an empty text."""
    shown: bytes = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
    kind, _, credential = shown.decode("latin-1").partition(" ")
    return credential.strip() if kind.lower() == "bearer" else ""


async def message(receive: Receive, decoder: "msgspec.json.Decoder[T]", most_bytes: int) -> T:
    """Return the body of a call. Raises `TooLarge`, `InvalidInput` for what is not of that kind, and
    `MalformedRequest` where the other side went away before it was whole."""
    data, more = bytearray(), True
    while more:
        piece = await receive()
        if piece["type"] == "http.disconnect":
            raise MalformedRequest("The body ended before it was whole.", fix="Send it again.")
        data += piece.get("body", b"")
        more = piece.get("more_body", False)
        if len(data) > most_bytes:
            raise TooLarge(f"The body is larger than {most_bytes // 1024} KiB.", fix="Do both run the same version?")
    try:
        return decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise InvalidInput(
            f"The message cannot be read: {error}.", fix="Do both run versions that go together?"
        ) from error
