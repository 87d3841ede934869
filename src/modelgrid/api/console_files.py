"""The browser console as files: the built single-page application, and its page for every address it knows.

The files hold no data of the fleet and need no credential. They are read once, when control starts. Beside each lies
what the build compressed, so nothing is compressed here. Names below `assets/` carry a hash of the content: browsers
keep those for a year; everything else is asked for anew each time.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from mimetypes import guess_type
from pathlib import Path

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope, Send

from modelgrid.decide.access import API, SAFE_METHODS

FOLDER = Path(__file__).resolve().parent.parent / "console"
"""Where the build of `ts_web` goes."""

VIEWS: Mapping[str, tuple[str, ...]] = {
    "overview": ("stats", "configuration"),
    "cluster": ("nodes", "placements", "desired"),
    "gpus": ("devices", "drivers"),
    "deployments": ("active", "history"),
    "models": ("catalog", "deployed"),
    "access": ("apikeys", "clients"),
    "logs": (),
    "metrics": (),
    "settings": (),
}
"""Every view of the console with its subviews."""
PATHS = frozenset({"/", *(f"/{view}" for view in VIEWS), *(f"/{v}/{sub}" for v, subs in VIEWS.items() for sub in subs)})

_FOR_A_YEAR = "public, max-age=31536000, immutable"
_ASK_EACH_TIME = "no-cache"
_ENCODINGS = {".br": "br", ".gz": "gzip"}
"""Best first."""

NOT_BUILT = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark">
<meta name="viewport" content="width=device-width"><title>ModelGrid: the console is not built</title></head>
<body><main><h1>The console is not built</h1>
<p>This installation lacks the browser console. In a checkout, <code>make console</code> builds it; packages of
ModelGrid bring it along. Start the daemon again afterwards.</p>
<p>Everything else works: <code>modelgrid status</code> on the command line, and the
<a href="/v1/_ui/docs">API</a>.</p></main></body></html>
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    media_type: str
    cache: str
    etag: str
    plain: bytes
    encoded: Mapping[str, bytes] = field(default_factory=dict)


def _files(folder: Path) -> Iterator[tuple[str, _File]]:
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if not path.is_file() or path.suffix in _ENCODINGS or path.name.startswith("."):
            continue
        name = path.relative_to(folder).as_posix()
        plain = path.read_bytes()
        siblings = ((encoding, path.with_name(path.name + suffix)) for suffix, encoding in _ENCODINGS.items())
        yield (
            f"/{name}",
            _File(
                media_type=guess_type(path.name)[0] or "application/octet-stream",
                cache=_FOR_A_YEAR if name.startswith("assets/") else _ASK_EACH_TIME,
                etag=f'"{sha256(plain).hexdigest()[:20]}"',
                plain=plain,
                encoded={encoding: sibling.read_bytes() for encoding, sibling in siblings if sibling.is_file()},
            ),
        )


class ConsoleFiles:
    """ASGI application for every path that is no call of the API."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._files = dict(_files(folder))
        self._page = self._files.get("/index.html")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(API):
            raise HTTPException(404)
        if scope["method"] not in SAFE_METHODS:
            raise HTTPException(405)
        await self._response(scope["path"], Headers(scope=scope))(scope, receive, send)

    def _response(self, path: str, headers: Headers) -> Response:
        file = self._files.get(path)
        if file is not None:
            return _answer(file, headers)
        if path not in PATHS and "text/html" not in headers.get("accept", ""):
            raise HTTPException(404)
        if self._page is None:
            return HTMLResponse(NOT_BUILT, status_code=503, headers={"Cache-Control": _ASK_EACH_TIME})
        # A wrong address gets the page too: the console says so itself, and leads back.
        return _answer(self._page, headers, status=200 if path.rstrip("/") in PATHS | {""} else 404)


def _answer(file: _File, headers: Headers, status: int = 200) -> Response:
    own = {"Cache-Control": file.cache, "ETag": file.etag, "Vary": "Accept-Encoding"}
    known = {tag.strip().removeprefix("W/") for tag in headers.get("if-none-match", "").split(",")}
    if file.etag in known and status == 200:
        return Response(status_code=304, headers=own)
    accepted = {part.partition(";")[0].strip() for part in headers.get("accept-encoding", "").split(",")}
    encoding = next((name for name in file.encoded if name in accepted), None)
    if encoding is None:
        return Response(file.plain, status, own, file.media_type)
    return Response(file.encoded[encoding], status, {**own, "Content-Encoding": encoding}, file.media_type)
