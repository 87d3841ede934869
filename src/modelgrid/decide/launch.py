"""From a deployment to the command, environment and mounts of its engine.

Pure: the same deployment, GPUs, settings and attempt give the same `EngineLaunch`. Values of the environment arrive
opened; the result must never be logged or stored.

Sources (vLLM 0.10 to 0.32): options of `vllm serve` in `vllm/engine/arg_utils.py` and its `cli_args.py`, variables in
`vllm/envs.py`, entry points in `docker/Dockerfile*` (the server images run `vllm serve`, so a container is given what
follows it; images before 0.11 ran another program and are not supported).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from modelgrid.decide.need import kv_cache_bytes
from modelgrid.domain.deployment import Deployment
from modelgrid.domain.engine import EngineLaunch, GpuBinding
from modelgrid.domain.errors import InvalidInput
from modelgrid.domain.gpu import GpuVendor
from modelgrid.domain.model import Capability, CatalogEntry
from modelgrid.domain.target import EngineSpec, Mount, RuntimeKind
from modelgrid.domain.units import GIB

KEEP_ALIVE_SECONDS: Final = 90
"""`VLLM_HTTP_TIMEOUT_KEEP_ALIVE`. vLLM closes idle connections after 5 s by default; it must outlast the gateway's
pool (75 s), or a request is sent into a connection that is being closed."""
CONTAINER_CACHE: Final = "/modelgrid/cache"
CONTAINER_MODEL: Final = "/modelgrid/model"
CONTAINER_PORT: Final = 8000
SHM_BYTES: Final = 8 * GIB
"""A bound of a tmpfs, not a reservation. vLLM's workers and NCCL talk over it; the engine's default of 64 MiB ends
tensor-parallel engines with a bus error."""

CONTAINER_RUNTIMES: Final = frozenset({RuntimeKind.DOCKER, RuntimeKind.PODMAN})
CPU: Final = "cpu"
"""Key of `LaunchSettings.images` for engines without a GPU."""

VENDOR_IMAGE_COMMANDS: Final[Mapping[str, tuple[str, ...]]] = {
    "rocm/vllm": ("vllm", "serve"),
    "rocm/vllm-dev": ("vllm", "serve"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSettings:
    """What of a launch belongs to the node and not to the deployment. Folders are absolute paths of the host."""

    images: Mapping[str, str] = field(default_factory=dict)
    """Engine image by vendor (`nvidia`, `amd`, `intel`) and `cpu`."""
    image_commands: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: VENDOR_IMAGE_COMMANDS)
    """Command that precedes the arguments, by image name without registry port, tag and digest, for images whose entry
    point is not `vllm serve`: AMD's start a shell."""
    vllm_path: str = "vllm"
    """Program of the runtime `process`: a name on the PATH or a path."""
    python_path: str = "python3"
    """Interpreter that has ModelGrid installed, for the simulated engine."""
    model_cache_dir: str
    """Weights and compiled graphs; created by the caller, and one of the allowed roots for mounts."""
    allowed_mounts: tuple[str, ...] = ()
    network: str = ""
    shm_bytes: int = SHM_BYTES
    simulator_args: tuple[str, ...] = ()
    """Further `--sim-…` arguments of every simulated engine."""
    simulator_gpu_state_dir: str = ""
    simulated_gpu_bytes: Mapping[str, int] = field(default_factory=dict)
    """Memory of each simulated GPU, by id."""


