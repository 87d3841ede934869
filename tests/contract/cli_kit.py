"""What the tests of the command line share: a real daemon, an API of canned answers, and a terminal."""

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.http_server import served
from tests.ports import free_ports

from modelgrid.cli.main import run

PROGRAM = [sys.executable, "-m", "modelgrid.cli"]
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.err)["error"]
        return answer


@dataclass(frozen=True)
class Place:
    """Where a daemon keeps its things; `here` runs a command line against it in this process."""

    config: Path
    state: Path
    pid: int = 0
    """Of the supervisor, where a daemon runs."""

    def options(self) -> list[str]:
        return ["--config", str(self.config), "--state-dir", str(self.state)]

    def here(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> Said:
        capsys.readouterr()
        code = run([*self.options(), *arguments])
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MODELGRID_", "COLUMNS"))}
        kept.pop("NO_COLOR", None)
        return {
            **kept,
            "MODELGRID_CONFIG": str(self.config),
            "MODELGRID_STATE_DIR": str(self.state),
            "TERM": "xterm-256color",
            **more,
        }

    def piped(self, *arguments: str, stdin: str = "", **environment: str) -> Said:
        done = subprocess.run(
            [*PROGRAM, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            env=self.environment(**environment),
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        return Said(done.returncode, done.stdout, done.stderr)


def wait_until(check: Callable[[], Any], seconds: float = PATIENCE_SECONDS, what: str = "") -> Any:
    """Return what `check` returns once that is true. The pause keeps the wait from eating the processor."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := check():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what or check}")


def write_config(folder: Path, **sections: Any) -> Path:
    api, ui = free_ports(2)
    document = {
        "nodeName": "gpu-host-a",
        "api": {"port": api, "uiPort": ui},
        "docker": {"runtime": "simulated"},
        "gpus": {"simulate": [{"name": "NVIDIA H100 80GB HBM3", "vramGib": 80}, {"name": "NVIDIA L4", "vramGib": 24}]},
        "models": {"registryUrl": None},
        **sections,
    }
    path = folder / "config.json"
    path.write_text(json.dumps(document))
    return path


@contextlib.contextmanager
def daemon(folder: Path, **sections: Any) -> Iterator[Place]:
    """A daemon with two simulated GPUs; its engines end with it."""
    place = Place(write_config(folder, **sections), folder / "state")
    log = (folder / "daemon.log").open("w")
    process = subprocess.Popen(
        [*PROGRAM, "up"], env=place.environment(), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        wait_until(
            lambda: process.poll() is not None or "is ready." in (folder / "daemon.log").read_text(), what="the banner"
        )
        assert process.poll() is None, (folder / "daemon.log").read_text()
        yield replace(place, pid=process.pid)
    finally:
        end_engines(place)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        finally:
            process.kill()
            log.close()


def end_engines(place: Place) -> None:
    """Clear every target and wait until the engines are gone: they would outlive the daemon."""
    token = (place.state / "token").read_text().strip()
    url = json.loads((place.state / "run/endpoint.json").read_text())["url"]
    with httpx.Client(base_url=f"{url}/v1/_ui", headers={"Authorization": f"Bearer {token}"}, timeout=20) as client:
        for target in client.get("/targets").json()["items"]:
            client.delete(f"/targets/{target['name']}")
        wait_until(lambda: not client.get("/deployments").json()["items"], what="engines to end")


Answer = Mapping[str, Any] | Callable[[], Mapping[str, Any]]


@dataclass
class FakeApi:
    """Answers what a test says the daemon answers. `answers` by `METHOD path`; a callable is asked each time."""

    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def place(self, folder: Path) -> Iterator[Place]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", "0")))
                path = self.path.partition("?")[0].removeprefix("/v1/_ui")
                fake.asked.append(f"{self.command} {path}")
                found = fake.answers.get(f"{self.command} {path}")
                status = 200 if found is not None else 404
                body: Any = found() if callable(found) else found
                if body is None:
                    body = {"error": {"code": "not_found", "message": f"no {path}", "fix": "", "details": {}}}
                elif "error" in body:
                    status = 422
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_PUT = do_POST = do_DELETE = answer  # noqa: N815  the names http.server calls

            def log_message(self, *_: Any) -> None:
                pass

        state = folder / "fake-state"
        (state / "run").mkdir(parents=True)
        (state / "token").write_text("token")
        with served(Handler) as url:
            (state / "run/endpoint.json").write_text(json.dumps({"url": url}))
            yield Place(folder / "none.json", state)


class Terminal:
    """A program on a pseudo-terminal of a given width."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], columns: int = 80) -> None:
        with warnings.catch_warnings():
            # Threads of a test's server are about; the child does nothing but exec.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.execve(argv[0], list(argv), dict(environment))
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", 60, columns, 0, 0))
        self.text = ""
        self._code: int | None = None

    def read(self, seconds: float) -> bool:
        """Take in what is there within `seconds`; return False at the end."""
        ready, _, _ = select.select([self._fd], [], [], seconds)
        if not ready:
            return True
        try:
            data = os.read(self._fd, 65536)
        except OSError:
            return False
        self.text += data.decode(errors="replace")
        return bool(data)

    def expect(self, part: str, seconds: float = PATIENCE_SECONDS) -> str:
        """Wait for `part` in the output; return everything said so far."""
        end = time.monotonic() + seconds
        while part not in self.text:
            assert time.monotonic() < end, f"{part!r} did not come; there is {self.text!r}"
            assert self.read(0.2) or part in self.text, f"ended without {part!r}: {self.text!r}"
        return self.text

    def send(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def end(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait for the program to end; return its exit status."""
        limit = time.monotonic() + seconds
        while self.read(0.2):
            assert time.monotonic() < limit, f"does not end; there is {self.text!r}"
        if self._code is None:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            os.close(self._fd)
        return self._code


def on_terminal(place: Place, *arguments: str, columns: int = 80, **environment: str) -> Terminal:
    return Terminal([*PROGRAM, *arguments], place.environment(**environment), columns)
