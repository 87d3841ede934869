"""The NVIDIA probe over replayed NVML answers and a made-up device tree."""

import sys
from pathlib import Path
from typing import Any

import pynvml
import pytest

from modelgrid.adapters.gpu_nvidia import NvidiaProbe
from modelgrid.domain.errors import ModelGridError

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures" / "gpu"))
from gpu_fakes import ReplayNvml, load, write_tree


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_tree(tmp_path, "host_nvidia_h200.json")


@pytest.fixture
def recording() -> dict[str, Any]:
    return load("nvml_h200.json")


def codes(probe: NvidiaProbe) -> list[str]:
    return [issue.code for issue in probe.drivers().issues]


def test_every_reading_of_a_busy_gpu(root: Path, recording: dict[str, Any]) -> None:
    gpu, other = NvidiaProbe(root, ReplayNvml(recording)).read()
    assert (gpu.id, gpu.index, gpu.name, gpu.uuid) == (
        "nvidia-0",
        0,
        "NVIDIA H200",
        "GPU-4f6a1c52-6d3e-0b4e-9a6e-3b1c6d4e8f01",
    )
    assert (gpu.vram_total_bytes, gpu.vram_free_bytes) == (150754820096, 132875829248)
    assert gpu.vram_used_bytes + gpu.vram_free_bytes == gpu.vram_total_bytes, "the driver's reserve counts as used"
    assert gpu.pci_address == "0000:0f:00.0"
    assert (gpu.utilization_percent, gpu.memory_utilization_percent) == (87, 41)
    assert (gpu.temperature_celsius, gpu.power_watts, gpu.power_limit_watts) == (54, 412.35, 700)
    assert (gpu.clock_core_mhz, gpu.clock_memory_mhz) == (1980, 3201)
    assert gpu.compute_capability == "9.0"
    assert (gpu.ecc_enabled, gpu.ecc_uncorrected_errors) == (True, 0)
    assert gpu.throttle_reasons == ("software_power_cap",)
    assert gpu.xid_errors == ()
    assert not gpu.mig_enabled
    assert [(process.pid, process.name, process.used_bytes) for process in gpu.processes] == [
        (99, "/usr/bin/other", None),
        (4711, "VLLM::EngineCor", 17179869184),
    ]
    assert other.throttle_reasons == (), "idle is no throttling"
    assert other.mig_enabled
    assert other.utilization_percent is None
    assert other.xid_errors == (63, 31)
    assert other.ecc_uncorrected_errors == 2


def test_an_old_driver_gives_what_it_has(root: Path) -> None:
    (gpu,) = NvidiaProbe(root, ReplayNvml(load("nvml_t4_old_driver.json"))).read()
    assert (gpu.vram_total_bytes, gpu.vram_used_bytes) == (15843721216, 324796416)
    assert gpu.temperature_celsius == 40
    assert gpu.compute_capability == "7.5"
    assert gpu.throttle_reasons == (
        "hardware_slowdown",
        "software_thermal_slowdown",
        "hardware_thermal_slowdown",
    )
    assert (gpu.power_watts, gpu.power_limit_watts, gpu.clock_core_mhz, gpu.ecc_enabled) == (None,) * 4
    assert gpu.processes == ()


def test_a_gpu_without_memory_of_its_own_uses_the_hosts(root: Path, recording: dict[str, Any]) -> None:
    recording["devices"] = [recording["devices"][0] | {"nvmlDeviceGetMemoryInfo": {"error": 3}}]
    (root / "proc/meminfo").write_text("MemTotal:  125829120 kB\nMemAvailable:  104857600 kB\nHugePages_Total: 0\n")
    (gpu,) = NvidiaProbe(root, ReplayNvml(recording)).read()
    assert (gpu.vram_total_bytes, gpu.vram_free_bytes) == (125829120 * 1024, 104857600 * 1024)


@pytest.mark.parametrize("call", ["nvmlDeviceGetHandleByIndex", "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetName"])
def test_a_lost_gpu_does_not_hide_the_others(root: Path, recording: dict[str, Any], call: str) -> None:
    recording["devices"][0][call] = {"error": pynvml.NVML_ERROR_GPU_IS_LOST}
    probe = NvidiaProbe(root, ReplayNvml(recording))
    assert [gpu.id for gpu in probe.read()] == ["nvidia-1"]


def test_a_lost_gpu_is_reported(root: Path, recording: dict[str, Any]) -> None:
    recording["devices"][0]["nvmlDeviceGetHandleByIndex"] = {"error": pynvml.NVML_ERROR_GPU_IS_LOST}
    issue = NvidiaProbe(root, ReplayNvml(recording)).drivers().issues[0]
    assert issue.code == "gpu_lost"
    assert "0000:0f:00.0" in issue.message