def engine_launch(
    deployment: Deployment,
    entry: CatalogEntry | None,
    gpus: tuple[GpuBinding, ...],
    settings: LaunchSettings,
    env: Mapping[str, str],
    *,
    attempt: int,
    port: int,
    utilization: float | None = None,
    reserved_bytes: int = 0,
) -> EngineLaunch:
    """Return all that a runtime needs to start the engine of `deployment`.

    `entry` is `None` for a model that no catalog knows. `env` are the opened values of `deployment.spec.env`.
    `utilization` is the share of each GPU's memory the engine may use, `None` leaves vLLM's default; on the CPU the
    size of the KV cache is taken from the need in the deployment's placement. `port` is on 127.0.0.1 of the host.
    Raises `InvalidInput` for what `check_launchable` refuses.
    """
    check_launchable(replace(deployment.spec, runtime=deployment.runtime), entry, model=deployment.model)
    if deployment.runtime is RuntimeKind.EXTERNAL:
        return EngineLaunch(
            deployment=deployment.id, attempt=attempt, argv=(), port=port, url=deployment.spec.url, gpus=gpus
        )
    in_container = deployment.runtime in CONTAINER_RUNTIMES
    location = entry.location if entry else deployment.model
    mounts: tuple[Mount, ...] = ()
    if in_container:
        mounts = (Mount(source=settings.model_cache_dir, target=CONTAINER_CACHE, read_only=False),)
        if location.startswith("/"):
            mounts += (_model_mount(location, settings),)
            location = CONTAINER_MODEL
        mounts += deployment.spec.mounts
    arguments = _arguments(deployment, entry, location, gpus, utilization, port=port, in_container=in_container)
    image = _image(deployment.spec, gpus, settings) if in_container else ""
    match deployment.runtime:
        case RuntimeKind.SIMULATED:
            simulated = _simulated(entry, gpus, settings, reserved_bytes)
            model, *told = arguments
            argv = (
                *(settings.python_path, "-m", "modelgrid.simulator", "serve", model),
                *settings.simulator_args,  # what this deployment is told counts more, and stands behind
                *told,
                *simulated,
            )
        case RuntimeKind.PROCESS:
            argv = (settings.vllm_path, "serve", *arguments)
        case _:
            argv = (*settings.image_commands.get(_image_name(image), ()), *arguments)
    return EngineLaunch(
        deployment=deployment.id,
        attempt=attempt,
        argv=argv,
        env=_environment(deployment, gpus, settings, env, in_container=in_container),
        image=image,
        port=port,
        container_port=CONTAINER_PORT,
        gpus=gpus,
        mounts=mounts,
        shm_bytes=settings.shm_bytes,
        network=settings.network if in_container else "",
        reserved_bytes=reserved_bytes,
    )


def check_launchable(spec: EngineSpec, entry: CatalogEntry | None, *, model: str) -> None:
    """Raise `InvalidInput` when `spec` contradicts what the catalog knows of `model`: a context beyond the model's,
    code of the repository without the operator's consent, a GPU count that its attention heads cannot be split over,
    or an external engine without a URL. For use when a target is made, too."""
    if spec.runtime is RuntimeKind.EXTERNAL and not spec.url:
        raise InvalidInput(
            f"{model} is to be attached and has no URL.",
            fix="Give the base URL of the running vLLM.",
            path="spec.url",
            value=None,
            expected="http://host:port",
        )
    if entry is None or spec.runtime is RuntimeKind.EXTERNAL:
        return
    if entry.trust_remote_code and not spec.trust_remote_code:
        raise InvalidInput(
            f"{model} runs code from its repository.",
            fix="Read that code, then allow it for this deployment with trustRemoteCode (--trust-remote-code).",
            path="spec.trustRemoteCode",
            value=False,
            expected=True,
        )
    if spec.context is not None and spec.context > entry.context:
        raise InvalidInput(
            f"{model} supports a context of {entry.context:,} tokens; {spec.context:,} were asked.",
            fix=f"Ask for at most {entry.context}.",
            path="spec.context",
            value=spec.context,
            expected=f"at most {entry.context}",
        )
    count = len(spec.gpus) or spec.gpu_count or 1
    heads = entry.architecture.attention_heads
    if heads % count:
        possible = [n for n in range(1, 17) if heads % n == 0]
        raise InvalidInput(
            f"{model} has {heads} attention heads, which cannot be split over {count} GPUs.",
            fix=f"Use one of these counts: {', '.join(map(str, possible))}.",
            path="spec.gpuCount",
            value=count,
            expected=f"a divisor of {heads}",
        )


def _arguments(
    deployment: Deployment,
    entry: CatalogEntry | None,
    location: str,
    gpus: tuple[GpuBinding, ...],
    utilization: float | None,
    *,
    port: int,
    in_container: bool,
) -> tuple[str, ...]:
    """Return what follows `vllm serve`. What the operator gave comes last, so that it has its way where an option
    may be repeated; options that ModelGrid owns are refused in there (`decide.spec_rules`)."""
    spec = deployment.spec
    arguments = [location, "--served-model-name", *(entry.names if entry else (deployment.model,))]
    arguments += ["--host", "0.0.0.0" if in_container else "127.0.0.1"]  # noqa: S104 - published on loopback only
    arguments += ["--port", str(CONTAINER_PORT if in_container else port)]
    if gpus:
        arguments += ["--tensor-parallel-size", str(len(gpus))]
        if utilization is not None:
            arguments += ["--gpu-memory-utilization", f"{utilization:.3f}"]
    context = spec.context or (entry.default_context if entry else None)
    if context is not None:
        arguments += ["--max-model-len", str(context)]
    if entry is None or _generates(entry):
        arguments.append("--enable-prefix-caching")
    if spec.trust_remote_code:
        arguments.append("--trust-remote-code")
    return (*arguments, *(entry.vllm_args if entry else ()), *spec.args)


def _generates(entry: CatalogEntry) -> bool:
    return bool({Capability.CHAT, Capability.COMPLETIONS} & set(entry.capabilities))


