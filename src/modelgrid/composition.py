"""Which adapters this node uses, from its configuration."""

import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path

from modelgrid.adapters.catalog_file import FileCatalogSource
from modelgrid.adapters.catalog_http import HttpCatalogSource
from modelgrid.adapters.catalog_packaged import PackagedCatalogSource
from modelgrid.adapters.gpu_reader import GpuReader, InProcessReader, host_readers
from modelgrid.adapters.runtime_docker.runtime import DockerRuntime
from modelgrid.adapters.runtime_docker.sockets import container_sockets
from modelgrid.adapters.runtime_external.runtime import ExternalRuntime
from modelgrid.adapters.runtime_process.runtime import ProcessRuntime
from modelgrid.config.model import Config
from modelgrid.decide.launch import VENDOR_IMAGE_COMMANDS, LaunchSettings
from modelgrid.decide.platform import Platform
from modelgrid.domain.gpu import GpuVendor
from modelgrid.domain.target import RuntimeKind
from modelgrid.domain.units import GIB
from modelgrid.ports.catalog import CatalogSource
from modelgrid.ports.clock import Clock
from modelgrid.ports.runtime import Runtime
from modelgrid.services.gpu_inventory import GpuSource
from modelgrid.simulator.gpus import SimulatedGpu, SimulatedGpuProbe, by_id, simulated_gpus

REGISTRY = "registry"
SIMULATOR_ARGS = "MODELGRID_SIMULATOR_ARGS"
"""Environment variable with further `--sim-…` arguments of every simulated engine: for tests and for demonstrations of
faults. Nobody but who starts the daemon can set it."""


def model_cache_dir(config: Config, state_dir: Path) -> Path:
    """Return the folder that keeps weights; `make_model_cache` makes it."""
    return Path(config.docker.model_cache_dir) if config.docker.model_cache_dir else state_dir / "models"


def make_model_cache(config: Config, state_dir: Path) -> str:
    """Make the folder that keeps weights where it is missing. Return why it cannot be had, empty when it can.

    Blocks on the disk."""
    folder = model_cache_dir(config, state_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        return f"docker.modelCacheDir cannot be used: {folder} is no folder"
    except OSError as error:
        return f"docker.modelCacheDir cannot be used: {folder} cannot be made: {error.strerror}"
    return ""


def mount_roots(config: Config, state_dir: Path) -> list[Path]:
    """Return the folders below which an engine may be shown files of this machine."""
    return [model_cache_dir(config, state_dir), *(Path(folder) for folder in config.docker.allowed_mounts)]


def engine_runtimes(config: Config, state_dir: Path, owner: str) -> dict[RuntimeKind, Runtime]:
    """Return every runtime this node could use; whether one works, its `health` says."""
    mounts = mount_roots(config, state_dir)
    wanted = config.wanted_runtime if config.wanted_runtime in {RuntimeKind.DOCKER, RuntimeKind.PODMAN} else None
    runtimes: dict[RuntimeKind, Runtime] = {
        kind: DockerRuntime(kind, socket_path, owner, mounts, config.docker.network_name)
        for kind, socket_path in _first_of_each(container_sockets(config.docker.socket_path, wanted))
    }
    runtimes[RuntimeKind.PROCESS] = ProcessRuntime(
        RuntimeKind.PROCESS, state_dir / "engines", owner, program=config.docker.vllm_path
    )
    runtimes[RuntimeKind.SIMULATED] = ProcessRuntime(
        RuntimeKind.SIMULATED, state_dir / "simulated" / "engines", owner, program=sys.executable
    )
    runtimes[RuntimeKind.EXTERNAL] = ExternalRuntime()
    return runtimes


def _first_of_each(sockets: Iterable[tuple[RuntimeKind, str]]) -> list[tuple[RuntimeKind, str]]:
    """Return one socket per kind: the first that exists, or the first of all when none does."""
    chosen: dict[RuntimeKind, str] = {}
    for kind, path in sockets:
        known = chosen.get(kind)
        if known is None or (not os.path.exists(known) and os.path.exists(path)):  # noqa: PTH110  strings of sockets
            chosen[kind] = path
    return list(chosen.items())


def catalog_sources(config: Config, state_dir: Path, clock: Clock) -> tuple[CatalogSource, ...]:
    """Return the catalog's sources, those that override others first: the operator's own, the registry, ours."""
    folder = state_dir / "catalog"
    own: list[CatalogSource] = []
    for source in config.models.sources:
        if source.url.startswith(("http://", "https://")):
            own.append(HttpCatalogSource(source.name, source.url, folder, clock))
        else:
            own.append(FileCatalogSource(source.name, source.url))
    if config.models.registry_url is not None:
        own.append(HttpCatalogSource(REGISTRY, config.models.registry_url, folder, clock))
    return (*own, PackagedCatalogSource())


def launch_settings(config: Config, state_dir: Path, platform: Platform) -> LaunchSettings:
    """Return what of a launch belongs to this node."""
    vendors = (GpuVendor.NVIDIA, GpuVendor.AMD, GpuVendor.INTEL, None)
    sizes = {str(name): gpu.vram_bytes for name, gpu in by_id(simulated_devices(config, platform)).items()}
    return LaunchSettings(
        images={vendor.value if vendor else "cpu": config.image_for(vendor) for vendor in vendors},
        vllm_path=config.docker.vllm_path,
        python_path=sys.executable,
        image_commands={**VENDOR_IMAGE_COMMANDS, **config.docker.image_commands},
        shm_bytes=int(config.docker.shm_gib * GIB),
        model_cache_dir=str(model_cache_dir(config, state_dir)),
        allowed_mounts=config.docker.allowed_mounts,
        network=config.docker.network_name,
        simulator_gpu_state_dir=str(_simulated_state(state_dir)),
        simulated_gpu_bytes=sizes,
        simulator_args=tuple(shlex.split(os.environ.get(SIMULATOR_ARGS, ""))),
    )


def gpu_sources(config: Config, state_dir: Path, platform: Platform) -> tuple[GpuSource, ...]:
    """Return where GPUs are read from: the simulated ones, or one probe per vendor."""
    if platform.gpus_simulated:
        devices = simulated_devices(config, platform)
        vendors = dict.fromkeys(gpu.vendor for gpu in devices)
        folder = _simulated_state(state_dir)
        return tuple(InProcessReader(SimulatedGpuProbe(devices, folder, vendor=vendor)) for vendor in vendors)
    return real_gpu_readers(config)


def real_gpu_readers(config: Config) -> tuple[GpuReader, ...]:
    """Return the probes of real GPUs; none when `gpus.autoDetect` is off."""
    return host_readers() if config.gpus.auto_detect else ()


def simulated_devices(config: Config, platform: Platform) -> tuple[SimulatedGpu, ...]:
    """Return the devices that are simulated, with the names and sizes the configuration gives."""
    asked = config.gpus.simulate
    if isinstance(asked, tuple):
        return simulated_gpus([(gpu.name, gpu.vram_gib) for gpu in asked])
    return simulated_gpus(platform.simulated_gpus)


def _simulated_state(state_dir: Path) -> Path:
    return state_dir / "simulated" / "gpus"
