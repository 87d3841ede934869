"""The console as files: what is served how, and what its sources promise."""

import gzip
import json
import os
import re
from collections.abc import Iterable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.types import ASGIApp

from modelgrid.api.console_files import FOLDER, PATHS, ConsoleFiles
from modelgrid.api.errors import install

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "ts_web"
PAGE = "<!doctype html><title>console</title>"
SCRIPT = "console.log(1)"
CHARTS = "kit/chart/plot.ts"
ENTRY_KIB, CSS_KIB, VIEW_KIB, CHART_KIB, WHOLE_KIB = 45, 8, 15, 26, 150
"""Gzipped. What a browser has to fetch before the landing page, a view, the charts, everything."""


@pytest.fixture
def built(tmp_path: Path) -> Path:
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text(PAGE)
    (tmp_path / "assets" / "index-abc.js").write_text(SCRIPT)
    (tmp_path / "assets" / "index-abc.js.gz").write_bytes(b"gzipped")
    (tmp_path / "assets" / "index-abc.js.br").write_bytes(b"brotli")
    (tmp_path / ".made-from").write_text("digest")
    return tmp_path


def client(folder: Path) -> httpx.AsyncClient:
    app = Starlette()
    install(app)  # type: ignore[arg-type]  # the handlers need nothing of FastAPI
    app.router.default = ConsoleFiles(folder)
    transport: ASGIApp = app
    return httpx.AsyncClient(transport=httpx.ASGITransport(transport), base_url="http://console")


@pytest.mark.parametrize("path", sorted(PATHS))
async def test_every_view_gets_the_page_and_it_is_asked_for_anew(built: Path, path: str) -> None:
    async with client(built) as http:
        answer = await http.get(path)
        again = await http.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert (answer.status_code, answer.text) == (200, PAGE)
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert (again.status_code, again.content) == (304, b"")


async def test_hashed_files_are_kept_for_a_year_and_come_compressed(built: Path) -> None:
    async with client(built) as http:
        best = await http.get("/assets/index-abc.js", headers={"Accept-Encoding": "gzip, deflate, br"})
        plain = await http.get("/assets/index-abc.js", headers={"Accept-Encoding": "identity"})
        async with http.stream("GET", "/assets/index-abc.js", headers={"Accept-Encoding": "gzip"}) as zipped:
            raw = b"".join([chunk async for chunk in zipped.aiter_raw()])
    assert best.headers["content-encoding"] == "br"
    assert (zipped.headers["content-encoding"], raw) == ("gzip", b"gzipped")
    assert plain.text == SCRIPT
    assert "immutable" in plain.headers["cache-control"]
    assert plain.headers["vary"] == "Accept-Encoding"
    assert plain.headers["content-type"].startswith("text/javascript")


@pytest.mark.parametrize("path", ["/nothing", "/overview/nothing", "/assets/gone.js", "/assets/../index.html/x"])
async def test_a_wrong_address_is_404_for_programs_and_a_page_for_people(built: Path, path: str) -> None:
    async with client(built) as http:
        program = await http.get(path)
        person = await http.get(path, headers={"Accept": "text/html,*/*"})
    assert (program.status_code, program.json()["error"]["code"]) == (404, "not_found")
    assert (person.status_code, person.text) == (404, PAGE)


@pytest.mark.parametrize(
    "path", ["/.made-from", "/../../etc/passwd", "/assets/index-abc.js.gz", "/assets/%2e%2e/index.html"]
)
async def test_nothing_but_the_built_files_comes_out(built: Path, path: str) -> None:
    async with client(built) as http:
        assert (await http.get(path)).status_code == 404


async def test_only_reading_is_possible_and_the_api_stays_the_api(built: Path) -> None:
    async with client(built) as http:
        assert (await http.post("/overview/stats")).status_code == 405
        assert (await http.get("/v1/_ui/nothing", headers={"Accept": "text/html"})).json()["error"][
            "code"
        ] == "not_found"


async def test_a_missing_build_says_how_to_make_it(tmp_path: Path) -> None:
    async with client(tmp_path / "none") as http:
        answer = await http.get("/")
    assert answer.status_code == 503
    assert "make console" in answer.text


def test_the_console_has_no_view_that_the_daemon_does_not_know() -> None:
    views = set(re.findall(r"path: '([^']+)'", (WEB / "views.ts").read_text()))
    assert views
    assert views <= PATHS


@pytest.mark.skipif(
    not (FOLDER / "manifest.json").is_file() and not os.environ.get("MODELGRID_CI"),
    reason="the console is not built: make console",
)
def test_the_built_console_keeps_its_budgets() -> None:
    manifest: dict[str, Any] = json.loads((FOLDER / "manifest.json").read_text())
    page = (FOLDER / "index.html").read_text()
    (script,) = re.findall(r'<script [^>]*src="/([^"]+)"', page)
    (entry,) = (name for name, chunk in manifest.items() if chunk["file"] == script)

    def zipped(names: Iterable[str]) -> float:
        paths = [FOLDER / name for name in names]
        return sum(len(gzip.compress(path.read_bytes(), 9)) for path in paths) / 1024

    def needs(name: str) -> set[str]:
        """Return the chunks that have to be there before this one runs."""
        return {name}.union(*(needs(other) for other in manifest[name].get("imports", ())))

    at_once = {manifest[name]["file"] for name in needs(entry)}
    views = [name for name in manifest if name.startswith("elements/") and manifest[name].get("isDynamicEntry")]
    # What a view loads later, such as a drawer, finds all that the view needs there already.
    importers = {part: name for name in views for part in manifest[name].get("dynamicImports", ())}

    def there(name: str) -> set[str]:
        before = importers.get(name)
        return at_once if before is None else at_once | {manifest[part]["file"] for part in needs(before)}

    sizes = {
        "entry": zipped(at_once),
        "css": zipped(manifest[entry].get("css", ())),
        **{name: zipped({manifest[part]["file"] for part in needs(name)} - there(name)) for name in views},
    }
    whole = zipped(
        path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.*") if path.suffix in {".js", ".css"}
    )
    print({name: round(size, 1) for name, size in sizes.items()}, "whole", round(whole, 1))
    assert sizes.pop("entry") <= ENTRY_KIB
    assert sizes.pop("css") <= CSS_KIB
    assert {name: size for name, size in sizes.items() if size > VIEW_KIB} == {}
    assert zipped({manifest[part]["file"] for part in needs(CHARTS)} - at_once) <= CHART_KIB
    assert whole <= WHOLE_KIB


def test_the_lock_names_no_host() -> None:
    text = (WEB / "package-lock.json").read_text()
    named = {key for package in json.loads(text)["packages"].values() for key in package}
    assert "resolved" not in named
    assert re.findall(r"https?://[^\"]+", text) == []


def test_the_types_are_made_from_the_api_as_it_is() -> None:
    spec = spec_from_file_location("make_types", WEB / "make_types.py")
    assert spec is not None
    assert spec.loader is not None
    make_types = module_from_spec(spec)
    spec.loader.exec_module(make_types)
    first_line = (WEB / "data" / "api.gen.ts").read_text().partition("\n")[0]
    assert first_line == f"// {make_types.digest()}", "run `make console-types`"