def test_nvml_is_started_once(root: Path, recording: dict[str, Any]) -> None:
    nvml = ReplayNvml(recording)
    probe = NvidiaProbe(root, nvml)
    probe.read()
    probe.drivers()
    probe.read()
    assert nvml.starts == 1


def test_a_driver_that_was_mended_is_met_again(root: Path, recording: dict[str, Any]) -> None:
    nvml = ReplayNvml(recording)
    probe = NvidiaProbe(root, nvml)
    probe.read()
    recording["devices"][0]["nvmlDeviceGetName"] = {"error": pynvml.NVML_ERROR_UNINITIALIZED}
    with pytest.raises(ModelGridError, match="does not answer"):
        probe.read()
    recording["devices"][0]["nvmlDeviceGetName"] = "NVIDIA H200"
    assert len(probe.read()) == 2
    assert nvml.starts == 2


def test_a_version_mismatch_is_an_error_and_explained(root: Path, recording: dict[str, Any]) -> None:
    recording["nvmlInit"] = {"error": pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH}
    (root / "sys/module/nvidia/version").write_text("570.172.08\n")
    probe = NvidiaProbe(root, ReplayNvml(recording))
    with pytest.raises(ModelGridError, match="does not answer"):
        probe.read()
    report = probe.drivers()
    assert report.installed
    assert report.version == "570.172.08"
    assert [issue.code for issue in report.issues] == ["version_mismatch", "xid_errors"]
    assert "570.172.08" in report.issues[0].message
    assert "580.95.05" in report.issues[0].message


def test_a_healthy_installation(root: Path, recording: dict[str, Any]) -> None:
    report = NvidiaProbe(root, ReplayNvml(recording)).drivers()
    assert (report.version, report.toolkit_version, report.container_toolkit) == ("580.95.05", "13.0", True)
    assert report.hardware_present
    assert report.installed
    assert [issue.code for issue in report.issues] == ["xid_errors"]


def test_persistence_and_fabric_are_looked_at_on_every_gpu(root: Path, recording: dict[str, Any]) -> None:
    recording["devices"][0]["nvmlDeviceGetPersistenceMode"] = 0
    recording["devices"][1]["nvmlDeviceGetGpuFabricInfoV"] = {"state": 2}
    assert codes(NvidiaProbe(root, ReplayNvml(recording))) == [
        "fabric_manager_stopped",
        "xid_errors",
        "persistence_mode_off",
    ]


def test_a_stopped_fabric_manager_is_seen_from_the_switches(root: Path, recording: dict[str, Any]) -> None:
    for device in recording["devices"]:
        del device["nvmlDeviceGetGpuFabricInfoV"]
    probe = NvidiaProbe(root, ReplayNvml(recording))
    assert "fabric_manager_stopped" not in codes(probe)
    (root / "proc/812/comm").unlink()
    assert "fabric_manager_stopped" in codes(probe)


def test_hardware_without_a_driver_is_no_gpu_and_a_report(tmp_path: Path) -> None:
    write_tree(tmp_path, "host_nvidia_no_driver.json")
    probe = NvidiaProbe(tmp_path, ReplayNvml({"nvmlInit": {"error": pynvml.NVML_ERROR_LIBRARY_NOT_FOUND}}))
    assert probe.read() == ()
    report = probe.drivers()
    assert report.hardware_present
    assert not report.installed
    assert [issue.code for issue in report.issues] == ["nouveau_loaded"]


def test_the_real_nvml_module_without_a_driver(tmp_path: Path) -> None:
    """nvidia-ml-py itself: it loads, and says that there is no library. Skipped where there is one."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        if error.value != pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
            pytest.skip(f"this machine has NVML: {error}")
    else:
        pynvml.nvmlShutdown()
        pytest.skip("this machine has NVML")
    write_tree(tmp_path, "host_nvidia_no_driver.json", **{"sys/bus/pci/devices/0000:01:00.0/driver": None})
    probe = NvidiaProbe(tmp_path)
    assert probe.read() == ()
    assert [issue.code for issue in probe.drivers().issues] == ["driver_missing"]


def test_without_nvidia_hardware_nvml_is_not_touched(tmp_path: Path) -> None:
    write_tree(tmp_path, "host_no_gpu.json")
    probe = NvidiaProbe(tmp_path, object())
    assert probe.read() == ()
    report = probe.drivers()
    assert not report.hardware_present
    assert report.issues == ()
