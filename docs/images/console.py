"""Takes pictures of every view of the console, in both themes and both widths, from a fleet of real daemons.

    make screenshots

The fleet is that of `modelgrid demo`: three nodes, models in every state, steady traffic. GPUs and engines are
simulated. All pictures go to `all` beside this file, which git ignores, as `console-<scene>-<theme>-<width>.png`; those
that a page of the documentation shows are written beside this file, too, with 256 colours. With names of scenes as
arguments, for example `overview-stats`, takes only those.
"""

import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "browser")]

from browser_kit import THEMES, WIDTHS, browser, log_in, missing, settled, view_paths, watched_page  # noqa: E402
from PIL import Image  # noqa: E402
from playwright.sync_api import Browser, Page  # noqa: E402

from modelgrid.client.http import ModelGridClient, local_client  # noqa: E402

PICTURES = Path(__file__).resolve().parent
ALL = PICTURES / "all"
PROGRAM = Path(sys.executable).with_name("modelgrid")
NARROW = min(WIDTHS)
"""Of so wide a page the whole is taken, however long; of a wide one what a screen shows."""
COLOURS = 256
"""Of a picture in the documentation: text stays sharp, and the file is a fifth. An octree keeps what is rare, such as
the one green dot; by area it went grey."""
BEFORE_SECONDS = 240.0
"""Of traffic before the first picture, so that lines have a shape."""
ENDED = "Qwen/Qwen3-0.6B"
LINKED = re.compile(r"images/(console-[\w-]+\.png)")

Scene = Callable[[Page, ModelGridClient], None]


def view(path: str) -> Scene:
    def scene(page: Page, _: ModelGridClient) -> None:
        page.goto(path)

    return scene


def drawer(tab: str, state: str = "running") -> Scene:
    """The drawer of the first deployment in a state."""

    def scene(page: Page, client: ModelGridClient) -> None:
        one = min(item["id"] for item in client.list_deployments()["items"] if item["state"] == state)
        page.goto(f"/deployments/active?open={one}" + (f"&tab={tab}" if tab else ""))

    return scene


def ended(page: Page, client: ModelGridClient) -> None:
    page.goto(f"/deployments/history?open={client.list_history()['items'][0]['id']}")


def menu(page: Page, _: ModelGridClient) -> None:
    page.goto("/deployments/active")
    settled(page)
    page.get_by_role("button", name="Actions for").nth(2).click()


def palette(page: Page, _: ModelGridClient) -> None:
    page.goto("/overview/stats")
    settled(page)
    page.keyboard.press("Control+k")
    page.get_by_role("combobox", name="Go to a view").fill("llama")


def sheet(page: Page, _: ModelGridClient) -> None:
    page.goto("/overview/stats")
    settled(page)
    page.keyboard.press("?")


def login(page: Page, _: ModelGridClient) -> None:
    page.context.clear_cookies()
    page.goto("/")
    page.get_by_label("Password", exact=True).wait_for()


SCENES: Mapping[str, Scene] = {
    **{path.strip("/").replace("/", "-"): view(path) for path in view_paths()},
    "drawer-summary": drawer(""),
    "drawer-failed": drawer("", "failed"),
    "drawer-pending": drawer("", "pending"),
    "drawer-logs": drawer("logs"),
    "drawer-metrics": drawer("metrics"),
    "drawer-events": drawer("events", "failed"),
    "history-drawer": ended,
    "deploy": view("/models/catalog?deploy=Qwen%2FQwen3-4B-Instruct-2507"),
    "add-node": view("/cluster/nodes?add=node"),
    "actions": menu,
    "palette": palette,
    "keys": sheet,
    "not-found": view("/nothing"),
    "login": login,
}
"""`login` comes last: it ends the session."""


@contextlib.contextmanager
def demo() -> Iterator[dict[str, Any]]:
    """Run the demonstration, and yield what it prints."""
    with subprocess.Popen([PROGRAM, "demo", "--json"], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield json.loads(process.stdout.readline() if process.stdout else "")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def prepare(client: ModelGridClient) -> None:
    """Give the views that would be empty something to show."""
    client.put_target(ENDED, {"replicas": 1})
    deadline = time.monotonic() + 60
    while not any(item["state"] == "running" for item in client.list_deployments(model=ENDED)["items"]):
        if time.monotonic() > deadline:
            sys.exit(f"{ENDED} does not run")
        time.sleep(0.5)
    client.delete_target(ENDED)
    for label in ("ci", "chat-frontend", "batch-embeddings"):
        made = client.generate_api_key({"label": label})
    client.revoke_api_key(made["id"])


def take(found: Browser, fleet: Mapping[str, Any], client: ModelGridClient, scenes: Mapping[str, Scene]) -> None:
    for theme in THEMES:
        for width, height in WIDTHS.items():
            size = {"width": width, "height": height}
            page, _ = watched_page(found, fleet["console"], color_scheme=theme, viewport=size)
            log_in(page, fleet["password"])
            for name, scene in scenes.items():
                scene(page, client)
                if name not in {"login", "not-found"}:
                    settled(page)
                page.wait_for_timeout(2_000)
                whole = width == NARROW and name in {path.strip("/").replace("/", "-") for path in view_paths()}
                page.screenshot(path=ALL / f"console-{name}-{theme}-{width}.png", full_page=whole)
            page.context.close()


def keep() -> None:
    """Write those that the documentation shows, and drop those that it no longer does."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    shown = {name for page in pages for name in LINKED.findall(page.read_text())}
    for old in PICTURES.glob("console-*.png"):
        if old.name not in shown:
            old.unlink()
    for name in sorted(shown):
        if (ALL / name).exists():
            few = (
                Image.open(ALL / name)
                .convert("RGB")
                .quantize(COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
            )
            few.save(PICTURES / name, optimize=True)


def main() -> None:
    if reason := missing():
        sys.exit(reason)
    ALL.mkdir(exist_ok=True)
    scenes = {name: scene for name, scene in SCENES.items() if not sys.argv[1:] or name in sys.argv[1:]}
    with demo() as fleet, local_client(Path(fleet["nodes"][0]["state_dir"])) as client, browser() as found:
        prepare(client)
        time.sleep(BEFORE_SECONDS)
        take(found, fleet, client, scenes)
    keep()


if __name__ == "__main__":
    main()