def _environment(
    deployment: Deployment,
    gpus: tuple[GpuBinding, ...],
    settings: LaunchSettings,
    env: Mapping[str, str],
    *,
    in_container: bool,
) -> dict[str, str]:
    cache = CONTAINER_CACHE if in_container else settings.model_cache_dir
    ours = {
        "HF_HOME": f"{cache}/huggingface",
        "VLLM_CACHE_ROOT": f"{cache}/vllm",
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": str(KEEP_ALIVE_SECONDS),
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
    }
    if not gpus:
        decision = deployment.placement.decision if deployment.placement else None
        cache_bytes = kv_cache_bytes(decision.need) if decision else 0
        ours["VLLM_TARGET_DEVICE"] = "cpu"
        ours["VLLM_CPU_KVCACHE_SPACE"] = str(max(1, -(-cache_bytes // GIB)))
    if not in_container and deployment.runtime is not RuntimeKind.SIMULATED:
        ours |= _visible_devices(gpus)
    return {**env, **ours}


def _visible_devices(gpus: tuple[GpuBinding, ...]) -> dict[str, str]:
    """Return the variables that show a process just its GPUs.

    NVIDIA's by index in PCI order, which is NVML's: vLLM before 0.23 ends with `invalid literal for int()` at a UUID
    (vllm-project/vllm#13815, #45026). A MIG instance has no index of its own; only its UUID names it. In containers
    the runtime shows the devices, and they are numbered anew there."""
    if not gpus:
        return {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": ""}
    indices = ",".join(str(gpu.index) for gpu in gpus)
    match gpus[0].vendor:
        case GpuVendor.NVIDIA:
            uuids = ",".join(gpu.uuid for gpu in gpus)
            mig = any(gpu.uuid.startswith("MIG-") for gpu in gpus)
            return {"CUDA_VISIBLE_DEVICES": uuids if mig else indices, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        case GpuVendor.AMD:
            # ROCm reads both and warns when they differ; vLLM reads the CUDA one on ROCm as well.
            return {"HIP_VISIBLE_DEVICES": indices, "CUDA_VISIBLE_DEVICES": indices}
        case GpuVendor.INTEL:
            return {"ZE_AFFINITY_MASK": indices}


def _model_mount(location: str, settings: LaunchSettings) -> Mount:
    roots = (*settings.allowed_mounts, settings.model_cache_dir)
    if not any(location == root or location.startswith(f"{root.rstrip('/')}/") for root in roots):
        raise InvalidInput(
            f"The model folder {location} is not below an allowed root.",
            fix="Add its folder to docker.allowedMounts in config.json.",
            path="model",
            value=location,
            expected=f"a folder below {', '.join(roots)}",
        )
    return Mount(source=location, target=CONTAINER_MODEL, read_only=True)


def _image(spec: EngineSpec, gpus: tuple[GpuBinding, ...], settings: LaunchSettings) -> str:
    if spec.image is not None:
        return spec.image
    key = gpus[0].vendor.value if gpus else CPU
    if key not in settings.images:
        raise InvalidInput(
            f"No engine image is set for {key}.",
            fix=f"Set docker.image.{key} in config.json.",
            path=f"docker.image.{key}",
            value=None,
            expected="an image reference",
        )
    return settings.images[key]


def _image_name(image: str) -> str:
    """
    >>> _image_name("localhost:5000/rocm/vllm:6.4@sha256:00"), _image_name("rocm/vllm"), _image_name("docker.io/a/b:1")
    ('rocm/vllm', 'rocm/vllm', 'a/b')
    """
    name = image.partition("@")[0]
    folder, slash, last = name.rpartition("/")
    first, _, rest = folder.partition("/")
    if first == "localhost" or "." in first or ":" in first:
        folder = rest
    return f"{folder}{slash if folder else ''}{last.partition(':')[0]}"


def _simulated(
    entry: CatalogEntry | None, gpus: tuple[GpuBinding, ...], settings: LaunchSettings, reserved_bytes: int
) -> tuple[str, ...]:
    arguments: list[str] = []
    if gpus:
        arguments += ["--sim-gpu-ids", ",".join(gpu.id for gpu in gpus), "--sim-reserved-bytes", str(reserved_bytes)]
        if settings.simulator_gpu_state_dir:
            arguments += ["--sim-gpu-state-dir", settings.simulator_gpu_state_dir]
        sizes = [settings.simulated_gpu_bytes[gpu.id] for gpu in gpus if gpu.id in settings.simulated_gpu_bytes]
        if sizes:
            arguments += ["--sim-gpu-total-bytes", str(min(sizes))]
    if entry is not None and not _generates(entry) and "--runner" not in entry.vllm_args:
        arguments += ["--runner", "pooling"]
    return tuple(arguments)
