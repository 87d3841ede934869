"""Facts of the host that decide whether a GPU driver works. Files only, under an injectable root."""

import grp
import os
import pwd
import re
from dataclasses import dataclass
from pathlib import Path

from modelgrid.decide.driver_facts import HostFacts

_LIBRARY_FOLDERS = (
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib64",
    "usr/lib",
    "usr/local/lib",
    "usr/local/nvidia/lib64",
    "usr/lib/wsl/lib",
    "opt/rocm/lib",
)
_BINARY_FOLDERS = ("usr/bin", "usr/sbin", "usr/local/bin", "usr/local/nvidia/toolkit", "opt/rocm/bin", "bin", "sbin")
_SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
"""EFI global variable: four bytes of attributes, then one byte, 1 when Secure Boot is enforced (UEFI 2.10, 3.3)."""
_ENGINES = {"docker": ("dockerd", "docker"), "podman": ("podman",)}


@dataclass(frozen=True, slots=True)
class Identity:
    """Who reads the device files: the user the daemon runs as."""

    user: str
    is_root: bool
    groups: frozenset[str]


def current_identity() -> Identity:
    """Return the identity of this process. Group ids without a name are left out."""
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = str(os.geteuid())
    names: set[str] = set()
    for gid in {*os.getgroups(), os.getegid()}:
        try:
            names.add(grp.getgrgid(gid).gr_name)
        except KeyError:
            continue
    return Identity(user, os.geteuid() == 0, frozenset(names))


def read_text(path: Path) -> str | None:
    """Return the text of `path`, or None when it cannot be read.

    An attribute file of sysfs may exist and still answer EINVAL, ENODATA or EPERM: absence of a reading is
    normal there and never an error.
    """
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def read_int(path: Path) -> int | None:
    """Return the decimal number in `path`, or None when it cannot be read or is not one."""
    text = read_text(path)
    try:
        return None if text is None else int(text.strip())
    except ValueError:
        return None


def find_binary(name: str, root: Path = Path("/")) -> Path | None:
    """Return the first executable called `name` in the usual folders under `root`, or None."""
    for folder in _BINARY_FOLDERS:
        path = root / folder / name
        if path.is_file() and os.access(path, os.X_OK):
            return path
    return None


def library_versions(stem: str, root: Path = Path("/")) -> tuple[str, ...]:
    """Return the version suffixes of a shared library, longest first.

    `libnvidia-ml.so` gives (`580.95.05`, `1`): the long one is the release of the driver package. Empty: not installed.
    """
    found: set[str] = set()
    for folder in _LIBRARY_FOLDERS:
        for path in (root / folder).glob(f"{stem}.*"):
            suffix = path.name.removeprefix(f"{stem}.")
            if re.fullmatch(r"\d+(\.\d+)*", suffix):
                found.add(suffix)
    return tuple(sorted(found, key=lambda text: (-len(text), text)))


def host_facts(module: str, source_glob: str, root: Path = Path("/")) -> HostFacts:
    """Return what the host says about the kernel module `module`. Blocking: a few file reads, never a driver call.

    `source_glob` names the module's DKMS source folder in /usr/src (`nvidia-*`).
    """
    release = (read_text(root / "proc/sys/kernel/osrelease") or "").strip()
    built = read_text(root / f"lib/modules/{release}/modules.dep") or ""
    secure_boot = _read_bytes(root / _SECURE_BOOT)
    return HostFacts(
        kernel_release=release,
        module_loaded=(root / "sys/module" / module).is_dir(),
        module_built=re.search(rf"/{re.escape(module)}\.ko(\.\w+)?:", built) is not None,
        module_source_present=any((root / "usr/src").glob(source_glob)),
        headers_present=(root / f"lib/modules/{release}/build").exists(),
        secure_boot=len(secure_boot) >= 5 and secure_boot[4] == 1,
        reboot_required=any((root / place).exists() for place in ("run/reboot-required", "var/run/reboot-required")),
        container_engines=tuple(
            engine for engine, binaries in _ENGINES.items() if any(find_binary(name, root) for name in binaries)
        ),
    )


def process_name(pid: int, root: Path = Path("/")) -> str:
    """Return the kernel's short name of process `pid`, empty when it is gone or in another pid namespace."""
    return (read_text(root / f"proc/{pid}/comm") or "").strip()


def process_running(comm: str, root: Path = Path("/")) -> bool:
    """Return whether a process with this short name runs. The kernel cuts names after 15 characters."""
    wanted = comm[:15]
    return any((read_text(path) or "").strip() == wanted for path in (root / "proc").glob("[0-9]*/comm"))


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
