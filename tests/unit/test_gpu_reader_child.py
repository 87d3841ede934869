"""The child's side of the probe protocol, over pipes in this process."""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelgrid.adapters.gpu_reader import __main__ as child
from modelgrid.domain.errors import ModelGridError
from modelgrid.domain.gpu import DriverReport, Gpu, GpuVendor


class FakeProbe:
    vendor = GpuVendor.AMD

    def read(self) -> tuple[Gpu, ...]:
        raise ModelGridError("No memory size.", fix="Reboot.")

    def drivers(self) -> DriverReport:
        return DriverReport(vendor=self.vendor, hardware_present=True, installed=True)


class Pipes:
    def __init__(self) -> None:
        self.requests, self.ask = os.pipe()
        self.answers, self.replies = os.pipe()
        self.thread = threading.Thread(target=child.serve, args=(FakeProbe(), self.requests, self.replies))

    def line(self) -> dict[str, object]:
        data = b""
        while not data.endswith(b"\n"):
            data += os.read(self.answers, 1)
        return json.loads(data)  # type: ignore[no-any-return]


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    made = Pipes()
    yield made
    if made.ask >= 0:
        os.close(made.ask)
    made.thread.join(5)
    assert not made.thread.is_alive()
    for descriptor in (made.requests, made.answers, made.replies):
        os.close(descriptor)


def test_answers_line_by_line_however_they_arrive(pipes: Pipes) -> None:
    pipes.thread.start()
    os.write(pipes.ask, b'{"id":1,"verb":"drivers"}\n{"id":2,"ve')
    assert pipes.line()["id"] == 1
    os.write(pipes.ask, b'rb":"read"}\n')
    assert pipes.line() == {"id": 2, "failure": {"message": "No memory size.", "fix": "Reboot."}}


def test_ends_when_the_daemon_closes(pipes: Pipes) -> None:
    pipes.thread.start()
    os.close(pipes.ask)
    pipes.ask = -1
    pipes.thread.join(5)
    assert not pipes.thread.is_alive()


def test_ends_when_nobody_asks(pipes: Pipes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "IDLE_EXIT_SECONDS", 0.05)
    pipes.thread.start()
    pipes.thread.join(5)
    assert not pipes.thread.is_alive()


def test_loads_a_probe_by_its_name(tmp_path: Path) -> None:
    assert child.load_probe("modelgrid.adapters.gpu_amd:AmdProbe", tmp_path).vendor is GpuVendor.AMD
