"""What the engine tests know of the test bed, and how they ask for it.

`engines.py` installs and starts the parts; what it cannot get is a reason to skip, or a failure where
`MODELGRID_REQUIRE_ENGINES=1` says that everything must be there."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest

SETUP = Path(__file__).with_name("engines.py")
MISSING = 3
"""Exit status of `engines.py` for what this machine does not have."""


@dataclass(frozen=True, kw_only=True)
class VllmInfo:
    """A real vLLM on the CPU."""

    executable: Path
    version: str
    env: Mapping[str, str]
    """What it needs to run on the CPU without a network; ModelGrid itself sets all but `HF_HUB_OFFLINE`."""
    mounts: tuple[Path, ...]
    """Host folders a container needs, read-only and at the same path."""
    model: Path
    model_id: str
    catalog: Path
    """Catalog file with the model, for `models.sources` in config.json."""


@dataclass(frozen=True, kw_only=True)
class EnginesInfo:
    """What of the test bed is up. `None`: not there; ask for the fixture that brings it."""

    folder: Path
    docker_socket: Path | None
    podman_socket: Path | None
    registry: str | None
    python_image: str | None
    vllm_image: str | None
    """Its entry point is `vllm serve`; needs `vllm.mounts`."""
    vllm: VllmInfo | None


def unavailable(reason: str) -> NoReturn:
    """Skip, or fail where the parts are required."""
    if os.environ.get("MODELGRID_REQUIRE_ENGINES") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def set_up(*parts: str) -> EnginesInfo:
    """Bring `parts` up (see `engines.py --help`) and return all there is. Blocks, cold for minutes."""
    done = subprocess.run(
        [sys.executable, SETUP, *parts, "--json"], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode == MISSING:
        unavailable(done.stderr[done.stderr.index("missing: ") :].strip())
    if done.returncode:
        pytest.fail(f"engines.py {' '.join(parts)} ended with {done.returncode}:\n{done.stderr}", pytrace=False)
    return _info(json.loads(done.stdout))


def _info(status: Mapping[str, Any]) -> EnginesInfo:
    vllm = None
    if status["vllm"] and status["model"]:
        vllm = VllmInfo(
            executable=Path(status["vllm"]["executable"]),
            version=status["vllm"]["version"],
            env=status["vllm"]["env"],
            mounts=tuple(Path(mount) for mount in status["vllm"]["mounts"]),
            model=Path(status["model"]["folder"]),
            model_id=status["model"]["id"],
            catalog=Path(status["model"]["catalog"]),
        )
    return EnginesInfo(
        folder=Path(status["folder"]),
        docker_socket=Path(status["docker"]["socket"]) if status["docker"] else None,
        podman_socket=Path(status["podman"]["socket"]) if status["podman"] else None,
        registry=status["registry"],
        python_image=status["python_image"],
        vllm_image=status["vllm_image"],
        vllm=vllm,
    )


def process_config(bed: EnginesInfo, *, port: int, ui_port: int) -> dict[str, Any]:
    """Return a config.json that runs the tiny model with the runtime `process`, from `containers`."""
    assert bed.vllm is not None
    return {
        "api": {"port": port, "uiPort": ui_port},
        "docker": {"runtime": "process", "vllmPath": str(bed.vllm.executable)},
        "gpus": {"autoDetect": False, "simulate": False},
        "models": {"registryUrl": None, "sources": [{"name": "testbed", "url": str(bed.vllm.catalog)}]},
        "containers": [
            {"name": "tiny", "model": bed.vllm.model_id, "gpus": 0, "context": 512, "env": {"HF_HUB_OFFLINE": "1"}}
        ],
    }


def docker_config(bed: EnginesInfo, *, port: int, ui_port: int) -> dict[str, Any]:
    """Return a config.json for the runtime `docker`; `docker_target` is what to deploy with it.

    The vLLM image needs mounts, and `containers` in config.json has none; so the target comes by the API."""
    assert bed.vllm is not None
    assert bed.docker_socket is not None
    return {
        "api": {"port": port, "uiPort": ui_port},
        "docker": {
            "runtime": "docker",
            "socketPath": str(bed.docker_socket),
            "image": {"cpu": bed.vllm_image},
            "allowedMounts": [*map(str, bed.vllm.mounts), str(bed.vllm.model.parent)],
        },
        "gpus": {"autoDetect": False, "simulate": False},
        "models": {"registryUrl": None, "sources": [{"name": "testbed", "url": str(bed.vllm.catalog)}]},
    }


def docker_target(bed: EnginesInfo) -> dict[str, Any]:
    """Return the body of `PUT /v1/_ui/targets/modelgrid-test/tiny`: one instance on the CPU, vLLM mounted."""
    assert bed.vllm is not None
    return {
        "replicas": 1,
        "gpu_count": 0,
        "context": 512,
        "env": {"HF_HUB_OFFLINE": "1"},
        "mounts": [{"source": str(path), "target": str(path), "read_only": True} for path in bed.vllm.mounts],
    }
