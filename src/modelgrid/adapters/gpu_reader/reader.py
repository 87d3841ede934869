"""The daemon's side of a probe child: ask, wait a bounded time, kill.

A call into a wedged GPU driver blocks in the kernel, where no thread and no timer can end it. So the probe of each
vendor runs in a process of its own; the daemon waits for its answer on a socket and kills the group when none comes.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import msgspec

from modelgrid.adapters.gpu_reader.wire import MAX_LINE_BYTES, Reply, Request
from modelgrid.adapters.pci.bus import gpu_devices
from modelgrid.domain.errors import ModelGridError
from modelgrid.domain.gpu import DriverReport, Gpu, GpuVendor

TIMEOUT_SECONDS = 5.0
"""A healthy probe answers in milliseconds; the first NVML start without persistence mode takes two to three seconds."""
_REAP_SECONDS = 1.0
_REAP_STEP_SECONDS = 0.01
_OFF_THE_BUS = {GpuVendor.NVIDIA: ("dev/nvidiactl", "dev/dxg")}
"""Device files of GPUs that are not on the PCI bus: integrated into the SoC (Tegra), or under WSL 2."""


class GpuProbeFailed(ModelGridError):
    """A probe did not answer in time, ended, or reported that its driver cannot be read."""

    code: ClassVar[str] = "gpu_probe_failed"
    status: ClassVar[int] = 503


@dataclass(frozen=True, slots=True)
class ProbeSpec:
    """Which probe a child runs. `factory` is `module:callable`; it gets `root` as its only argument."""

    vendor: GpuVendor
    factory: str
    root: Path = Path("/")


HOST_PROBES = (
    ProbeSpec(GpuVendor.NVIDIA, "modelgrid.adapters.gpu_nvidia:NvidiaProbe"),
    ProbeSpec(GpuVendor.AMD, "modelgrid.adapters.gpu_amd:AmdProbe"),
    ProbeSpec(GpuVendor.INTEL, "modelgrid.adapters.gpu_intel:IntelProbe"),
)


class GpuReader:
    """Reads one vendor's GPUs through a child process.

    The child lives as long as it is asked (it ends itself after a minute of silence). No child is started while the
    vendor has no device on this machine: then the answers are empty and cost about a millisecond.
    Questions are answered one after the other. Call from one event loop.
    """

    def __init__(
        self,
        spec: ProbeSpec,
        timeout_seconds: float = TIMEOUT_SECONDS,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.vendor = spec.vendor
        self._spec = spec
        self._timeout = timeout_seconds
        self._environment = None if environment is None else {**os.environ, **environment}
        self._lock = asyncio.Lock()
        self._child: _Child | None = None
        self._doomed: _Child | None = None
        self._asked = 0

    async def read(self) -> tuple[Gpu, ...]:
        """Return the vendor's GPUs, empty when there are none. Takes at most a second longer than the timeout.

        Raises `GpuProbeFailed`; the hung or broken child is gone then, and the next call starts a new one.
        """
        if not self.hardware_present():
            await self.close()
            return ()
        reply = await self._ask("read")
        return reply.gpus or ()

    async def drivers(self) -> DriverReport:
        """Return what is installed for the vendor and its known faults. Raises `GpuProbeFailed` as `read` does."""
        if not self.hardware_present():
            return DriverReport(vendor=self.vendor, hardware_present=False, installed=self._module_loaded())
        reply = await self._ask("drivers")
        if reply.report is None:
            raise GpuProbeFailed(f"The {self.vendor} probe answered without a report.")
        return reply.report

    def hardware_present(self) -> bool:
        """Return whether a device of the vendor is on this machine, driver or not. About a millisecond."""
        root = self._spec.root
        return bool(gpu_devices(self.vendor, root)) or any(
            (root / node).exists() for node in _OFF_THE_BUS.get(self.vendor, ())
        )

    @property
    def child_pid(self) -> int | None:
        """Process id of the child, None while there is none."""
        return None if self._child is None else self._child.process.pid

    async def close(self) -> None:
        """End the child. The reader can be used again afterwards."""
        async with self._lock:
            await self._drop()

    def _module_loaded(self) -> bool:
        modules = {GpuVendor.NVIDIA: ("nvidia",), GpuVendor.AMD: ("amdgpu",), GpuVendor.INTEL: ("xe", "i915")}
        return any((self._spec.root / "sys/module" / name).is_dir() for name in modules[self.vendor])

    async def _ask(self, verb: Literal["read", "drivers"]) -> Reply:
        async with self._lock:
            line = await self._exchange_or_replace(verb)
            try:
                reply = msgspec.json.decode(line, type=Reply)
            except msgspec.MsgspecError as error:
                await self._drop()
                raise GpuProbeFailed(
                    f"The {self.vendor} probe answered something else than a reply: {error}."
                ) from error
            if reply.id != self._asked:
                await self._drop()
                raise GpuProbeFailed(f"The {self.vendor} probe answered question {reply.id} instead of {self._asked}.")
            if reply.failure is not None:
                raise GpuProbeFailed(reply.failure.message, fix=reply.failure.fix, vendor=str(self.vendor))
            return reply

    async def _exchange_or_replace(self, verb: Literal["read", "drivers"]) -> bytes:
        """Ask; a child that had ended itself meanwhile is replaced once."""
        had_child = self._child is not None
        line = await self._exchange(verb)
        if not line and had_child:
            line = await self._exchange(verb)
        if not line:
            raise GpuProbeFailed(
                f"The {self.vendor} probe ended without an answer.",
                fix="Its traceback is in the daemon's log.",
                vendor=str(self.vendor),
            )
        return line

    async def _exchange(self, verb: Literal["read", "drivers"]) -> bytes:
        """Return the reply line, empty when the child ended instead. Raises `GpuProbeFailed` when time is up."""
        try:
            async with asyncio.timeout(self._timeout):
                child = self._child or await self._start()
                self._asked += 1
                child.writer.write(msgspec.json.encode(Request(id=self._asked, verb=verb)) + b"\n")
                try:
                    line = await child.reader.readline()
                except (ConnectionError, ValueError):  # ValueError: a line beyond MAX_LINE_BYTES
                    line = b""
        except TimeoutError as error:
            pid = self.child_pid
            await self._drop()
            raise GpuProbeFailed(
                f"The {self.vendor} driver did not answer within {self._timeout:g} s; the probe was killed.",
                fix="`dmesg` shows what the driver does; a GPU that hangs for good needs a reboot.",
                vendor=str(self.vendor),
                pid=pid,
            ) from error
        except BaseException:
            # Cancelled in the middle of an exchange: the answer would meet the next question.
            await self._drop()
            raise
        if not line.endswith(b"\n"):
            await self._drop()
            return b""
        return line

    async def _start(self) -> "_Child":
        if self._doomed is not None and not self._doomed.reaped():
            raise GpuProbeFailed(
                f"Process {self._doomed.process.pid} hangs in the {self.vendor} driver and cannot be killed.",
                fix="Reboot the machine; the kernel does not let go of it before the driver answers.",
                vendor=str(self.vendor),
                pid=self._doomed.process.pid,
            )
        self._doomed = None
        try:
            ours, process = self._spawn()
        except OSError as error:
            raise GpuProbeFailed(
                f"The {self.vendor} probe cannot be started: {error}.", vendor=str(self.vendor)
            ) from error
        try:
            reader, writer = await asyncio.open_unix_connection(sock=ours, limit=MAX_LINE_BYTES)
        except BaseException:
            ours.close()
            _kill_group(process)
            process.wait()
            raise
        self._child = _Child(process, reader, writer)
        return self._child

    def _spawn(self) -> tuple[socket.socket, "subprocess.Popen[bytes]"]:
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            try:
                # Popen rather than asyncio's subprocess: reaping must not need a thread that waits for a process
                # which is stuck in the kernel.
                process = subprocess.Popen(
                    [sys.executable, "-m", "modelgrid.adapters.gpu_reader", self._spec.factory, str(self._spec.root)],
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    env=self._environment,
                    start_new_session=True,
                )
            except BaseException:
                ours.close()
                raise
        return ours, process

    async def _drop(self) -> None:
        """Kill the child's group, close our end and reap it. Returns within a second even if it cannot be killed."""
        child, self._child = self._child, None
        if child is None:
            return
        _kill_group(child.process)
        self._doomed = child  # before the first await: a cancelled caller must not lose sight of it
        child.writer.transport.abort()
        with suppress(OSError):  # what the last write met is told already
            await child.writer.wait_closed()
        for _ in range(int(_REAP_SECONDS / _REAP_STEP_SECONDS)):
            if child.reaped():
                self._doomed = None
                return
            await asyncio.sleep(_REAP_STEP_SECONDS)


@dataclass(slots=True)
class _Child:
    process: "subprocess.Popen[bytes]"
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def reaped(self) -> bool:
        return self.process.poll() is not None


def _kill_group(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError, PermissionError):  # already gone, or only a zombie is left
        os.killpg(process.pid, signal.SIGKILL)


def host_readers(root: Path = Path("/"), timeout_seconds: float = TIMEOUT_SECONDS) -> tuple[GpuReader, ...]:
    """Return one reader per vendor for this machine. Starts nothing; without GPUs nothing is ever started."""
    return tuple(
        GpuReader(ProbeSpec(spec.vendor, spec.factory, root), timeout_seconds=timeout_seconds) for spec in HOST_PROBES
    )
