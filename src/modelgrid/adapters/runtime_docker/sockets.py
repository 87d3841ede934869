"""Where container engines listen."""

import os
from collections.abc import Mapping

from modelgrid.domain.target import RuntimeKind


def container_sockets(
    configured: str | None, kind: RuntimeKind | None, environ: Mapping[str, str] = os.environ
) -> tuple[tuple[RuntimeKind, str], ...]:
    """Return the sockets to try, best first, with the kind of engine expected behind each.

    `configured` (`docker.socketPath`) is the only candidate when given. `kind` narrows to Docker or Podman;
    `None` takes both, Docker first. Nothing is opened: whether somebody answers, `DockerRuntime.health` says.
    Sources of the paths: `docker context`, podman-system-service(1)."""
    kinds = (RuntimeKind.DOCKER, RuntimeKind.PODMAN) if kind is None else (kind,)
    if configured:
        return ((kinds[0], configured.removeprefix("unix://")),)
    host = environ.get("DOCKER_HOST", "")
    podman_host = environ.get("CONTAINER_HOST", "")
    run = environ.get("XDG_RUNTIME_DIR", "")
    found: list[tuple[RuntimeKind, str]] = []
    if RuntimeKind.DOCKER in kinds:
        if host.startswith("unix://"):
            found.append((RuntimeKind.DOCKER, host.removeprefix("unix://")))
        found.append((RuntimeKind.DOCKER, "/var/run/docker.sock"))
        if run:
            found.append((RuntimeKind.DOCKER, f"{run}/docker.sock"))
    if RuntimeKind.PODMAN in kinds:
        if podman_host.startswith("unix://"):
            found.append((RuntimeKind.PODMAN, podman_host.removeprefix("unix://")))
        found.append((RuntimeKind.PODMAN, "/run/podman/podman.sock"))
        if run:
            found.append((RuntimeKind.PODMAN, f"{run}/podman/podman.sock"))
    return tuple(dict.fromkeys(found))
