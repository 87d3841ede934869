"""Which runtime starts engines here, and when anything is simulated."""

import pytest

from modelgrid.decide.platform import (
    DEFAULT_SIMULATED_GPUS,
    PlatformFacts,
    PlatformSettings,
    choose_platform,
)
from modelgrid.domain.engine import RuntimeHealth
from modelgrid.domain.errors import InvalidConfig
from modelgrid.domain.target import RuntimeKind

DOCKER, PODMAN, PROCESS = RuntimeKind.DOCKER, RuntimeKind.PODMAN, RuntimeKind.PROCESS
SIMULATED = RuntimeKind.SIMULATED


def facts(
    *available: RuntimeKind, hardware: bool = True, gpus: int | None = None, in_use: tuple[RuntimeKind, ...] = ()
) -> PlatformFacts:
    runtimes = tuple(
        RuntimeHealth(kind=kind, available=True, version="27.0")
        if kind in available
        else RuntimeHealth(kind=kind, available=False, problem=f"{kind} is not installed", fix=f"apt install {kind}")
        for kind in (DOCKER, PODMAN, PROCESS)
    )
    return PlatformFacts(hardware_present=hardware, gpus_found=gpus, runtimes=runtimes, in_use=frozenset(in_use))


@pytest.mark.parametrize(
    ("available", "chosen"),
    [
        ((DOCKER, PODMAN, PROCESS), DOCKER),
        ((PODMAN, PROCESS), PODMAN),
        ((PROCESS,), PROCESS),
    ],
)
def test_real_gpus_get_the_best_real_runtime(available, chosen):
    platform = choose_platform(facts(*available, gpus=2), PlatformSettings())
    assert (platform.runtime, platform.simulated, platform.problem) == (chosen, False, "")
    assert platform.reason == f"engines run with {chosen} 27.0, on 2 GPUs of this machine"


def test_real_gpus_and_no_runtime():
    platform = choose_platform(facts(gpus=1), PlatformSettings())
    assert platform.runtime is None
    assert not platform.simulated
    assert "docker is not installed" in platform.problem
    assert platform.fix == "apt install docker"


@pytest.mark.parametrize("available", [(), (DOCKER,), (DOCKER, PODMAN, PROCESS)])
def test_machine_without_gpu_hardware_is_simulated_and_says_so(available):
    platform = choose_platform(facts(*available, hardware=False, gpus=0), PlatformSettings())
    assert (platform.runtime, platform.simulated_gpus) == (SIMULATED, DEFAULT_SIMULATED_GPUS)
    assert platform.reason == (
        "no GPU was found in this machine, so 2 GPUs and the engine are simulated: no model really runs"
    )


def test_hardware_without_a_working_driver_is_never_simulated():
    for settings in (PlatformSettings(), PlatformSettings(runtime=DOCKER)):
        platform = choose_platform(facts(DOCKER, gpus=0), settings)
        assert (platform.runtime, platform.simulated) == (DOCKER, False)
        assert platform.problem.startswith("a GPU is on the PCI bus and no driver sees it")
        assert platform.fix == "`modelgrid gpu drivers` tells why."


def test_gpus_that_were_not_looked_for_are_no_problem():
    platform = choose_platform(facts(DOCKER, gpus=None), PlatformSettings())
    assert (platform.runtime, platform.problem, platform.simulated) == (DOCKER, "", False)


def test_gpus_that_a_driver_sees_count_without_a_pci_bus():
    assert choose_platform(facts(DOCKER, hardware=False, gpus=1), PlatformSettings()).runtime is DOCKER


def test_never_simulated_when_that_is_asked():
    platform = choose_platform(facts(DOCKER, hardware=False, gpus=0), PlatformSettings(simulate=False))
    assert (platform.runtime, platform.simulated) == (DOCKER, False)
    assert platform.reason.endswith("without GPUs: only engines with 0 GPUs can start")


@pytest.mark.parametrize(("simulate", "count"), [(True, DEFAULT_SIMULATED_GPUS), (1, 1), (5, 5)])
def test_simulated_when_that_is_asked_whatever_is_there(simulate, count):
    platform = choose_platform(facts(DOCKER, gpus=4), PlatformSettings(simulate=simulate))
    assert (platform.runtime, platform.simulated_gpus) == (SIMULATED, count)
    assert "as gpus.simulate asks" in platform.reason


@pytest.mark.parametrize("simulate", [False, 0])
def test_asked_for_none_means_none(simulate):
    platform = choose_platform(facts(gpus=0, hardware=False), PlatformSettings(runtime=SIMULATED, simulate=simulate))
    assert (platform.runtime, platform.simulated_gpus) == (SIMULATED, 0)
    assert platform.simulated


def test_simulated_engine_on_real_gpus():
    platform = choose_platform(facts(gpus=1), PlatformSettings(runtime=SIMULATED))
    assert (platform.runtime, platform.simulated_gpus) == (SIMULATED, 0)
    assert choose_platform(facts(hardware=False), PlatformSettings(runtime=SIMULATED)).simulated_gpus == 2


def test_runtime_asked_for_wins_over_a_better_one_and_over_simulation():
    platform = choose_platform(facts(DOCKER, PROCESS, hardware=False, gpus=0), PlatformSettings(runtime=PROCESS))
    assert (platform.runtime, platform.simulated) == (PROCESS, False)
    assert "as docker.runtime asks" in platform.reason


def test_runtime_asked_for_that_does_not_work_is_refused():
    with pytest.raises(InvalidConfig) as refused:
        choose_platform(facts(DOCKER), PlatformSettings(runtime=PODMAN))
    assert "podman is not installed" in refused.value.message
    assert refused.value.fix == "apt install podman"
    assert refused.value.details["path"] == "docker.runtime"
    assert refused.value.exit_code == 2


def test_runtime_that_was_not_even_found_is_refused():
    nothing = PlatformFacts(hardware_present=True, runtimes=())
    with pytest.raises(InvalidConfig, match="it was not found"):
        choose_platform(nothing, PlatformSettings(runtime=DOCKER))


def test_external_is_no_way_to_start_engines():
    with pytest.raises(InvalidConfig, match="starts no engines"):
        choose_platform(facts(DOCKER), PlatformSettings(runtime=RuntimeKind.EXTERNAL))


def test_real_runtime_with_simulated_gpus_says_what_cannot_work():
    platform = choose_platform(facts(DOCKER), PlatformSettings(runtime=DOCKER, simulate=3))
    assert (platform.runtime, platform.simulated_gpus, platform.simulated) == (DOCKER, 3, True)
    assert platform.problem == "docker cannot use simulated GPUs: only engines with 0 GPUs can start"


@pytest.mark.parametrize("settings", [PlatformSettings(), PlatformSettings(runtime=DOCKER)])
@pytest.mark.parametrize("hardware", [True, False])
def test_runtime_with_engines_of_ours_stays_though_it_does_not_answer(settings, hardware):
    platform = choose_platform(facts(PROCESS, hardware=hardware, gpus=1, in_use=(DOCKER,)), settings)
    assert (platform.runtime, platform.simulated) == (DOCKER, False)
    assert platform.problem == "docker is not installed"
    assert platform.fix == "apt install docker"


def test_simulated_engines_do_not_keep_a_machine_simulated():
    platform = choose_platform(facts(DOCKER, gpus=1, in_use=(SIMULATED,)), PlatformSettings())
    assert platform.runtime is DOCKER
