"""The rule tables of driver faults: one cause gives one row, the worst first, each with a way to mend it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelgrid.decide.driver_facts import AmdFacts, DeviceFileFacts, HostFacts, IntelFacts, NvidiaFacts
from modelgrid.decide.driver_issues import amd_issues, intel_issues, nvidia_issues

RUNNING = HostFacts(kernel_release="6.1.0-40-amd64", module_loaded=True, module_built=True, headers_present=True)
HEALTHY = NvidiaFacts(
    host=RUNNING,
    bus_drivers=("nvidia",),
    module_version="580.95.05",
    library_version="580.95.05",
    gpus_seen=1,
    persistence_mode=True,
)
DOWN = replace(
    HEALTHY, host=replace(RUNNING, module_loaded=False), module_version=None, gpus_seen=None, bus_drivers=("",)
)


def codes(facts: NvidiaFacts) -> list[str]:
    return [issue.code for issue in nvidia_issues(facts)]


def test_a_healthy_installation_has_none() -> None:
    assert nvidia_issues(HEALTHY) == ()


def test_without_a_gpu_nothing_is_wrong() -> None:
    assert nvidia_issues(NvidiaFacts(host=HostFacts(reboot_required=True, container_engines=("docker",)))) == ()


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (NvidiaFacts(bus_drivers=("",)), ["driver_missing"]),
        (NvidiaFacts(bus_drivers=("nouveau",)), ["nouveau_loaded"]),
        (replace(DOWN, bus_drivers=("nouveau",)), ["nouveau_loaded"]),
        (replace(HEALTHY, bus_drivers=("nvidia", "vfio-pci")), ["bound_to_vfio"]),
        (replace(HEALTHY, gpus_seen=None, nvml_error=18), ["version_mismatch"]),
        (replace(HEALTHY, gpus_seen=None, module_version="570.1", nvml_error=999), ["version_mismatch"]),
        (replace(HEALTHY, gpus_seen=None, nvml_error=999, nvml_error_text="Unknown Error"), ["nvml_failed"]),
        (DOWN, ["module_not_loaded"]),
        (replace(DOWN, nvml_error=9), ["module_not_loaded"]),
        (replace(DOWN, host=replace(DOWN.host, secure_boot=True)), ["secure_boot_unsigned"]),
        (
            replace(
                DOWN,
                host=HostFacts(kernel_release="6.1.0-41-amd64", module_source_present=True, headers_present=False),
            ),
            ["kernel_headers_missing"],
        ),
        (
            replace(DOWN, host=HostFacts(module_source_present=True, headers_present=True)),
            ["module_not_loaded"],
        ),
        (replace(HEALTHY, gpus_seen=None, nvml_error=999, device_nodes_present=False), ["device_nodes_missing"]),
        (replace(HEALTHY, bus_drivers=("nvidia", "nvidia")), ["gpus_unseen"]),
        (replace(HEALTHY, host=replace(RUNNING, container_engines=("docker",))), ["container_toolkit_missing"]),
        (replace(HEALTHY, host=replace(RUNNING, container_engines=("docker",)), container_toolkit=True), []),
        (replace(HEALTHY, persistence_mode=False), ["persistence_mode_off"]),
        (replace(HEALTHY, fabric_states=(3, 1)), ["fabric_manager_stopped"]),
        (replace(HEALTHY, nvswitch_present=True, fabric_states=(0,)), ["fabric_manager_stopped"]),
        (replace(HEALTHY, nvswitch_present=True, fabric_states=(3,)), []),
        (replace(HEALTHY, nvswitch_present=True, fabric_manager_running=True), []),
        (replace(HEALTHY, xids=(("0000:01:00.0", 79), ("0000:01:00.0", 31))), ["gpu_lost", "xid_errors"]),
        (replace(HEALTHY, host=replace(RUNNING, reboot_required=True)), ["reboot_pending"]),
    ],
)
def test_one_cause_gives_one_row(facts: NvidiaFacts, expected: list[str]) -> None:
    assert codes(facts) == expected


def test_fixes_name_the_kernel_and_the_command() -> None:
    host = HostFacts(kernel_release="6.1.0-41-amd64", module_source_present=True)
    (issue,) = nvidia_issues(replace(DOWN, host=host))
    assert "linux-headers-6.1.0-41-amd64" in issue.fix
    (issue,) = nvidia_issues(NvidiaFacts(bus_drivers=("", "")))
    assert issue.message.startswith("2 NVIDIA GPU(s)")
    assert issue.fix == "`modelgrid gpu install`"


@given(
    st.builds(
        NvidiaFacts,
        host=st.builds(HostFacts, container_engines=st.sampled_from([(), ("docker",), ("docker", "podman")])),
        bus_drivers=st.lists(st.sampled_from(["", "nvidia", "nouveau", "vfio-pci"]), min_size=1, max_size=3).map(tuple),
        module_version=st.sampled_from([None, "1", "2"]),
        library_version=st.sampled_from([None, "1", "2"]),
        nvml_error=st.sampled_from([None, 9, 18, 999]),
        gpus_seen=st.sampled_from([None, 0, 1, 3]),
        fabric_states=st.lists(st.integers(0, 3), max_size=2).map(tuple),
        xids=st.lists(st.tuples(st.just("0000:01:00.0"), st.sampled_from([31, 79])), max_size=2).map(tuple),
    )
)
def test_whatever_is_found_every_row_is_complete_and_there_once(facts: NvidiaFacts) -> None:
    issues = nvidia_issues(facts)
    assert len({issue.code for issue in issues}) == len(issues)
    assert all(issue.message.endswith(".") and issue.fix for issue in issues)
    if facts.gpus_seen is None and "vfio-pci" not in facts.bus_drivers and facts.library_version is None:
        assert issues, "hardware that nobody drives is never silent"


AMD_OK = AmdFacts(host=RUNNING, bus_drivers=("amdgpu",))


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (AMD_OK, []),
        (AmdFacts(bus_drivers=("",)), ["driver_missing"]),
        (replace(AMD_OK, kfd_present=False), ["kfd_missing"]),
        (
            replace(AMD_OK, files=DeviceFileFacts(user="mg", accessible=False, missing_groups=("render",))),
            ["no_device_access"],
        ),
        (replace(AMD_OK, host=replace(RUNNING, module_loaded=False)), ["module_not_loaded"]),
        (
            replace(AMD_OK, host=replace(RUNNING, module_loaded=False, secure_boot=True, module_source_present=True)),
            ["secure_boot_unsigned"],
        ),
        (replace(AMD_OK, host=HostFacts(module_source_present=True)), ["kernel_headers_missing"]),
        (replace(AMD_OK, bus_drivers=()), []),
    ],
)
def test_amd(facts: AmdFacts, expected: list[str]) -> None:
    assert [issue.code for issue in amd_issues(facts)] == expected


INTEL_OK = IntelFacts(host=RUNNING, bus_drivers=("xe",))


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (INTEL_OK, []),
        (replace(INTEL_OK, bus_drivers=("",)), ["driver_missing"]),
        (replace(INTEL_OK, level_zero_present=False), ["level_zero_missing"]),
        (replace(INTEL_OK, files=DeviceFileFacts(render_nodes_present=False)), ["render_nodes_missing"]),
        (replace(INTEL_OK, files=DeviceFileFacts(user="mg", accessible=False)), ["no_device_access"]),
        (replace(INTEL_OK, bus_drivers=("vfio-pci",)), ["bound_to_vfio"]),
        (replace(INTEL_OK, bus_drivers=()), []),
    ],
)
def test_intel(facts: IntelFacts, expected: list[str]) -> None:
    assert [issue.code for issue in intel_issues(facts)] == expected
