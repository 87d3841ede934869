"""A real browser in front of a real daemon: Debian's Chromium, which may speak with nobody but the daemon."""

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

from modelgrid.api.console_files import FOLDER

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "ts_web"
AXE = WEB / "node_modules" / "axe-core" / "axe.min.js"
PASSWORD = "correct horse battery staple"
WIDTHS = {1440: 900, 390: 844}
THEMES = ("dark", "light")
WCAG_2_2_AA = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
COLOUR_RULES = ("color-contrast", "link-in-text-block")
"""All of those that look at colours."""
FLAGS = (
    "--no-sandbox",  # as root, as in CI, Chromium refuses to start with it
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS = 60_000

expect.set_options(timeout=PATIENCE_MS)


def chromium() -> str | None:
    """Return the browser's path; `None` where there is none."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium")


def missing() -> str:
    """Return what keeps the browser tests from running; empty when nothing does."""
    if chromium() is None:
        return "there is no Chromium: apt-get install chromium"
    if not (FOLDER / "index.html").is_file():
        return "the console is not built: make console"
    return "" if AXE.is_file() else "axe-core is not installed: make console-check"


@dataclass(slots=True)
class Seen:
    """What a page did that it should not have."""

    elsewhere: list[str] = field(default_factory=list)
    """Requests to another host than the daemon's."""
    refused: list[str] = field(default_factory=list)
    """Violations of the content security policy."""
    errors: list[str] = field(default_factory=list)
    """Exceptions that nobody caught."""

    def nothing(self) -> None:
        assert (self.elsewhere, self.refused, self.errors) == ([], [], [])


@contextmanager
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        try:
            yield found
        finally:
            found.close()


def watched_page(found: Browser, base: str, **options: Any) -> tuple[Page, Seen]:
    """Return a page in a profile of its own, and what it does wrong."""
    context = found.new_context(base_url=base, reduced_motion="reduce", **options)
    context.set_default_timeout(PATIENCE_MS)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page, seen = context.new_page(), Seen()
    host = urlsplit(base).netloc

    def on_request(request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in {"data", "blob"} and parts.netloc != host:
            seen.elsewhere.append(request.url)

    def on_console(message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text:
            seen.refused.append(message.text)

    context.on("request", on_request)
    page.on("console", on_console)
    page.on("pageerror", lambda error: seen.errors.append(f"{error.name}: {error.message}\n{error.stack}"))
    return page, seen


def log_in(page: Page, password: str = PASSWORD, at: str = "/overview/stats") -> None:
    """Open the console and log in with the chosen password."""
    page.goto(at)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Log in", exact=True).click()
    expect(page.locator("mg-shell")).to_be_visible()


def first_login(page: Page, one_time: str) -> None:
    """Log in with the one-time password and change it."""
    page.goto("/")
    page.get_by_label("Password", exact=True).fill(one_time)
    page.get_by_role("button", name="Log in", exact=True).click()
    page.get_by_label("New password", exact=True).fill(PASSWORD)
    page.get_by_label("New password again").fill(PASSWORD)
    page.get_by_role("button", name="Save and go on").click()
    expect(page.locator("mg-shell")).to_be_visible()


def one_time_password(state_dir: Path) -> str:
    """Return what the first start of the daemon with this state wrote down."""
    return (state_dir / "initial-password").read_text().strip()


def settled(page: Page) -> None:
    """Wait until the view has its data and nothing is loading."""
    page.wait_for_function(
        """() => {
          const inside = (root) =>
            [...root.querySelectorAll('*')].flatMap((e) => [e, ...(e.shadowRoot ? inside(e.shadowRoot) : [])]);
          const all = inside(document);
          const view = all.find((e) => e.localName === 'mg-view');
          return view?.shadowRoot?.firstElementChild && !all.some((e) => e.classList?.contains('skeleton'));
        }"""
    )


def violations(page: Page, rules: Sequence[str] = WCAG_2_2_AA) -> list[str]:
    """Return what axe finds against these rules, or rules with these tags."""
    # Evaluated by the driver, which the page's policy does not concern.
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text())
    found = page.evaluate(
        """async (runOnly) => {
          const where = (node) => node.target.join(' ') + ' | ' + (node.any[0]?.message ?? '');
          return (await axe.run(document, { runOnly })).violations.map((v) => [v.id, v.help, v.nodes.map(where)]);
        }""",
        list(rules),
    )
    return [f"{rule}: {help_}\n  " + "\n  ".join(nodes[:4]) for rule, help_, nodes in found]


def view_paths() -> list[str]:
    """Return the path of every view that the console has."""
    return re.findall(r"path: '([^']+)'", (WEB / "views.ts").read_text())
