"""Every check an operator would make on a node that misbehaves, each with the fix."""

import asyncio
import os
import resource
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from modelgrid.decide.platform import Platform
from modelgrid.domain.errors import ModelGridError
from modelgrid.domain.gpu import GpuInventory
from modelgrid.domain.routing import GatewayReport
from modelgrid.domain.target import RuntimeKind
from modelgrid.domain.units import GIB, format_bytes
from modelgrid.ports.runtime import Runtime
from modelgrid.services.catalog import CatalogService
from modelgrid.services.drivers import DriverService

LOW_DISK_BYTES = 2 * GIB
SCARCE_WEIGHTS_BYTES = 50 * GIB
"""Free space below which the next large model will not fit."""
FEW_FILES = 4096


class Result(StrEnum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """`fix` is empty when all is well."""

    name: str
    result: Result
    message: str
    fix: str = ""


class Doctor:
    def __init__(
        self,
        *,
        state_dir: Path,
        cache_dir: Path,
        platform: Platform,
        runtimes: Mapping[RuntimeKind, Runtime],
        inventory: Callable[[], GpuInventory],
        drivers: DriverService,
        catalog: CatalogService,
        gateways: Callable[[], Sequence[GatewayReport]],
        problems: Callable[[], Sequence[str]],
        workers: int,
    ) -> None:
        self._state_dir = state_dir
        self._cache_dir = cache_dir
        self._platform = platform
        self._runtimes = runtimes
        self._inventory = inventory
        self._drivers = drivers
        self._catalog = catalog
        self._gateways = gateways
        self._problems = problems
        self._workers = workers

    async def checks(self) -> tuple[Check, ...]:
        found = [
            Check(name="platform", result=Result.OK, message=self._platform.reason),
            *await asyncio.to_thread(self._files),
            *await self._runtime_checks(),
            self._gpu_check(),
            *await self._driver_checks(),
            self._gateway_check(),
            self._catalog_check(),
        ]
        found += [
            Check(name="configuration", result=Result.FAILED, message=text, fix="Mend config.json and restart.")
            for text in self._problems()
        ]
        return tuple(found)

    def _files(self) -> list[Check]:
        checks = [_disk("state directory", self._state_dir, LOW_DISK_BYTES)]
        checks.append(_disk("model cache", self._cache_dir, SCARCE_WEIGHTS_BYTES))
        mode = self._state_dir.stat().st_mode & 0o077
        checks.append(
            Check(name="state directory mode", result=Result.OK, message="only its owner can read it")
            if mode == 0
            else Check(
                name="state directory mode",
                result=Result.FAILED,
                message=f"{self._state_dir} is open to others (mode {mode:03o} for group and others)",
                fix=f"chmod 700 {self._state_dir}",
            )
        )
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        checks.append(
            Check(name="open files", result=Result.OK, message=f"up to {soft}")
            if soft >= FEW_FILES
            else Check(
                name="open files",
                result=Result.WARNING,
                message=f"only {soft} open files are allowed; each stream takes two",
                fix="ulimit -n 65536, or LimitNOFILE=65536 in the unit",
            )
        )
        return checks

    async def _runtime_checks(self) -> list[Check]:
        health = await asyncio.gather(*(runtime.health() for runtime in self._runtimes.values()))
        wanted = self._platform.runtime
        return [
            Check(
                name=f"runtime {item.kind.value}",
                result=Result.OK if item.available else Result.FAILED if item.kind == wanted else Result.WARNING,
                message=f"works ({item.version})" if item.available and item.version else item.problem or "works",
                fix="" if item.available else item.fix,
            )
            for item in health
            if item.available or item.kind == wanted or item.kind in {RuntimeKind.DOCKER, RuntimeKind.PODMAN}
        ]

    def _gpu_check(self) -> Check:
        inventory = self._inventory()
        simulated = any(gpu.simulated for gpu in inventory.gpus)
        if inventory.stale or inventory.problem:
            fix = "`modelgrid gpu drivers` tells what is wrong."
            return Check(name="GPUs", result=Result.FAILED, message=inventory.problem or "readings are old", fix=fix)
        if not inventory.gpus:
            return Check(name="GPUs", result=Result.WARNING, message="none found; engines run on the CPU only")
        said = f"{len(inventory.gpus)} found" + (", simulated" if simulated else "")
        return Check(name="GPUs", result=Result.OK, message=said)

    async def _driver_checks(self) -> list[Check]:
        try:
            reports = await self._drivers.reports()
        except ModelGridError as error:
            return [Check(name="drivers", result=Result.FAILED, message=error.message, fix=error.fix)]
        return [
            Check(name=f"driver {report.vendor.value}", result=Result.FAILED, message=issue.message, fix=issue.fix)
            for report in reports
            if report.hardware_present
            for issue in report.issues
        ]

    def _gateway_check(self) -> Check:
        reports = self._gateways()
        said = f"{len(reports)} of {self._workers} report"
        if len(reports) >= self._workers:
            compiled = all(report.compiled for report in reports)
            form = "compiled" if compiled else "interpreted"
            return Check(name="gateway", result=Result.OK, message=f"{said}; {form}")
        return Check(
            name="gateway", result=Result.FAILED, message=said, fix="The daemon's log says why one is missing."
        )

    def _catalog_check(self) -> Check:
        notes = [source.problem for source in self._catalog.sources if source.problem]
        if notes:
            fix = "The entries in use stay. On a machine without the internet set models.registryUrl to null."
            return Check(name="catalog", result=Result.WARNING, message="; ".join(notes), fix=fix)
        return Check(name="catalog", result=Result.OK, message=f"{len(self._catalog.entries)} models")


def _disk(name: str, folder: Path, enough: int) -> Check:
    place = folder
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        return Check(name=name, result=Result.FAILED, message=f"{place} is no folder", fix="Name another place.")
    free = shutil.disk_usage(place).free
    if not os.access(place, os.W_OK):
        return Check(
            name=name, result=Result.FAILED, message=f"{place} cannot be written", fix=f"chown it to uid {os.geteuid()}"
        )
    said = f"{format_bytes(free)} free in {place}"
    if free >= enough:
        return Check(name=name, result=Result.OK, message=said)
    return Check(
        name=name,
        result=Result.WARNING,
        message=said,
        fix=f"Free space there; {format_bytes(enough)} is little enough.",
    )
