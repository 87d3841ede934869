"""What an installation plan is made of: the facts it starts from and the steps it gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from modelgrid.domain.gpu import GpuVendor

GUIDES: Mapping[GpuVendor, str] = {
    GpuVendor.NVIDIA: "https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/",
    GpuVendor.AMD: "https://rocm.docs.amd.com/projects/install-on-linux/en/latest/",
    GpuVendor.INTEL: "https://dgpu-docs.intel.com/driver/client/overview.html",
}
APT_ARCHIVES = "/var/cache/apt/archives"
"""Where packages are downloaded to: a folder that root alone can write, unlike /tmp."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Of /etc/os-release. `version` is VERSION_ID, `codename` VERSION_CODENAME."""

    id: str = ""
    version: str = ""
    codename: str = ""
    like: tuple[str, ...] = ()
    name: str = ""

    @property
    def major(self) -> str:
        return self.version.partition(".")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallFacts:
    """What is there already, and for whom the driver is installed."""

    distribution: Distribution = field(default_factory=Distribution)
    machine: str = "x86_64"
    """`uname -m`."""
    kernel_release: str = ""
    user: str = "root"
    """The user the daemon runs as; it needs the device files' groups on AMD and Intel."""
    user_groups: frozenset[str] = frozenset()
    driver_working: bool = False
    """The driver is installed and no fault keeps it from working: only what is missing beside it is listed."""
    container_engines: tuple[str, ...] = ()
    container_toolkit: bool = False
    secure_boot: bool = False
    deb822_sources: bool = False
    """Debian's own sources are in /etc/apt/sources.list.d/debian.sources, not in /etc/apt/sources.list."""
    legacy_gpu: bool = False
    """An NVIDIA GPU older than Turing."""
    nvswitch: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallStep:
    """One command of the walk-through. `argv` is empty for a step that is only to be read."""

    title: str
    why: str
    argv: tuple[str, ...] = ()
    needs_root: bool = True
    reboot_after: bool = False
    check: tuple[str, ...] = ()
    """A command without side effects that succeeds once the step is done. Empty: there is no telling."""
    guide: str = ""
    """The vendor's text on it."""


def parse_os_release(text: str) -> Distribution:
    """Return the distribution that an /etc/os-release describes (os-release(5)); empty fields where it is silent.

    >>> parse_os_release('ID=ubuntu\\nVERSION_ID="24.04"\\nVERSION_CODENAME=noble').codename
    'noble'
    """
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, separator, value = line.strip().partition("=")
        if separator and not key.startswith("#"):
            values[key] = value.strip().strip("\"'")
    return Distribution(
        id=values.get("ID", "").lower(),
        version=values.get("VERSION_ID", ""),
        codename=values.get("VERSION_CODENAME", ""),
        like=tuple(values.get("ID_LIKE", "").lower().split()),
        name=values.get("PRETTY_NAME", "") or values.get("NAME", ""),
    )


def read_the_guide(vendor: GpuVendor, facts: InstallFacts) -> InstallStep:
    """Return the step for a distribution whose commands are not known: where to read on."""
    name = facts.distribution.name or facts.distribution.id or "this distribution"
    return InstallStep(
        title="Read the vendor's guide",
        why=f"The steps for {name} ({facts.machine or 'unknown machine'}) are not known here; none are guessed.",
        needs_root=False,
        guide=GUIDES[vendor],
    )


def apt_update() -> InstallStep:
    """Return the step that reads apt's package lists."""
    return InstallStep(
        title="Read the package lists", why="So that apt knows the packages below.", argv=("apt-get", "update")
    )


def enrol_module_key(facts: InstallFacts) -> tuple[InstallStep, ...]:
    """Return the step that lets a module built here load under Secure Boot; nothing where that is off."""
    if not facts.secure_boot:
        return ()
    key = "/var/lib/shim-signed/mok/MOK.der" if facts.distribution.id == "ubuntu" else "/var/lib/dkms/mok.pub"
    return (
        InstallStep(
            title="Enrol the key that signed the kernel module",
            why="Secure Boot is on. mokutil asks for a one-time password; the firmware asks for it at the next boot "
            "(Enroll MOK).",
            argv=("mokutil", "--import", key),
            reboot_after=True,
            check=("mokutil", "--test-key", key),
        ),
    )
