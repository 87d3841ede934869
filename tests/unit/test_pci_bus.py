"""GPUs on the PCI bus: what counts as one, and what they are called."""

import sys
from pathlib import Path

from modelgrid.adapters.pci import KernelLog, gpu_devices, host_facts, library_versions, nvswitch_present, pci_name
from modelgrid.domain.gpu import GpuVendor

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures" / "gpu"))
from gpu_fakes import write_tree


def test_integrated_graphics_and_management_controllers_are_no_gpus(tmp_path: Path) -> None:
    assert gpu_devices(root=write_tree(tmp_path, "host_no_gpu.json")) == ()


def test_a_machine_without_a_pci_bus_has_none(tmp_path: Path) -> None:
    assert gpu_devices(root=tmp_path) == ()
    assert nvswitch_present(tmp_path) is False


def test_devices_come_in_bus_order_with_their_driver(tmp_path: Path) -> None:
    write_tree(tmp_path, "host_nvidia_h200.json")
    devices = gpu_devices(GpuVendor.NVIDIA, tmp_path)
    assert [(device.address, device.device_id, device.driver) for device in devices] == [
        ("0000:0f:00.0", 0x2335, "nvidia"),
        ("0000:2d:00.0", 0x2335, "nvidia"),
    ]
    assert gpu_devices(GpuVendor.AMD, tmp_path) == ()


def test_an_nvswitch_is_noticed_and_is_no_gpu(tmp_path: Path) -> None:
    write_tree(tmp_path, "host_nvidia_h200.json")
    assert nvswitch_present(tmp_path)
    assert "0000:05:00.0" not in {device.address for device in gpu_devices(root=tmp_path)}


def test_amd_accelerators_and_intel_cards_count(tmp_path: Path) -> None:
    amd, intel = tmp_path / "amd", tmp_path / "intel"
    assert len(gpu_devices(GpuVendor.AMD, write_tree(amd, "host_amd_mi300x.json"))) == 2, "without the integrated one"
    assert [device.driver for device in gpu_devices(GpuVendor.INTEL, write_tree(intel, "host_intel_b580.json"))] == [
        "xe"
    ]


def test_a_device_without_a_driver(tmp_path: Path) -> None:
    write_tree(tmp_path, "host_nvidia_no_driver.json", **{"sys/bus/pci/devices/0000:01:00.0/driver": None})
    assert [device.driver for device in gpu_devices(root=tmp_path)] == [""]


def test_names_come_from_pci_ids(tmp_path: Path) -> None:
    write_tree(tmp_path, "host_amd_mi300x.json")
    assert pci_name(GpuVendor.AMD, 0x74A1, tmp_path) == "Aqua Vanjaram [Instinct MI300X]"
    assert pci_name(GpuVendor.INTEL, 0x74A1, tmp_path) is None
    assert pci_name(GpuVendor.AMD, 0x0E3B, tmp_path) is None, "a subsystem is no device"
    assert pci_name(GpuVendor.AMD, 0x74A1, tmp_path / "nowhere") is None


def test_host_facts(tmp_path: Path) -> None:
    write_tree(tmp_path, "host_nvidia_h200.json")
    facts = host_facts("nvidia", "nvidia-*", tmp_path)
    assert facts.kernel_release == "6.1.0-40-amd64"
    assert (facts.module_loaded, facts.module_built, facts.module_source_present, facts.headers_present) == (True,) * 4
    assert facts.container_engines == ("docker",)
    assert not facts.secure_boot
    assert not facts.reboot_required
    other = host_facts("amdgpu", "amdgpu-*", tmp_path)
    assert (other.module_loaded, other.module_built, other.module_source_present) == (False,) * 3


def test_secure_boot_is_read_from_the_efi_variable(tmp_path: Path) -> None:
    variable = tmp_path / "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
    variable.parent.mkdir(parents=True)
    for value, expected in ((b"\x06\0\0\0\x01", True), (b"\x06\0\0\0\x00", False), (b"\x06", False)):
        variable.write_bytes(value)
        assert host_facts("nvidia", "nvidia-*", tmp_path).secure_boot is expected


def test_the_release_of_a_library_comes_before_its_abi(tmp_path: Path) -> None:
    write_tree(tmp_path, "host_nvidia_h200.json")
    assert library_versions("libnvidia-ml.so", tmp_path) == ("580.95.05", "1")
    assert library_versions("libcuda.so", tmp_path) == ()


def test_xids_are_kept_per_device_without_repeats(tmp_path: Path) -> None:
    log = KernelLog(write_tree(tmp_path, "host_nvidia_h200.json"))
    log.poll()
    assert log.xids("0000:2d:00.0") == (63, 31)
    assert log.xids("0000:0f:00.0") == ()


def test_the_kernel_log_is_read_as_it_grows(tmp_path: Path) -> None:
    log = KernelLog(write_tree(tmp_path, "host_nvidia_h200.json"))
    log.poll()
    with (tmp_path / "dev/kmsg").open("a") as kmsg:
        kmsg.write("4,1400,7000000,-;NVRM: Xid (PCI:0000:0f:00): 79, pid=0, GPU has fallen off the b")
        kmsg.flush()
        log.poll()
        assert log.xids("0000:0f:00.0") == (), "half a record is no record"
        kmsg.write("us.\nNVRM: Xid (0000:2d:00): 13, the form of old drivers\n")
    log.poll()
    assert log.xids("0000:0f:00.0") == (79,)
    assert log.xids("0000:2d:00.0") == (63, 31, 13)
    log.close()
    log.close()


def test_no_kernel_log_is_no_error(tmp_path: Path) -> None:
    log = KernelLog(tmp_path)
    log.poll()
    assert log.xids("0000:0f:00.0") == ()
