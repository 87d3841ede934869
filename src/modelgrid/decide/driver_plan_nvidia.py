"""NVIDIA's driver: the distribution's packages from NVIDIA's own repository ("Driver Installation Guide")."""

from collections.abc import Callable

from modelgrid.decide.driver_plan import (
    APT_ARCHIVES,
    GUIDES,
    InstallFacts,
    InstallStep,
    apt_update,
    enrol_module_key,
    read_the_guide,
)
from modelgrid.decide.driver_plan_toolkit import container_toolkit_steps, toolkit_complete
from modelgrid.domain.gpu import GpuVendor

_CUDA_REPOSITORY = "https://developer.download.nvidia.com/compute/cuda/repos"
_LAST_LEGACY_BRANCH = 580
"""The last driver branch for Maxwell, Pascal and Volta; the open kernel modules need Turing or newer."""


def nvidia_steps(facts: InstallFacts) -> tuple[InstallStep, ...]:
    """Return the steps to a working NVIDIA driver and container toolkit."""
    family = _nvidia_family(facts)
    if family is None:
        return () if facts.driver_working and toolkit_complete(facts) else (read_the_guide(GpuVendor.NVIDIA, facts),)
    driver = () if facts.driver_working else (*family(facts), *_nvidia_after(facts))
    return (*driver, *container_toolkit_steps(facts))


def _nvidia_family(facts: InstallFacts) -> Callable[[InstallFacts], tuple[InstallStep, ...]] | None:
    """Return the steps of the package family, None where NVIDIA has no repository for the distribution."""
    distribution = facts.distribution
    if facts.machine not in {"x86_64", "aarch64"}:
        return None
    known: dict[tuple[str, str], Callable[[InstallFacts], tuple[InstallStep, ...]]] = {
        ("debian", "12"): _nvidia_apt,
        ("debian", "13"): _nvidia_apt,
        ("ubuntu", "22"): _nvidia_apt,
        ("ubuntu", "24"): _nvidia_apt,
        ("sles", "15"): _nvidia_zypper,
        ("opensuse-leap", "15"): _nvidia_zypper,
        **{(name, major): _nvidia_rhel for name in ("rhel", "rocky", "almalinux") for major in ("9", "10")},
    }
    family = known.get((distribution.id, distribution.major))
    if distribution.id == "fedora" and distribution.major.isdigit() and int(distribution.major) >= 41:
        family = _nvidia_fedora  # 41 is the first with dnf5, whose config-manager has other words
    if distribution.id == "ubuntu" and not distribution.version.endswith(".04"):
        return None  # NVIDIA's repository has the long-term releases
    # Before Turing the branch must be held at 580; only the apt and the module-stream repositories can.
    legacy_held = family is _nvidia_apt or (family is _nvidia_rhel and distribution.major == "9")
    return None if facts.legacy_gpu and not legacy_held else family


def _architecture(facts: InstallFacts) -> str:
    """NVIDIA's repositories call 64-bit Arm servers `sbsa`."""
    return "sbsa" if facts.machine == "aarch64" else facts.machine


def _nvidia_apt(facts: InstallFacts) -> tuple[InstallStep, ...]:
    distribution = facts.distribution
    name = f"{distribution.id}{distribution.version.replace('.', '')}"
    keyring = f"{APT_ARCHIVES}/cuda-keyring_1.1-1_all.deb"
    headers = f"linux-headers-{facts.kernel_release}"
    package = f"cuda-drivers-{_LAST_LEGACY_BRANCH}" if facts.legacy_gpu else "nvidia-open"
    contrib: tuple[InstallStep, ...] = ()
    if distribution.id == "debian":
        contrib = (_debian_contrib(facts),)
    return (
        apt_update(),
        InstallStep(
            title="Install the kernel headers and the tools below",
            why="DKMS builds the driver's kernel module for the kernel that runs now.",
            argv=("apt-get", "install", "-y", headers, "dkms", "curl", "ca-certificates"),
            check=("dpkg", "-s", headers),
        ),
        *contrib,
        InstallStep(
            title="Download NVIDIA's repository key",
            why="The package carries the signing key and the address of NVIDIA's repository.",
            argv=(
                *("curl", "-fsSL", "--output", keyring),
                f"{_CUDA_REPOSITORY}/{name}/{_architecture(facts)}/cuda-keyring_1.1-1_all.deb",
            ),
            check=("test", "-e", keyring),
        ),
        InstallStep(
            title="Add NVIDIA's repository",
            why="The distribution's own driver is older than current GPUs and vLLM images need.",
            argv=("dpkg", "-i", keyring),
            check=("dpkg", "-s", "cuda-keyring"),
        ),
        apt_update(),
        InstallStep(
            title="Install the NVIDIA driver",
            why=_driver_why(facts, package),
            argv=("apt-get", "install", "-y", package),
            reboot_after=not facts.secure_boot and not facts.nvswitch,
            check=("dpkg", "-s", package),
            guide=GUIDES[GpuVendor.NVIDIA],
        ),
    )


