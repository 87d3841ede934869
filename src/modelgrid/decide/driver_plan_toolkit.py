"""The NVIDIA Container Toolkit ("Installing the NVIDIA Container Toolkit")."""

from modelgrid.decide.driver_plan import InstallFacts, InstallStep, apt_update

CONTAINER_TOOLKIT_GUIDE = "https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html"
_TOOLKIT_REPOSITORY = "https://nvidia.github.io/libnvidia-container"
_KEY = "/usr/share/keyrings/nvidia-container-toolkit-keyring.asc"
_APT_LIST = "/etc/apt/sources.list.d/nvidia-container-toolkit.list"


def toolkit_complete(facts: InstallFacts) -> bool:
    """Return whether no container engine waits for the toolkit."""
    return facts.container_toolkit or not facts.container_engines


def container_toolkit_steps(facts: InstallFacts) -> tuple[InstallStep, ...]:
    """Return the steps that give GPUs to the container engines of this machine; none where nothing is missing."""
    if toolkit_complete(facts):
        return ()
    install = {
        "debian": _toolkit_apt,
        "ubuntu": _toolkit_apt,
        "sles": _toolkit_zypper,
        "opensuse-leap": _toolkit_zypper,
    }.get(facts.distribution.id, _toolkit_dnf)
    steps = list(install())
    if "docker" in facts.container_engines:
        steps += [
            InstallStep(
                title="Tell Docker about the NVIDIA runtime",
                why="Writes the runtime `nvidia` into /etc/docker/daemon.json and keeps what else is there.",
                argv=("nvidia-ctk", "runtime", "configure", "--runtime=docker"),
                check=("grep", "-q", "nvidia-container-runtime", "/etc/docker/daemon.json"),
                guide=CONTAINER_TOOLKIT_GUIDE,
            ),
            InstallStep(
                title="Restart Docker",
                why="Docker reads daemon.json at its start. Containers without live-restore stop with it.",
                argv=("systemctl", "restart", "docker"),
            ),
        ]
    if "podman" in facts.container_engines:
        steps.append(
            InstallStep(
                title="Describe the GPUs for Podman",
                why="Podman finds GPUs through this CDI file. Write it anew after each driver upgrade.",
                argv=("nvidia-ctk", "cdi", "generate", "--output=/etc/cdi/nvidia.yaml"),
                check=("test", "-e", "/etc/cdi/nvidia.yaml"),
                guide=CONTAINER_TOOLKIT_GUIDE,
            )
        )
    return tuple(steps)


def _toolkit_apt() -> tuple[InstallStep, ...]:
    return (
        InstallStep(
            title="Download the toolkit repository's key",
            why="apt checks the packages with it. (.asc: apt reads the key as it is.)",
            argv=("curl", "-fsSL", "--output", _KEY, f"{_TOOLKIT_REPOSITORY}/gpgkey"),
            check=("test", "-e", _KEY),
        ),
        InstallStep(
            title="Download the toolkit repository's address",
            why="The list names the stable repository.",
            argv=(
                *("curl", "-fsSL", "--output", _APT_LIST),
                f"{_TOOLKIT_REPOSITORY}/stable/deb/nvidia-container-toolkit.list",
            ),
            check=("test", "-e", _APT_LIST),
        ),
        InstallStep(
            title="Tie the repository to its key",
            why="Only packages signed with this key are taken from it.",
            argv=("sed", "-i", f"s#deb https://#deb [signed-by={_KEY}] https://#g", _APT_LIST),
            check=("grep", "-q", "signed-by", _APT_LIST),
        ),
        apt_update(),
        _package(("apt-get", "install", "-y", "nvidia-container-toolkit"), ("dpkg", "-s", "nvidia-container-toolkit")),
    )


def _toolkit_dnf() -> tuple[InstallStep, ...]:
    place = "/etc/yum.repos.d/nvidia-container-toolkit.repo"
    return (
        InstallStep(
            title="Add the toolkit's repository",
            why="The toolkit is not part of the distribution.",
            argv=(
                *("curl", "-fsSL", "--output", place),
                f"{_TOOLKIT_REPOSITORY}/stable/rpm/nvidia-container-toolkit.repo",
            ),
            check=("test", "-e", place),
        ),
        _package(("dnf", "install", "-y", "nvidia-container-toolkit"), ("rpm", "-q", "nvidia-container-toolkit")),
    )


def _toolkit_zypper() -> tuple[InstallStep, ...]:
    return (
        InstallStep(
            title="Add the toolkit's repository",
            why="The toolkit is not part of the distribution.",
            argv=("zypper", "addrepo", f"{_TOOLKIT_REPOSITORY}/stable/rpm/nvidia-container-toolkit.repo"),
            check=("test", "-e", "/etc/zypp/repos.d/nvidia-container-toolkit.repo"),
        ),
        InstallStep(
            title="Read the package lists",
            why="zypper shows the repository's signing key and asks whether to trust it.",
            argv=("zypper", "refresh"),
        ),
        _package(("zypper", "install", "-y", "nvidia-container-toolkit"), ("rpm", "-q", "nvidia-container-toolkit")),
    )


def _package(argv: tuple[str, ...], check: tuple[str, ...]) -> InstallStep:
    return InstallStep(
        title="Install the NVIDIA Container Toolkit",
        why="It hands the driver's libraries and device files into containers.",
        argv=argv,
        check=check,
        guide=CONTAINER_TOOLKIT_GUIDE,
    )
