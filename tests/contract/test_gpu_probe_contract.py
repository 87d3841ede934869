"""One suite for every `GpuProbe`: the three vendors over their device trees, and the simulated GPUs."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from modelgrid.adapters.gpu_amd import AmdProbe
from modelgrid.adapters.gpu_intel import IntelProbe
from modelgrid.adapters.gpu_nvidia import NvidiaProbe
from modelgrid.adapters.gpu_reader import HOST_PROBES, InProcessReader, host_readers
from modelgrid.adapters.gpu_reader.wire import Reply
from modelgrid.adapters.pci import Identity
from modelgrid.domain.gpu import GpuVendor
from modelgrid.ports.gpu_probe import GpuProbe
from modelgrid.simulator.gpus import SimulatedGpuProbe, simulated_gpus

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures" / "gpu"))
from gpu_fakes import ReplayNvml, load, write_tree

ROOT_USER = Identity("root", is_root=True, groups=frozenset())


def loaded_files(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


@dataclass(frozen=True)
class Case:
    vendor: GpuVendor
    gpus: int
    make: Callable[[Path], GpuProbe]


CASES = {
    "nvidia": Case(
        GpuVendor.NVIDIA,
        2,
        lambda root: NvidiaProbe(write_tree(root, "host_nvidia_h200.json"), ReplayNvml(load("nvml_h200.json"))),
    ),
    "amd": Case(GpuVendor.AMD, 2, lambda root: AmdProbe(write_tree(root, "host_amd_mi300x.json"), ROOT_USER)),
    "intel-xe": Case(GpuVendor.INTEL, 1, lambda root: IntelProbe(write_tree(root, "host_intel_b580.json"), ROOT_USER)),
    "intel-i915": Case(
        GpuVendor.INTEL, 1, lambda root: IntelProbe(write_tree(root, "host_intel_a770.json"), ROOT_USER)
    ),
    "simulated": Case(GpuVendor.NVIDIA, 2, lambda root: SimulatedGpuProbe(simulated_gpus(2), root)),
}


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def test_ids_and_indexes_are_the_vendors_in_order(case: Case, tmp_path: Path) -> None:
    gpus = case.make(tmp_path).read()
    assert [gpu.id for gpu in gpus] == [f"{case.vendor}-{index}" for index in range(case.gpus)]
    assert [gpu.index for gpu in gpus] == list(range(case.gpus))
    assert {gpu.vendor for gpu in gpus} == {case.vendor}


def test_uuids_are_there_differ_and_stay(case: Case, tmp_path: Path) -> None:
    probe = case.make(tmp_path)
    first, second = probe.read(), probe.read()
    assert len({gpu.uuid for gpu in first}) == len(first)
    assert all(gpu.uuid and gpu.name for gpu in first)
    assert [gpu.uuid for gpu in first] == [gpu.uuid for gpu in second]


def test_memory_adds_up(case: Case, tmp_path: Path) -> None:
    for gpu in case.make(tmp_path).read():
        assert gpu.vram_used_bytes + gpu.vram_free_bytes == gpu.vram_total_bytes
        assert 0 <= gpu.vram_free_bytes <= gpu.vram_total_bytes


def test_readings_are_in_their_units(case: Case, tmp_path: Path) -> None:
    for gpu in case.make(tmp_path).read():
        for percent in (gpu.utilization_percent, gpu.memory_utilization_percent):
            assert percent is None or 0 <= percent <= 100
        assert gpu.temperature_celsius is None or -20 < gpu.temperature_celsius < 150
        assert gpu.power_watts is None or 0 <= gpu.power_watts < 3000
        assert gpu.clock_core_mhz is None or 0 <= gpu.clock_core_mhz < 6000
        assert all(process.pid > 0 for process in gpu.processes)


def test_both_answers_pass_the_wire_unchanged(case: Case, tmp_path: Path) -> None:
    probe = case.make(tmp_path)
    for reply in (Reply(id=1, gpus=probe.read()), Reply(id=2, report=probe.drivers())):
        assert msgspec.json.decode(msgspec.json.encode(reply), type=Reply) == reply


def test_the_report_is_of_the_vendor(case: Case, tmp_path: Path) -> None:
    report = case.make(tmp_path).drivers()
    assert report.vendor is case.vendor
    assert report.installed
    assert report.version
    assert all(issue.code and issue.message and issue.fix for issue in report.issues)


async def test_any_probe_can_be_read_in_process(case: Case, tmp_path: Path) -> None:
    reader = InProcessReader(case.make(tmp_path))
    assert len(await reader.read()) == case.gpus
    assert (await reader.drivers()).vendor is reader.vendor is case.vendor
    await reader.close()


@pytest.mark.parametrize("probe", [NvidiaProbe, AmdProbe, IntelProbe])
@pytest.mark.parametrize("tree", ["host_no_gpu.json", None])
def test_no_hardware_is_no_gpu_and_no_issue(
    probe: Callable[[Path], GpuProbe], tree: str | None, tmp_path: Path
) -> None:
    if tree is not None:
        write_tree(tmp_path, tree)
    made = probe(tmp_path)
    assert made.read() == ()
    report = made.drivers()
    assert (report.hardware_present, report.installed, report.issues) == (False, False, ())


async def test_a_machine_without_gpus_says_so_at_once_and_starts_no_child(tmp_path: Path) -> None:
    readers = host_readers(write_tree(tmp_path, "host_no_gpu.json"))
    started = time.perf_counter()
    for reader in readers:
        assert await reader.read() == ()
        report = await reader.drivers()
        assert not report.hardware_present
        assert not report.installed
        assert reader.child_pid is None
    assert time.perf_counter() - started < 0.25, "a few milliseconds; the bound is for a busy machine"
    assert [reader.vendor for reader in readers] == [spec.vendor for spec in HOST_PROBES] == list(GpuVendor)


async def test_the_host_probes_answer_through_a_child(tmp_path: Path) -> None:
    """AMD over its tree in a real child process: the factory, the wire and the light imports fit together."""
    write_tree(tmp_path, "host_amd_mi300x.json")
    _, reader, _ = host_readers(tmp_path)
    try:
        gpus = await reader.read()
        assert [gpu.name for gpu in gpus] == ["AMD Instinct MI300X OAM", "Aqua Vanjaram [Instinct MI300X]"]
        assert (await reader.drivers()).version == "6.14.14"
        pid = reader.child_pid
        assert pid is not None
        assert "_asyncio" not in loaded_files(pid), "the child does not carry the daemon's side"
    finally:
        await reader.close()
    assert reader.child_pid is None