def _debian_contrib(facts: InstallFacts) -> InstallStep:
    if facts.deb822_sources:
        sources, edit = "/etc/apt/sources.list.d/debian.sources", r"/^Components:/ { /\bcontrib\b/! s/$/ contrib/ }"
    else:
        sources, edit = "/etc/apt/sources.list", r"/^deb .* main/ { /\bcontrib\b/! s/$/ contrib/ }"
    return InstallStep(
        title="Add Debian's contrib section",
        why="The driver's packages depend on helpers from contrib.",
        argv=("sed", "-i", edit, sources),
        check=("grep", "-rqw", "contrib", "/etc/apt/sources.list", "/etc/apt/sources.list.d"),
    )


def _driver_why(facts: InstallFacts, package: str) -> str:
    if facts.legacy_gpu:
        return f"{package} is the last branch for GPUs older than Turing. It replaces nouveau at the next boot."
    return f"{package} is the driver with NVIDIA's open kernel modules. It replaces nouveau at the next boot."


def _nvidia_rhel(facts: InstallFacts) -> tuple[InstallStep, ...]:
    distribution, major = facts.distribution, facts.distribution.major
    name = f"rhel{major}"
    if distribution.id == "rhel":
        builder = f"codeready-builder-for-rhel-{major}-{facts.machine}-rpms"
        extra: tuple[str, ...] = ("subscription-manager", "repos", f"--enable={builder}")
        epel = f"https://dl.fedoraproject.org/pub/epel/epel-release-latest-{major}.noarch.rpm"
    else:
        extra, epel = ("dnf", "config-manager", "--set-enabled", "crb"), "epel-release"
    stream: tuple[InstallStep, ...] = ()
    if major == "9":  # RHEL 10 has no module streams
        branch = f"{_LAST_LEGACY_BRANCH}-dkms" if facts.legacy_gpu else "open-dkms"
        stream = (
            InstallStep(
                title="Choose the driver's module stream",
                why=f"{branch} fits the GPUs of this machine and is built by DKMS for each kernel.",
                argv=("dnf", "module", "enable", "-y", f"nvidia-driver:{branch}"),
            ),
        )
    package = "cuda-drivers" if facts.legacy_gpu else "nvidia-open"
    return (
        InstallStep(
            title="Install dnf's repository commands",
            why="The steps below add repositories with them.",
            argv=("dnf", "install", "-y", "dnf-plugins-core"),
            check=("rpm", "-q", "dnf-plugins-core"),
        ),
        InstallStep(title="Turn on the builder repository", why="DKMS depends on packages from it.", argv=extra),
        InstallStep(
            title="Add EPEL",
            why="DKMS itself comes from EPEL.",
            argv=("dnf", "install", "-y", epel),
            check=("rpm", "-q", "epel-release"),
        ),
        _rpm_headers(),
        InstallStep(
            title="Add NVIDIA's repository",
            why="The driver is not part of the distribution.",
            argv=(
                *("dnf", "config-manager", "--add-repo"),
                f"{_CUDA_REPOSITORY}/{name}/{_architecture(facts)}/cuda-{name}.repo",
            ),
            check=("test", "-e", f"/etc/yum.repos.d/cuda-{name}.repo"),
        ),
        *stream,
        _rpm_driver(facts, "dnf", package),
    )


