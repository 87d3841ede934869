"""The AMD probe over a made-up device tree of two MI300X and an integrated Radeon."""

import shutil
import sys
from pathlib import Path

import pytest

from modelgrid.adapters.gpu_amd import AmdProbe
from modelgrid.adapters.gpu_amd.kfd import gfx_name
from modelgrid.adapters.pci import Identity
from modelgrid.domain.errors import ModelGridError

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures" / "gpu"))
from gpu_fakes import FIXTURES, write_tree

ROOT_USER = Identity("root", is_root=True, groups=frozenset({"root"}))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_tree(tmp_path, "host_amd_mi300x.json")


def install_tool(root: Path, name: str, fixture: str) -> None:
    answer = root / fixture
    shutil.copy(FIXTURES / fixture, answer)
    tool = root / "usr/bin" / name
    tool.write_text(f"#!/bin/sh\nexec cat {answer}\n")
    tool.chmod(0o755)


def test_every_reading(root: Path) -> None:
    gpu, other = AmdProbe(root, ROOT_USER).read()
    assert (gpu.id, gpu.uuid, gpu.name, gpu.pci_address) == (
        "amd-0",
        "GPU-4d2a91c0ffee0001",
        "AMD Instinct MI300X OAM",
        "0000:05:00.0",
    )
    assert (gpu.vram_total_bytes, gpu.vram_used_bytes, gpu.vram_free_bytes) == (
        206141652992,
        103070826496,
        103070826496,
    )
    assert (gpu.utilization_percent, gpu.memory_utilization_percent) == (63, 12)
    assert (gpu.temperature_celsius, gpu.power_watts, gpu.power_limit_watts) == (61, 412, 750)
    assert (gpu.clock_core_mhz, gpu.clock_memory_mhz) == (2100, 1300)
    assert gpu.compute_capability == "gfx942"
    assert (gpu.ecc_enabled, gpu.ecc_uncorrected_errors) == (True, 1)
    assert [(process.pid, process.name, process.used_bytes) for process in gpu.processes] == [
        (9001, "VLLM::Worker_TP", 102005473280)
    ]
    assert other.processes == ()
    assert other.ecc_enabled is None


def test_integrated_graphics_is_left_out(root: Path) -> None:
    assert "0000:c5:00.0" not in {gpu.pci_address for gpu in AmdProbe(root, ROOT_USER).read()}


def test_a_board_without_a_name_is_called_after_pci_ids(root: Path) -> None:
    assert AmdProbe(root, ROOT_USER).read()[1].name == "Aqua Vanjaram [Instinct MI300X]"


@pytest.mark.parametrize(
    ("tool", "fixture", "name"),
    [
        ("rocm-smi", "rocm_smi_mi100.json", "Arcturus GL-XL [Instinct MI100]"),
        ("amd-smi", "amd_smi_rocm7.json", "AMD Instinct MI300X OAM"),
    ],
)
def test_the_vendors_tools_know_names(root: Path, tool: str, fixture: str, name: str) -> None:
    install_tool(root, tool, fixture)
    assert AmdProbe(root, ROOT_USER).read()[1].name == name


def test_a_tool_that_fails_costs_nothing_but_its_answer(root: Path) -> None:
    tool = root / "usr/bin/rocm-smi"
    tool.write_text("#!/bin/sh\necho not json\n")
    tool.chmod(0o755)
    assert AmdProbe(root, ROOT_USER).read()[1].name == "Aqua Vanjaram [Instinct MI300X]"


def test_a_card_that_does_not_know_its_memory_is_an_error(root: Path) -> None:
    (root / "sys/bus/pci/devices/0000:05:00.0/mem_info_vram_used").write_text("")
    with pytest.raises(ModelGridError, match=r"0000:05:00\.0"):
        AmdProbe(root, ROOT_USER).read()


def test_a_healthy_installation(root: Path) -> None:
    report = AmdProbe(root, ROOT_USER).drivers()
    assert (report.version, report.toolkit_version) == ("6.14.14", "7.0.2-56")
    assert report.installed
    assert report.issues == ()


def test_a_user_outside_the_groups_is_told_so(root: Path) -> None:
    (issue,) = AmdProbe(root, Identity("modelgrid", is_root=False, groups=frozenset({"video"}))).drivers().issues
    assert issue.code == "no_device_access"
    assert "usermod -a -G render modelgrid" in issue.fix


def test_a_missing_compute_interface(root: Path) -> None:
    (root / "dev/kfd").unlink()
    assert [issue.code for issue in AmdProbe(root, ROOT_USER).drivers().issues] == ["kfd_missing"]


def test_the_kernels_own_driver_has_the_kernels_version(root: Path) -> None:
    (root / "sys/module/amdgpu/version").unlink()
    assert AmdProbe(root, ROOT_USER).drivers().version == "kernel 6.1.0-40-amd64"


def test_a_host_with_integrated_graphics_only_has_no_gpu(tmp_path: Path) -> None:
    write_tree(tmp_path, "host_amd_mi300x.json")
    for address in ("0000:05:00.0", "0000:26:00.0"):
        shutil.rmtree(tmp_path / "sys/bus/pci/devices" / address)
    (tmp_path / "dev/kfd").unlink()
    report = AmdProbe(tmp_path, ROOT_USER).drivers()
    assert not report.hardware_present
    assert report.issues == ()
    assert AmdProbe(tmp_path, ROOT_USER).read() == ()


@pytest.mark.parametrize(
    ("version", "name"),
    [(90402, "gfx942"), (90010, "gfx90a"), (100300, "gfx1030"), (110000, "gfx1100"), (120001, "gfx1201")],
)
def test_gfx_names(version: int, name: str) -> None:
    assert gfx_name(version) == name
