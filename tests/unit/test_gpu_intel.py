"""The Intel probe over made-up device trees: an Arc B580 under xe and an A770 under i915."""

import sys
from pathlib import Path

import pytest

from modelgrid.adapters.gpu_intel import IntelProbe
from modelgrid.adapters.pci import Identity
from modelgrid.domain.errors import ModelGridError
from modelgrid.domain.units import GIB, MIB

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures" / "gpu"))
from gpu_fakes import FIXTURES, write_tree

ROOT_USER = Identity("root", is_root=True, groups=frozenset())


class Ticks:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_card_under_xe(tmp_path: Path) -> None:
    write_tree(tmp_path, "host_intel_b580.json")
    ticks = Ticks()
    probe = IntelProbe(tmp_path, ROOT_USER, ticks)
    (gpu,) = probe.read()
    assert (gpu.id, gpu.name, gpu.uuid) == ("intel-0", "Intel Arc B580", "pci-0000:03:00.0")
    assert gpu.vram_total_bytes == 12 * GIB, "the memory BAR: upstream xe has no file for it"
    assert gpu.vram_used_bytes == 6 * GIB, "two files of one client are one allocation"
    assert gpu.vram_used_bytes + gpu.vram_free_bytes == gpu.vram_total_bytes
    assert (gpu.temperature_celsius, gpu.power_limit_watts, gpu.clock_core_mhz) == (47, 190, 2850)
    assert [(process.pid, process.name, process.used_bytes) for process in gpu.processes] == [(3100, "vllm", 6 * GIB)]
    assert gpu.power_watts is None, "one energy reading gives no power"
    ticks.now += 2.0
    (tmp_path / "sys/bus/pci/devices/0000:03:00.0/hwmon/hwmon3/energy1_input").write_text("1240000000\n")
    assert probe.read()[0].power_watts == 120


def test_a_card_under_i915(tmp_path: Path) -> None:
    (gpu,) = IntelProbe(write_tree(tmp_path, "host_intel_a770.json"), ROOT_USER).read()
    assert (gpu.name, gpu.vram_total_bytes, gpu.clock_core_mhz) == ("Intel Arc A770", 17095983104, 2400)
    assert gpu.power_limit_watts is None, "a limit of 0 is switched off"
    assert gpu.processes == ()


def test_xpu_smi_adds_what_the_kernel_does_not_say(tmp_path: Path) -> None:
    write_tree(tmp_path, "host_intel_a770.json")
    calls = tmp_path / "calls"
    tool = tmp_path / "usr/bin/xpu-smi"
    tool.parent.mkdir(parents=True, exist_ok=True)
    tool.write_text(
        f'#!/bin/sh\necho "$*" >>{calls}\ncase "$*" in\n'
        f'"discovery -j") cat {FIXTURES}/xpu_smi_discovery.json;;\n'
        f'"discovery -d 0 -j") cat {FIXTURES}/xpu_smi_device.json;;\n'
        f'"stats -d 0 -j") cat {FIXTURES}/xpu_smi_stats.json;;\nesac\n'
    )
    tool.chmod(0o755)
    ticks = Ticks()
    probe = IntelProbe(tmp_path, ROOT_USER, ticks)
    (gpu,) = probe.read()
    assert (gpu.name, gpu.uuid) == ("Intel(R) Arc(TM) A770 Graphics", "00000000-0000-002a-0000-000856a08086")
    assert (gpu.vram_used_bytes, gpu.utilization_percent) == (int(4096.5 * MIB), 42.5)
    probe.read()
    assert calls.read_text().splitlines() == ["discovery -j", "discovery -d 0 -j", "stats -d 0 -j"], "answers are kept"
    ticks.now += 11
    probe.read()
    assert calls.read_text().splitlines()[3:] == ["stats -d 0 -j"]


def test_a_small_window_is_no_measure_of_the_memory(tmp_path: Path) -> None:
    window = "0x0 0x0 0x0\n0x0 0x0 0x0\n0x0000004000000000 0x000000400fffffff 0x14220c\n"
    write_tree(tmp_path, "host_intel_b580.json", **{"sys/bus/pci/devices/0000:03:00.0/resource": window})
    with pytest.raises(ModelGridError, match=r"0000:03:00\.0") as caught:
        IntelProbe(tmp_path, ROOT_USER).read()
    assert "xpu-smi" in caught.value.fix


def test_integrated_graphics_alone_is_no_gpu(tmp_path: Path) -> None:
    probe = IntelProbe(write_tree(tmp_path, "host_no_gpu.json"), ROOT_USER)
    assert probe.read() == ()
    assert not probe.drivers().hardware_present


def test_reports(tmp_path: Path) -> None:
    xe, i915 = tmp_path / "xe", tmp_path / "i915"
    report = IntelProbe(write_tree(xe, "host_intel_b580.json"), ROOT_USER).drivers()
    assert (report.version, report.toolkit_version, report.issues) == ("xe, kernel 6.1.0-40-amd64", "1.24.3", ())
    report = IntelProbe(write_tree(i915, "host_intel_a770.json"), ROOT_USER).drivers()
    assert [issue.code for issue in report.issues] == ["level_zero_missing"]


def test_a_card_that_no_driver_takes(tmp_path: Path) -> None:
    write_tree(tmp_path, "host_intel_b580.json", **{"sys/bus/pci/devices/0000:03:00.0/driver": None})
    probe = IntelProbe(tmp_path, ROOT_USER)
    assert probe.read() == ()
    report = probe.drivers()
    assert (report.hardware_present, report.installed) == (True, False)
    assert report.issues[0].code == "driver_missing"