def _nvidia_fedora(facts: InstallFacts) -> tuple[InstallStep, ...]:
    name = f"fedora{facts.distribution.major}"
    return (
        _rpm_headers(),
        InstallStep(
            title="Add NVIDIA's repository",
            why="The driver is not part of Fedora. NVIDIA has no repository for the newest releases (error 404 then).",
            argv=(
                *("dnf", "config-manager", "addrepo"),
                f"--from-repofile={_CUDA_REPOSITORY}/{name}/{_architecture(facts)}/cuda-{name}.repo",
            ),
            check=("test", "-e", f"/etc/yum.repos.d/cuda-{name}.repo"),
        ),
        _rpm_driver(facts, "dnf", "nvidia-open"),
    )


def _nvidia_zypper(facts: InstallFacts) -> tuple[InstallStep, ...]:
    name = "sles15" if facts.distribution.id == "sles" else "opensuse15"
    hub: tuple[InstallStep, ...] = ()
    if facts.distribution.id == "sles":
        hub = (
            InstallStep(
                title="Turn on Package Hub",
                why="DKMS depends on packages from it.",
                argv=("SUSEConnect", "--product", f"PackageHub/{facts.distribution.version}/{facts.machine}"),
            ),
        )
    return (
        *hub,
        InstallStep(
            title="Install the kernel headers",
            why="DKMS builds the driver's kernel module for the kernel that runs now.",
            argv=("zypper", "install", "-y", "kernel-default-devel"),
            check=("rpm", "-q", "kernel-default-devel"),
        ),
        InstallStep(
            title="Add NVIDIA's repository",
            why="The driver is not part of the distribution.",
            argv=("zypper", "addrepo", f"{_CUDA_REPOSITORY}/{name}/{_architecture(facts)}/cuda-{name}.repo"),
            check=("test", "-e", f"/etc/zypp/repos.d/cuda-{name}.repo"),
        ),
        InstallStep(
            title="Read the package lists",
            why="zypper shows the repository's signing key and asks whether to trust it.",
            argv=("zypper", "refresh"),
        ),
        _rpm_driver(facts, "zypper", "nvidia-open"),
    )


def _rpm_headers() -> InstallStep:
    return InstallStep(
        title="Install the kernel headers",
        why="DKMS builds the driver's kernel module for the kernel that runs now.",
        argv=("dnf", "install", "-y", "kernel-devel-matched", "kernel-headers"),
        check=("rpm", "-q", "kernel-devel-matched"),
    )


def _rpm_driver(facts: InstallFacts, manager: str, package: str) -> InstallStep:
    return InstallStep(
        title="Install the NVIDIA driver",
        why=_driver_why(facts, package),
        argv=(manager, "install", "-y", package),
        reboot_after=not facts.secure_boot and not facts.nvswitch,
        check=("rpm", "-q", package),
        guide=GUIDES[GpuVendor.NVIDIA],
    )


def _nvidia_after(facts: InstallFacts) -> tuple[InstallStep, ...]:
    """Return what follows the driver's package; the reboot comes after the last of it."""
    steps: list[InstallStep] = []
    if facts.nvswitch:
        manager = {"debian": "apt-get", "ubuntu": "apt-get", "sles": "zypper", "opensuse-leap": "zypper"}
        steps += [
            InstallStep(
                title="Install the fabric manager",
                why="GPUs behind NVSwitches do no CUDA work before it has set them up. Its version is the driver's.",
                argv=(manager.get(facts.distribution.id, "dnf"), "install", "-y", "nvidia-fabricmanager"),
            ),
            InstallStep(
                title="Start the fabric manager at boot",
                why="It has to run before the first engine.",
                argv=("systemctl", "enable", "nvidia-fabricmanager.service"),
                reboot_after=not facts.secure_boot,
                check=("systemctl", "is-enabled", "--quiet", "nvidia-fabricmanager.service"),
            ),
        ]
    return (*steps, *enrol_module_key(facts))
