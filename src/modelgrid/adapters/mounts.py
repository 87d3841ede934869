"""Which host folders an engine may see. Checked when a target is written and again right before each start,
because a symbolic link may have been turned meanwhile."""

import os
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from modelgrid.domain.errors import InvalidInput, LaunchRefused
from modelgrid.domain.target import Mount

_KERNEL_FOLDERS = (Path("/proc"), Path("/sys"), Path("/dev"))
"""Never visible to an engine, whatever the allowed roots say: they are handles on the kernel, not files."""
_CONTROL_SOCKETS = (
    "/run/docker.sock",
    "/run/podman/podman.sock",
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/systemd/private",
    "/run/dbus/system_bus_socket",
)
"""Whoever reaches one of these is root on the host, so a folder that holds one is refused like the socket."""


def check_mounts(mounts: Sequence[Mount], allowed_roots: Sequence[Path]) -> tuple[Mount, ...]:
    """Return the mounts with each source replaced by its real path; that is the path to bind.

    Raises `InvalidInput` for a path that is malformed by itself, `LaunchRefused` for one that is missing, lies
    outside `allowed_roots` (by real path, on both sides), or gives control over the host. Blocks on the disk.
    Between this check and the mount the path could still be changed by whoever may write the allowed root:
    allowed roots belong to people who are trusted with the engines."""
    roots = [Path(os.path.realpath(root)) for root in allowed_roots]
    return tuple(_check(mount, roots) for mount in mounts)


def _check(mount: Mount, roots: Sequence[Path]) -> Mount:
    for path in (mount.source, mount.target):
        if not path.startswith("/") or "\0" in path or ".." in PurePosixPath(path).parts:
            raise InvalidInput(
                f"The mount path {path!r} is not an absolute path without `..`.", fix="Give the whole path.", path=path
            )
    target = Path(os.path.normpath(mount.target))
    if target == Path("/") or _below(target, _KERNEL_FOLDERS):
        raise InvalidInput(f"Nothing may be mounted on {target} of a container.", path=mount.target)
    try:
        source = Path(mount.source).resolve(strict=True)
        mode = source.stat().st_mode
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links, before Python 3.13
        reason = getattr(error, "strerror", None) or "a loop of symbolic links"
        raise LaunchRefused(
            f"The mount source {mount.source} cannot be used: {reason}.", fix="Create it first.", path=mount.source
        ) from error
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        raise _refused(mount, source, "it is neither a folder nor a plain file")
    if source == Path("/") or _below(source, _KERNEL_FOLDERS):
        raise _refused(mount, source, "it gives control over the host")
    for socket in _CONTROL_SOCKETS:
        if source in Path(os.path.realpath(socket)).parents and source != Path("/"):
            raise _refused(mount, source, f"it holds {socket}, which gives control over the host")
    if not _below(source, roots):
        raise _refused(mount, source, "it lies outside the allowed folders")
    return replace(mount, source=str(source))


def _below(path: Path, folders: Sequence[Path]) -> bool:
    return any(path == folder or folder in path.parents for folder in folders)


def _refused(mount: Mount, source: Path, reason: str) -> LaunchRefused:
    shown = mount.source if str(source) == mount.source else f"{mount.source} (in truth {source})"
    return LaunchRefused(
        f"The mount source {shown} is refused: {reason}.",
        fix="Use a folder below one of `docker.allowedMounts`, or add its parent there.",
        path=mount.source,
        real_path=str(source),
    )
