"""What is fuzzed: bytes of any kind go in, and nothing may come out but what is promised.

Each target takes bytes and raises AssertionError, or whatever escaped, when a promise is broken. Run by `run.py` under
atheris (coverage-guided), and by `test_fuzz.py` with the kept corpus and hypothesis.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from modelgrid.domain.key_format import make_secret
from modelgrid.domain.routing import GatewaySettings, KeyGrant, RoutingTable
from modelgrid.gateway.affinity import prompt_of
from modelgrid.gateway.core import Core
from modelgrid.gateway.errors import Refusal
from modelgrid.gateway.limits import estimate
from modelgrid.gateway.reader import RequestReader
from modelgrid.gateway.request import Request
from modelgrid.gateway.scan import BadBody, fields_of
from modelgrid.gateway.splice import ask_for_usage
from modelgrid.gateway.usage import is_usage_event, usage_of

SECRET = make_secret(7)
GRANT = KeyGrant(id="k", label="l", digest=hashlib.sha256(SECRET.encode()).hexdigest())
SETTINGS = GatewaySettings(max_body_bytes=2000, max_header_bytes=1000)
FORM = b"multipart/form-data; boundary=x"


class Recorder:
    """Stands where the client connection is: it takes each request, and answers none."""

    def __init__(self) -> None:
        self.taken: list[tuple[Any, ...]] = []

    def check(self, request: Request) -> Refusal | None:
        return request.check_head(CORE.keys, CORE.settings, CORE.deadlines.wall)

    def take(self, request: Request) -> None:
        refusal = request.refusal
        assert refusal is not None or request.method
        told = (refusal.status, refusal.code) if refusal is not None else None
        body = request.take_body() if refusal is None else b""  # how much is kept depends on when it was refused
        self.taken.append(
            (request.method, request.path, told, b"".join(request.headers) if told is None else b"", body)
        )

    def more_is_due(self) -> None:
        """Deadlines are not the reader's."""

    def continue_if_expected(self) -> None:
        """Nor is asking for the body."""

    def hold(self, size: int) -> bool:
        """There is room for every body."""
        return size >= 0


def _core() -> Core:
    loop = asyncio.new_event_loop()
    core = Core(loop, 0)
    core.apply(RoutingTable(epoch="e", generation=1, keys=(GRANT,), settings=SETTINGS))
    loop.close()
    return core


CORE = _core()


def _read(pieces: list[bytes]) -> list[tuple[Any, ...]]:
    client = Recorder()
    reader = RequestReader(CORE, cast("Any", client), CORE.request_heads)
    for piece in pieces:
        if piece and not reader.ended:
            reader.feed(piece)
    return client.taken


def _to_a_refusal(requests: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """What follows a refusal is read only where the refused body was there already."""
    refused = [number for number, request in enumerate(requests) if request[2] is not None]
    return requests[: refused[0] + 1] if refused else requests


def reader(data: bytes) -> None:
    """The first two bytes say where the rest is cut. Whole, in two pieces and with all heads known: the same requests.

    The key in the input stands as `KEY`, so that inputs do not depend on the secret.
    """
    if len(data) < 3:
        return
    raw = data[2:].replace(b"KEY", SECRET.encode())
    if len(raw) > SETTINGS.max_header_bytes:  # what is too long is refused where it is noticed
        with suppress(AssertionError):
            _read([raw])
        return
    CORE.request_heads.clear()
    whole = _read([raw])
    known = _read([raw])
    at = int.from_bytes(data[:2], "big") % len(raw)
    CORE.request_heads.clear()
    assert _to_a_refusal(_read([raw[:at], raw[at:]])) == _to_a_refusal(whole)
    assert known == whole, "heads that are known mean what they meant"


def scan(data: bytes) -> None:
    """A body as JSON and as a form: read, or refused with a reason; what is spliced in changes nothing else."""
    usage = usage_of(data)
    assert min(usage) >= 0
    assert is_usage_event(data) in (True, False)
    for content_type in (b"application/json", FORM):
        try:
            fields = fields_of(data, content_type)
        except BadBody as reason:
            said = str(reason)
            assert said
            continue
        assert fields.model
        assert estimate(fields, len(data), None) >= len(data) // 4
        assert len(prompt_of(fields, "m").marks) <= prompt_of(fields, "m").size
        asking = ask_for_usage(data, fields)
        if asking is not None:
            _spliced(data, asking)


def _spliced(before: bytes, after: bytes) -> None:
    old, new = _members(before), _members(after)
    assert new["stream_options"]["include_usage"] is True
    old.pop("stream_options", None)
    new.pop("stream_options", None)
    assert old == new


def _members(text: bytes) -> dict[str, Any]:
    """All members of the outermost object; Latin-1, since what the gateway does not read need not be UTF-8."""
    loaded: dict[str, Any] = json.loads(text.decode("latin-1"), parse_int=str, parse_float=str)
    return loaded


TARGETS: dict[str, Callable[[bytes], None]] = {"reader": reader, "scan": scan}
