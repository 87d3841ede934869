"""What this machine can do: which runtime starts engines, and whether its GPUs are simulated. Pure.

Settings always win. What is left to us is decided so that nothing is ever simulated by accident: only a machine
without any GPU hardware gets simulated GPUs and engines unasked, and it is told so.
"""

from dataclasses import dataclass, replace

from modelgrid.domain.engine import RuntimeHealth
from modelgrid.domain.errors import InvalidConfig
from modelgrid.domain.target import RuntimeKind

DEFAULT_SIMULATED_GPUS = 2
"""How many GPUs are simulated when their number was not asked for: enough to show a placement and a refusal."""

_PREFERENCE = (RuntimeKind.DOCKER, RuntimeKind.PODMAN, RuntimeKind.PROCESS)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformFacts:
    """What was found on this machine."""

    hardware_present: bool
    """A compute GPU of NVIDIA, AMD or Intel is on the PCI bus, whether or not a driver sees it."""
    gpus_found: int | None = None
    """GPUs that a driver sees; `None`: not looked for yet."""
    runtimes: tuple[RuntimeHealth, ...]
    """Health of each runtime that was asked."""
    in_use: frozenset[RuntimeKind] = frozenset()
    """Runtimes that have deployments of ours already: such a machine is never switched to another by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformSettings:
    """What the configuration asks for."""

    runtime: RuntimeKind | None = None
    """`None`: `auto`."""
    simulate: bool | int | None = None
    """Simulated GPUs: how many, `True` for `DEFAULT_SIMULATED_GPUS`, `False` for never, `None` for `auto`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What was decided. `reason` says it in one sentence for people."""

    runtime: RuntimeKind | None
    """`None`: no engine can be started at present, for the reason in `problem`."""
    simulated_gpus: int = 0
    """How many GPUs are simulated. When it is not 0 the real ones are not used."""
    reason: str
    problem: str = ""
    """What keeps engines or GPUs from working; empty when nothing does."""
    fix: str = ""

    @property
    def gpus_simulated(self) -> bool:
        return self.simulated_gpus > 0

    @property
    def simulated(self) -> bool:
        """Whether anything at all is simulated here, and has to be marked so."""
        return self.gpus_simulated or self.runtime is RuntimeKind.SIMULATED


def choose_platform(facts: PlatformFacts, wanted: PlatformSettings) -> Platform:
    """Decide runtime and GPUs. Raises `InvalidConfig` when the runtime asked for does not work on this machine."""
    if wanted.runtime is not None:
        return _as_asked(facts, wanted, wanted.runtime)
    count = simulated_count(wanted.simulate)
    if count:
        reason = f"{_gpus(count)} and the engine are simulated, as gpus.simulate asks"
        return Platform(runtime=RuntimeKind.SIMULATED, simulated_gpus=count, reason=reason)
    if wanted.simulate is None and not _has_hardware(facts) and not _real_in_use(facts):
        count = DEFAULT_SIMULATED_GPUS
        reason = (
            f"no GPU was found in this machine, so {_gpus(count)} and the engine are simulated: no model really runs"
        )
        return Platform(runtime=RuntimeKind.SIMULATED, simulated_gpus=count, reason=reason)
    return _best_runtime(facts)


def simulated_count(simulate: bool | int | None) -> int:
    """Return how many simulated GPUs a setting asks for; 0 for none and for `auto`."""
    if simulate is True:
        return DEFAULT_SIMULATED_GPUS
    return int(simulate or 0)


def _as_asked(facts: PlatformFacts, wanted: PlatformSettings, runtime: RuntimeKind) -> Platform:
    if runtime is RuntimeKind.EXTERNAL:
        raise InvalidConfig(
            "docker.runtime is 'external', which starts no engines.",
            fix="Leave docker.runtime at 'auto' and attach running engines with `containers[].url`.",
            path="docker.runtime",
            value=runtime.value,
            expected="auto, docker, podman, process or simulated",
        )
    if runtime is RuntimeKind.SIMULATED:
        count = simulated_count(wanted.simulate)
        if wanted.simulate is None and not _has_hardware(facts):
            count = DEFAULT_SIMULATED_GPUS
        gpus = f"{_gpus(count)} and " if count else ""
        are = "are" if count else "is"
        return _with_gpus(
            facts,
            Platform(
                runtime=runtime, simulated_gpus=count, reason=f"{gpus}the engine {are} simulated, as it was asked for"
            ),
        )
    health = next((health for health in facts.runtimes if health.kind is runtime), None)
    if health is None or not health.available:
        problem = health.problem if health else "it was not found"
        if runtime in facts.in_use:
            return _with_gpus(facts, _silent(runtime, health))
        raise InvalidConfig(
            f"docker.runtime is {runtime.value!r}, and {runtime.value} does not work here: {problem}",
            fix=(health.fix if health else "") or "Repair it, or set docker.runtime to 'auto'.",
            path="docker.runtime",
            value=runtime.value,
            expected="a runtime that works on this machine",
        )
    count = simulated_count(wanted.simulate)
    if count:
        return Platform(
            runtime=runtime,
            simulated_gpus=count,
            reason=f"engines run with {runtime.value}, as docker.runtime asks, and {_gpus(count)} simulated",
            problem=f"{runtime.value} cannot use simulated GPUs: only engines with 0 GPUs can start",
            fix="Deploy with 0 GPUs, or leave docker.runtime at 'auto'.",
        )
    return _with_gpus(
        facts, Platform(runtime=runtime, reason=f"engines run with {_versioned(health)}, as docker.runtime asks")
    )


def _best_runtime(facts: PlatformFacts) -> Platform:
    by_kind = {health.kind: health for health in facts.runtimes}
    asked = [by_kind[kind] for kind in _PREFERENCE if kind in by_kind]
    kept = next((kind for kind in _PREFERENCE if kind in facts.in_use), None)
    best = next((health for health in asked if health.available and kept in (None, health.kind)), None)
    if best is None and kept is not None:
        return _with_gpus(facts, _silent(kept, by_kind.get(kept)))
    if best is not None:
        return _with_gpus(facts, Platform(runtime=best.kind, reason=f"engines run with {_versioned(best)}"))
    problems = "; ".join(f"{health.kind.value}: {health.problem or 'does not work'}" for health in asked)
    return Platform(
        runtime=None,
        reason="no engine can be started: none of Docker, Podman and a vLLM on the PATH works here",
        problem=problems or "no runtime was found",
        fix=next((health.fix for health in asked if health.fix), "Install Docker Engine, Podman or vLLM."),
    )


def _with_gpus(facts: PlatformFacts, platform: Platform) -> Platform:
    """Add to `platform` what is to be said of the real GPUs."""
    if platform.simulated_gpus:
        return platform
    if facts.gpus_found:
        return replace(platform, reason=f"{platform.reason}, on {_gpus(facts.gpus_found)} of this machine")
    if not facts.hardware_present:
        return replace(platform, reason=f"{platform.reason}, without GPUs: only engines with 0 GPUs can start")
    if facts.gpus_found is None or platform.problem:
        return platform
    return replace(
        platform,
        reason=f"{platform.reason}; GPU hardware is there, but its driver does not see it",
        problem="a GPU is on the PCI bus and no driver sees it, so nothing can be placed on it",
        fix="`modelgrid gpu drivers` tells why.",
    )


def _real_in_use(facts: PlatformFacts) -> bool:
    return any(kind in facts.in_use for kind in _PREFERENCE)


def _silent(runtime: RuntimeKind, health: RuntimeHealth | None) -> Platform:
    """Stay with a runtime that has engines of ours and does not answer now: it may be back any moment."""
    return Platform(
        runtime=runtime,
        reason=f"engines run with {runtime.value}, which does not answer at present",
        problem=(health.problem if health else "") or f"{runtime.value} does not answer",
        fix=health.fix if health else "",
    )


def _has_hardware(facts: PlatformFacts) -> bool:
    return facts.hardware_present or bool(facts.gpus_found)


def _gpus(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"


def _versioned(health: RuntimeHealth) -> str:
    return f"{health.kind.value} {health.version}".strip()
