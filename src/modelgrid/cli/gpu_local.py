"""GPUs and drivers read from this machine itself: before the first start of a daemon, or while none answers.

The answers have the shape of the API's, so that they are shown and printed alike."""

import asyncio
import platform
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, TypeVar

import msgspec

from modelgrid.cli.session import Session
from modelgrid.client.http import ModelGridClient
from modelgrid.decide.gpu_health import gpu_faults
from modelgrid.domain.errors import DaemonUnreachable, ModelGridError, NotFound
from modelgrid.domain.gpu import DriverReport, Gpu, GpuVendor

if TYPE_CHECKING:
    from modelgrid.adapters.gpu_reader import GpuReader
    from modelgrid.client import views
    from modelgrid.client.views import GpuList, GpuView

Answer = TypeVar("Answer")


def ask_or_read(
    session: Session, ask: Callable[[ModelGridClient], Answer], read: Callable[[], Answer]
) -> tuple[Answer, str]:
    """Return the daemon's answer; when it cannot be asked, what `read` returns, and a note that says so and why.

    A daemon elsewhere (`--url`) that does not answer is an error: this machine is not the one that was meant."""
    try:
        with session.client() as client:
            return ask(client), ""
    except DaemonUnreachable as error:
        if session.url is not None:
            raise
        return read(), f"{error.message} This was read from the machine itself."


def read_gpus() -> "GpuList":
    """Return every GPU of this machine and, in `problem`, which vendor's could not be read."""

    async def read() -> "GpuList":
        items: list[GpuView] = []
        problems: list[str] = []
        async for reader in _readers():
            try:
                gpus = await reader.read()
            except ModelGridError as error:
                problems.append(str(error))
                continue
            items += [_gpu_view(gpu) for gpu in gpus]
        return {"items": items, "problem": "; ".join(problems), "simulated": False}

    return asyncio.run(read())


def _gpu_view(gpu: Gpu) -> "GpuView":
    read: views.Gpu = msgspec.to_builtins(gpu)
    faults: list[views.GpuFault] = msgspec.to_builtins(gpu_faults(gpu))
    return {
        "id": f"{platform.node()}/{gpu.id}",
        "node": platform.node(),
        "gpu": read,
        "stale": False,
        "problem": "",
        "faults": faults,
        "assigned_to": None,
        "deployments": [],
        "used_by_deployments_bytes": None,
        "used_by_others_bytes": None,
    }


def read_drivers() -> "list[views.DriverReport]":
    """Return what is installed for each vendor. A vendor that cannot be read is reported with that as its fault."""

    async def read() -> "list[views.DriverReport]":
        found: list[views.DriverReport] = []
        async for reader in _readers():
            try:
                report = msgspec.to_builtins(await reader.drivers())
            except ModelGridError as error:
                issue = {"code": error.code, "message": error.message, "fix": error.fix}
                report = msgspec.to_builtins(DriverReport(vendor=reader.vendor, hardware_present=True, installed=False))
                report["issues"] = [issue]
            found.append(report)
        return found

    return asyncio.run(read())


def driver_report(vendor: GpuVendor | None) -> DriverReport:
    """Return the report of a vendor; `None`: of the first whose hardware is here.

    Raises `NotFound` when there is no such hardware to choose by, `GpuProbeFailed` when it cannot be read."""

    async def read() -> DriverReport:
        async for reader in _readers():
            if reader.hardware_present() if vendor is None else reader.vendor is vendor:
                return await reader.drivers()
        raise NotFound(
            "No GPU of NVIDIA, AMD or Intel is in this machine.", fix="Name one with --vendor to see its steps."
        )

    return asyncio.run(read())


async def _readers() -> AsyncIterator["GpuReader"]:
    # Adapters are loaded here only: reading this machine is all that is local about these verbs.
    from modelgrid.adapters.gpu_reader import host_readers  # noqa: PLC0415

    readers = host_readers()
    try:
        for reader in readers:
            yield reader
    finally:
        for reader in readers:
            await reader.close()
