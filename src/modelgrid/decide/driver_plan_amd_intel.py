"""AMD's and Intel's drivers ("ROCm installation for Linux", "Installing client GPUs").

Containers bring ROCm and Level Zero with them and get the device files, so the host needs the kernel driver, and the
daemon's user the right to open those files.
"""

from modelgrid.decide.driver_plan import (
    GUIDES,
    InstallFacts,
    InstallStep,
    apt_update,
    enrol_module_key,
    read_the_guide,
)
from modelgrid.domain.gpu import GpuVendor

_AMD_REPOSITORY = "https://repo.radeon.com"
_AMD_KEY = "/etc/apt/keyrings/rocm.asc"
_AMD_LIST = "/etc/apt/sources.list.d/amdgpu.list"
_AMD_SUITES = {
    ("ubuntu", "22.04"): "jammy",
    ("ubuntu", "24.04"): "noble",
    ("debian", "12"): "jammy",
    ("debian", "13"): "noble",
}
"""AMD builds for Ubuntu and supports Debian with the packages of the Ubuntu release of its time."""
_INTEL_PACKAGES = ("libze-intel-gpu1", "libze1", "intel-metrics-discovery", "intel-opencl-icd", "intel-gsc", "xpu-smi")


def amd_steps(facts: InstallFacts) -> tuple[InstallStep, ...]:
    """Return the steps to a working amdgpu driver with its compute interface."""
    if facts.driver_working:
        return _groups(facts)
    distribution = facts.distribution
    suite = _AMD_SUITES.get((distribution.id, distribution.version))
    if suite is not None and facts.machine == "x86_64":
        return (*_amd_apt(facts, suite), *_groups(facts), *_amd_reboot(facts))
    if distribution.id == "fedora":
        return (
            InstallStep(
                title="Install the GPU firmware",
                why="Fedora's kernel has amdgpu with its compute interface; the firmware is in this package.",
                argv=("dnf", "install", "-y", "amd-gpu-firmware"),
                check=("rpm", "-q", "amd-gpu-firmware"),
            ),
            *_groups(facts),
            *_amd_reboot(facts),
        )
    return (read_the_guide(GpuVendor.AMD, facts), *_groups(facts))


def _amd_apt(facts: InstallFacts, suite: str) -> tuple[InstallStep, ...]:
    headers = f"linux-headers-{facts.kernel_release}"
    modules = (f"linux-modules-extra-{facts.kernel_release}",) if facts.distribution.id == "ubuntu" else ()
    source = f"deb [arch=amd64 signed-by={_AMD_KEY}] {_AMD_REPOSITORY}/amdgpu/latest/ubuntu {suite} main"
    return (
        apt_update(),
        InstallStep(
            title="Install the kernel headers and the tools below",
            why="DKMS builds the amdgpu module for the kernel that runs now.",
            argv=("apt-get", "install", "-y", headers, *modules, "curl", "ca-certificates"),
            check=("dpkg", "-s", headers),
        ),
        InstallStep(
            title="Make the folder for repository keys",
            why="Older releases do not have it.",
            argv=("install", "-d", "-m", "0755", "/etc/apt/keyrings"),
            check=("test", "-d", "/etc/apt/keyrings"),
        ),
        InstallStep(
            title="Download AMD's repository key",
            why="apt checks the packages with it. (.asc: apt reads the key as it is.)",
            argv=("curl", "-fsSL", "--output", _AMD_KEY, f"{_AMD_REPOSITORY}/rocm/rocm.gpg.key"),
            check=("test", "-e", _AMD_KEY),
        ),
        InstallStep(
            title="Add AMD's driver repository",
            why="The distribution's kernel may lack the compute interface for newer GPUs.",
            argv=("awk", f'BEGIN {{ print "{source}" > "{_AMD_LIST}" }}'),
            check=("test", "-e", _AMD_LIST),
        ),
        apt_update(),
        InstallStep(
            title="Install the amdgpu driver",
            why="The kernel module with the compute interface (/dev/kfd) that ROCm needs.",
            argv=("apt-get", "install", "-y", "amdgpu-dkms"),
            check=("dpkg", "-s", "amdgpu-dkms"),
            guide=GUIDES[GpuVendor.AMD],
        ),
    )


def _amd_reboot(facts: InstallFacts) -> tuple[InstallStep, ...]:
    return enrol_module_key(facts) or (
        InstallStep(
            title="Reboot",
            why="The kernel loads the new module and firmware at the next boot.",
            argv=("systemctl", "reboot"),
            reboot_after=True,
        ),
    )


def intel_steps(facts: InstallFacts) -> tuple[InstallStep, ...]:
    """Return the steps to Level Zero for an Intel card. The kernel driver (xe, i915) comes with the kernel."""
    if facts.driver_working:
        return _groups(facts)
    if (facts.distribution.id, facts.distribution.version) != ("ubuntu", "24.04") or facts.machine != "x86_64":
        return (read_the_guide(GpuVendor.INTEL, facts), *_groups(facts))
    return (
        apt_update(),
        InstallStep(
            title="Install apt's repository command",
            why="The next step adds a repository with it.",
            argv=("apt-get", "install", "-y", "software-properties-common"),
            check=("dpkg", "-s", "software-properties-common"),
        ),
        InstallStep(
            title="Add Intel's package archive for Ubuntu",
            why="Ubuntu 24.04's own Level Zero is older than the Arc B series.",
            argv=("add-apt-repository", "-y", "ppa:kobuk-team/intel-graphics"),
            check=("grep", "-rq", "kobuk-team/intel-graphics", "/etc/apt/sources.list.d"),
        ),
        InstallStep(
            title="Install Level Zero and the tools",
            why="A vLLM run as a process uses the GPU through Level Zero; xpu-smi adds readings.",
            argv=("apt-get", "install", "-y", *_INTEL_PACKAGES),
            check=("dpkg", "-s", *_INTEL_PACKAGES),
            guide=GUIDES[GpuVendor.INTEL],
        ),
        *_groups(facts),
    )


def _groups(facts: InstallFacts) -> tuple[InstallStep, ...]:
    missing = [group for group in ("render", "video") if group not in facts.user_groups]
    if facts.user == "root" or not missing:
        return ()
    return (
        InstallStep(
            title=f"Let {facts.user} open the GPU's device files",
            why="The daemon runs as this user. Restart it afterwards: groups are read at the start of a process.",
            argv=("usermod", "-a", "-G", ",".join(missing), facts.user),
        ),
    )
