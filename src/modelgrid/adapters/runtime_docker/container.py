"""From a launch to the container that the engine is asked to create. Pure, but for the groups of device files."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelgrid.domain.engine import EngineLaunch
from modelgrid.domain.errors import InvalidInput, LaunchRefused
from modelgrid.domain.gpu import GpuVendor
from modelgrid.domain.target import Mount, RuntimeKind

LABEL_OWNER = "modelgrid.owner"
LABEL_DEPLOYMENT = "modelgrid.deployment"
LABEL_ATTEMPT = "modelgrid.attempt"
LABEL_PORT = "modelgrid.port"
LOG_OPTIONS = {"max-size": "10m", "max-file": "3"}
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID")
"""What is left of Docker's default set: an engine that runs as root may write a model cache of another user and
may give up being root. None of them reaches outside the container. Source: capabilities(7)."""
PODMAN_CDI_VERSION = (5, 4)
"""Podman's Docker-compatible API ignores GPU requests silently before this version (podman #24687, #25171)."""

_DOMAIN = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*(?::[0-9]+)?"
_PATH = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?:{_DOMAIN}/)?{_PATH}(?:/{_PATH})*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?"
)
"""The reference grammar of the distribution project. An image id without a name is not accepted."""
_NETWORK = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_RESERVED_NETWORKS = {"host", "none", "default", "private", "pasta", "slirp4netns"}
_DEPLOYMENT = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def container_name(deployment: str) -> str:
    return f"modelgrid-{deployment}"


def check_launch(launch: EngineLaunch) -> None:
    """Raises `InvalidInput` for what must never reach an engine's API, whoever checked it before."""
    if not _DEPLOYMENT.fullmatch(launch.deployment):
        raise InvalidInput(f"{launch.deployment!r} is no deployment id: lower-case letters, digits and dashes.")
    if not _IMAGE.fullmatch(launch.image) or len(launch.image) > 512:
        raise InvalidInput(
            f"{launch.image!r} is no image reference.", fix="Write it as registry/name:tag.", image=launch.image
        )
    if any("\0" in argument for argument in launch.argv):
        raise InvalidInput("An argument of the engine holds a NUL character.")
    for name, value in launch.env.items():
        if not _NAME.fullmatch(name):
            raise InvalidInput(f"{name!r} is no name of an environment variable.")
        if "\0" in value:
            raise InvalidInput(f"The environment variable {name} holds a NUL character.")


def check_network(network: str) -> None:
    """Raises `LaunchRefused` for a network that would share a namespace of the host or of another container."""
    if network and (network in _RESERVED_NETWORKS or not _NETWORK.fullmatch(network)):
        raise LaunchRefused(
            f"The network {network!r} is refused: engines get a bridge network of their own.",
            fix="Set `docker.networkName` to a plain name.",
            network=network,
        )


def container_config(
    launch: EngineLaunch, mounts: Sequence[Mount], owner: str, kind: RuntimeKind, network: str
) -> dict[str, Any]:
    """Return the body of `POST /containers/create`. `mounts` are checked already (`adapters.mounts`)."""
    port = f"{launch.container_port}/tcp"
    return {
        "Image": launch.image,
        "Cmd": list(launch.argv),
        "Env": [f"{name}={value}" for name, value in launch.env.items()],
        "Tty": False,
        "OpenStdin": False,
        "ExposedPorts": {port: {}},
        "Labels": {
            LABEL_OWNER: owner,
            LABEL_DEPLOYMENT: launch.deployment,
            LABEL_ATTEMPT: str(launch.attempt),
            LABEL_PORT: str(launch.port),
        },
        "HostConfig": {
            "PortBindings": {port: [{"HostIp": "127.0.0.1", "HostPort": str(launch.port)}]},
            "NetworkMode": network or "bridge",
            "Mounts": [
                {"Type": "bind", "Source": mount.source, "Target": mount.target, "ReadOnly": mount.read_only}
                for mount in mounts
            ],
            "ShmSize": launch.shm_bytes,
            "Privileged": False,
            "IpcMode": "private",
            "CapDrop": ["ALL"],
            "CapAdd": list(CAPABILITIES),
            "SecurityOpt": ["no-new-privileges"],
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
            "LogConfig": {"Type": "json-file", "Config": dict(LOG_OPTIONS)},
            "Init": True,
            "AutoRemove": False,
            **_devices(launch, kind),
        },
    }


def _devices(launch: EngineLaunch, kind: RuntimeKind) -> dict[str, Any]:
    vendors = {gpu.vendor for gpu in launch.gpus}
    if len(vendors) > 1:
        raise InvalidInput("An engine cannot use GPUs of several vendors.")
    if not vendors:
        return {}
    match vendors.pop():
        case GpuVendor.NVIDIA if kind is RuntimeKind.PODMAN:
            names = [f"nvidia.com/gpu={gpu.uuid}" for gpu in launch.gpus]
            return {"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": names}]}
        case GpuVendor.NVIDIA:
            uuids = [gpu.uuid for gpu in launch.gpus]
            return {"DeviceRequests": [{"DeviceIDs": uuids, "Capabilities": [["gpu"]]}]}
        case GpuVendor.AMD:
            # One control device for all; which GPUs are used says ROCR_VISIBLE_DEVICES of the launch.
            return _device_files(Path("/dev/kfd"), Path("/dev/dri"))
        case GpuVendor.INTEL:
            return _device_files(Path("/dev/dri"))


def _device_files(*paths: Path) -> dict[str, Any]:
    """Groups go by number: the image need not know `video` and `render`, and numbers differ by distribution."""
    groups: set[int] = set()
    for path in paths:
        if not path.exists():
            raise LaunchRefused(
                f"{path} does not exist on this host.", fix="Install the GPU's kernel driver (`modelgrid doctor`)."
            )
        files = [path] if not path.is_dir() else [file for file in path.iterdir() if file.is_char_device()]
        groups |= {file.stat().st_gid for file in files}
    devices = [{"PathOnHost": str(p), "PathInContainer": str(p), "CgroupPermissions": "rwm"} for p in paths]
    return {"Devices": devices, "GroupAdd": [str(group) for group in sorted(groups - {0})]}
