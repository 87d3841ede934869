"""What is copied as a command or as a call, run in a shell, asks for what the button asks for."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from browser_kit import settled
from daemon_under_test import MODELGRID, DaemonUnderTest
from playwright.sync_api import Locator, Page, expect
from tests.http_server import served

MODEL = "Qwen/Qwen3-4B-Instruct-2507"
ODD = 'it\'s "$HOME" \\n `id`'
"""A value that a shell or JSON could take apart."""
DAY_SECONDS = 86_400
REFUSAL = {"error": {"code": "invalid_input", "message": "Only looked at.", "fix": "", "details": {}}}


@dataclass
class Receiver:
    """Takes the calls that a daemon would get, and refuses each but the look at where something would land."""

    url: str = ""
    calls: list[tuple[str, str, Any, str | None]] = field(default_factory=list)
    """Method, path, body and credential."""

    def run(self, text: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run what was copied in a shell, as somebody who reaches this in place of the daemon."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MODELGRID_")}
        path = f"{MODELGRID.parent}{os.pathsep}{kept['PATH']}"
        there = {"PATH": path, "MODELGRID_URL": self.url, "MODELGRID_TOKEN": "mgt-own"}
        return subprocess.run(
            ["sh", "-c", text], env={**kept, **there, **environment}, capture_output=True, text=True, check=False
        )


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            read = json.loads(body) if body else None
            path = self.path.removeprefix("/v1/_ui")
            looks = path == "/targets/preview"
            if not looks:
                found.calls.append((self.command, path, read, self.headers.get("Authorization")))
            data = json.dumps({"decisions": []} if looks else REFUSAL).encode()
            self.send_response(200 if looks else 422)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_PATCH = answer  # noqa: N815  the names http.server calls

        def log_message(self, *_: Any) -> None:
            pass

    with served(Handler) as found.url:
        yield found


def spoken(dialog: Locator, fleet: DaemonUnderTest, receiver: Receiver) -> tuple[str, str]:
    """Return the command and the call that a dialog has for what it is about to do, the call for the receiver."""
    dialog.get_by_text("As a command").click()
    command, call = dialog.locator("mg-spoken mg-command pre").all_inner_texts()
    assert fleet.console_url in call
    return command, call.replace(fleet.console_url, receiver.url)


def test_a_deployment_is_copied_with_the_environment_of_who_runs_it(
    page: Page, fleet: DaemonUnderTest, receiver: Receiver
) -> None:
    page.goto(f"/models/catalog?q={MODEL}")
    settled(page)
    page.get_by_role("button", name=f"Deploy {MODEL}").click()
    dialog = page.locator("mg-deploy-dialog")
    dialog.get_by_label("Environment").fill("HF_TOKEN=hf_typed\nTUNING=typed")
    texts = spoken(dialog, fleet, receiver)
    assert "typed" not in "".join(texts)
    for text in texts:
        done = receiver.run(text, HF_TOKEN="hf_own", TUNING=ODD)
        assert receiver.calls, done.stderr
        method, path, wish, credential = receiver.calls.pop()
        assert (method, path, credential) == ("PUT", f"/targets/{MODEL}", "Bearer mgt-own")
        assert (wish["replicas"], wish["env"]) == (1, {"HF_TOKEN": "hf_own", "TUNING": ODD})

        done = receiver.run(text, TUNING="set")
        assert done.returncode != 0
        assert "HF_TOKEN" in done.stderr
        assert receiver.calls == []  # nothing is deployed with a token that is not there
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_a_key_is_copied_with_its_bounds(page: Page, fleet: DaemonUnderTest, receiver: Receiver) -> None:
    page.goto("/access/apikeys")
    settled(page)
    page.get_by_role("button", name="Generate").click()
    dialog = page.locator("mg-key-dialog")
    dialog.get_by_label("Label").fill(ODD)
    dialog.get_by_label("Models").fill(f"{MODEL}, BAAI/bge-m3")
    dialog.get_by_label("Lifetime").select_option("30")
    dialog.get_by_text("Limits").click()
    for number, name in enumerate(("Requests per minute", "Tokens per minute", "Requests at a time"), 3):
        dialog.get_by_label(name).fill(str(number))
    began = time.time()
    wanted = {
        "label": ODD,
        "models": [MODEL, "BAAI/bge-m3"],
        "requests_per_minute": 3,
        "tokens_per_minute": 4,
        "concurrent_requests": 5,
    }
    for text in spoken(dialog, fleet, receiver):
        done = receiver.run(text)
        assert receiver.calls, done.stderr
        method, path, asked, _ = receiver.calls.pop()
        assert (method, path) == ("POST", "/apikeys")
        assert abs(asked.pop("expires_at") - began - 30 * DAY_SECONDS) < DAY_SECONDS
        assert asked == wanted


def test_a_setting_is_copied_with_its_file_and_without_its_secret(
    page: Page, fleet: DaemonUnderTest, receiver: Receiver, tmp_path: Path
) -> None:
    page.goto("/settings")
    settled(page)
    page.get_by_label("sharedSecret").fill("typed-and-not-copied")
    page.get_by_label("networkName").fill("12")
    page.get_by_role("button", name="Review and save").click()
    command, call = spoken(page.locator("mg-settings-diff"), fleet, receiver)
    assert "typed" not in command + call
    assert command.count(f"--config {fleet.config_path}") == 2  # not where a command would look for it

    done = receiver.run(call, SHARED_SECRET=ODD)
    assert receiver.calls, done.stderr
    method, path, patch, _ = receiver.calls.pop()
    assert (method, path) == ("PATCH", "/config")
    assert patch == {"cluster": {"sharedSecret": ODD}, "docker": {"networkName": "12"}}

    there = tmp_path / "config.json"
    there.write_text("{}")
    local = command.replace(str(fleet.config_path), str(there))
    nowhere = {"MODELGRID_URL": "", "MODELGRID_STATE_DIR": str(tmp_path)}
    assert receiver.run(local, **nowhere).returncode != 0
    assert "sharedSecret" not in there.read_text()  # nobody had said it
    done = receiver.run(local, **nowhere, SHARED_SECRET=ODD)
    assert done.returncode == 0, done.stderr
    assert json.loads(there.read_text()) == patch

    page.goto("/cluster/nodes")
    settled(page)
    page.get_by_role("button", name="Add node").click()
    dialog = page.locator("mg-add-node")
    expect(dialog.locator("mg-command pre").first).to_have_text(
        f"modelgrid config set cluster.role control-plane --config {fleet.config_path}"
    )
