"""The installation walk-through: the right commands per distribution, never a shell, nothing twice."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelgrid.adapters.gpu_reader import gather_install_facts
from modelgrid.adapters.pci import Identity
from modelgrid.decide.driver_steps import Distribution, InstallFacts, InstallStep, install_steps, parse_os_release
from modelgrid.domain.gpu import DriverIssue, DriverReport, GpuVendor

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures" / "gpu"))
from gpu_fakes import write_tree

DEBIAN_12 = Distribution(id="debian", version="12", codename="bookworm", name="Debian GNU/Linux 12 (bookworm)")
DEBIAN_13 = Distribution(id="debian", version="13", codename="trixie")
UBUNTU_22 = Distribution(id="ubuntu", version="22.04", codename="jammy")
UBUNTU_24 = Distribution(id="ubuntu", version="24.04", codename="noble")
RHEL_9 = Distribution(id="rhel", version="9.6")
ROCKY_9 = Distribution(id="rocky", version="9.6")
ROCKY_10 = Distribution(id="rocky", version="10.1")
FEDORA = Distribution(id="fedora", version="43")
SLES = Distribution(id="sles", version="15.6")
ARCH = Distribution(id="arch", name="Arch Linux")
KNOWN = [DEBIAN_12, DEBIAN_13, UBUNTU_22, UBUNTU_24, RHEL_9, ROCKY_9, ROCKY_10, FEDORA, SLES]


def facts(distribution: Distribution, **changes: object) -> InstallFacts:
    return replace(InstallFacts(distribution=distribution, kernel_release="6.1.0-40-amd64"), **changes)  # type: ignore[arg-type]


def lines(steps: tuple[InstallStep, ...]) -> list[str]:
    return [" ".join(step.argv) for step in steps]


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [
        (
            DEBIAN_12,
            ["repos/debian12/x86_64/cuda-keyring", "linux-headers-6.1.0-40-amd64", "contrib", "install -y nvidia-open"],
        ),
        (DEBIAN_13, ["repos/debian13/x86_64/cuda-keyring", "contrib", "install -y nvidia-open"]),
        (UBUNTU_22, ["repos/ubuntu2204/x86_64/cuda-keyring", "install -y nvidia-open"]),
        (UBUNTU_24, ["repos/ubuntu2404/x86_64/cuda-keyring", "install -y nvidia-open"]),
        (RHEL_9, ["codeready-builder-for-rhel-9-x86_64-rpms", "cuda-rhel9.repo", "nvidia-driver:open-dkms"]),
        (ROCKY_9, ["--set-enabled crb", "cuda-rhel9.repo", "nvidia-driver:open-dkms", "dnf install -y nvidia-open"]),
        (ROCKY_10, ["cuda-rhel10.repo", "dnf install -y nvidia-open"]),
        (FEDORA, ["addrepo --from-repofile=", "cuda-fedora43.repo", "dnf install -y nvidia-open"]),
        (SLES, ["PackageHub/15.6/x86_64", "cuda-sles15.repo", "zypper install -y nvidia-open"]),
    ],
)
def test_nvidia_on_each_distribution(distribution: Distribution, expected: list[str]) -> None:
    text = "\n".join(lines(install_steps(GpuVendor.NVIDIA, facts(distribution))))
    assert [part for part in expected if part not in text] == []


def test_module_streams_end_with_rhel_9() -> None:
    assert "module enable" not in "\n".join(lines(install_steps(GpuVendor.NVIDIA, facts(ROCKY_10))))


def test_arm_servers_have_their_own_repository() -> None:
    text = "\n".join(lines(install_steps(GpuVendor.NVIDIA, facts(UBUNTU_24, machine="aarch64"))))
    assert "repos/ubuntu2404/sbsa/cuda-keyring" in text


def test_gpus_older_than_turing_get_the_last_branch_that_knows_them() -> None:
    for distribution, expected in ((UBUNTU_24, "cuda-drivers-580"), (ROCKY_9, "nvidia-driver:580-dkms")):
        text = "\n".join(lines(install_steps(GpuVendor.NVIDIA, facts(distribution, legacy_gpu=True))))
        assert expected in text
        assert "nvidia-open" not in text
    (step,) = install_steps(GpuVendor.NVIDIA, facts(FEDORA, legacy_gpu=True))
    assert step.argv == (), "where the branch cannot be held, the guide is better than a wrong driver"


def test_a_reboot_comes_after_the_driver_and_last_of_it() -> None:
    steps = install_steps(GpuVendor.NVIDIA, facts(UBUNTU_24, secure_boot=True, nvswitch=True))
    assert [step.title for step in steps if step.reboot_after] == ["Enrol the key that signed the kernel module"]
    assert "fabric" in lines(steps)[-2]
    steps = install_steps(GpuVendor.NVIDIA, facts(UBUNTU_24))
    assert [step.argv[-1] for step in steps if step.reboot_after] == ["nvidia-open"]


@pytest.mark.parametrize("distribution", KNOWN)
def test_a_working_driver_is_left_alone(distribution: Distribution) -> None:
    assert install_steps(GpuVendor.NVIDIA, facts(distribution, driver_working=True)) == ()
    steps = install_steps(GpuVendor.NVIDIA, facts(distribution, driver_working=True, container_engines=("docker",)))
    assert lines(steps)[-2:] == ["nvidia-ctk runtime configure --runtime=docker", "systemctl restart docker"]
    assert all("cuda" not in line for line in lines(steps))
    complete = facts(distribution, driver_working=True, container_engines=("docker",), container_toolkit=True)
    assert install_steps(GpuVendor.NVIDIA, complete) == ()


def test_podman_gets_a_device_description() -> None:
    steps = install_steps(GpuVendor.NVIDIA, facts(UBUNTU_24, driver_working=True, container_engines=("podman",)))
    assert lines(steps)[-1] == "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"


@pytest.mark.parametrize("vendor", list(GpuVendor))
def test_an_unknown_distribution_gets_the_guide_and_no_guess(vendor: GpuVendor) -> None:
    (step,) = install_steps(vendor, facts(ARCH))
    assert step.argv == ()
    assert step.guide.startswith("https://")
    assert "Arch Linux" in step.why


def test_other_machines_and_interim_releases_get_the_guide() -> None:
    for known in (facts(UBUNTU_24, machine="ppc64le"), facts(Distribution(id="ubuntu", version="24.10"))):
        (step,) = install_steps(GpuVendor.NVIDIA, known)
        assert step.guide


def test_amd() -> None:
    text = "\n".join(lines(install_steps(GpuVendor.AMD, facts(UBUNTU_24, user="mg"))))
    assert "amdgpu/latest/ubuntu noble main" in text
    assert "apt-get install -y amdgpu-dkms" in text
    assert "usermod -a -G render,video mg" in text
    assert "amdgpu/latest/ubuntu jammy main" in "\n".join(lines(install_steps(GpuVendor.AMD, facts(DEBIAN_12))))
    assert install_steps(GpuVendor.AMD, facts(UBUNTU_24, driver_working=True)) == ()
    (step,) = install_steps(
        GpuVendor.AMD, facts(UBUNTU_24, driver_working=True, user="mg", user_groups=frozenset({"video"}))
    )
    assert step.argv == ("usermod", "-a", "-G", "render", "mg")
    assert install_steps(GpuVendor.AMD, facts(RHEL_9))[0].argv == ()


def test_intel() -> None:
    text = "\n".join(lines(install_steps(GpuVendor.INTEL, facts(UBUNTU_24))))
    assert "ppa:kobuk-team/intel-graphics" in text
    assert "libze-intel-gpu1" in text
    assert install_steps(GpuVendor.INTEL, facts(DEBIAN_12))[0].argv == ()


every_fact = st.builds(
    InstallFacts,
    distribution=st.sampled_from([*KNOWN, ARCH, Distribution()]),
    machine=st.sampled_from(["x86_64", "aarch64", "riscv64"]),
    kernel_release=st.just("6.8.0-60-generic"),
    user=st.sampled_from(["root", "modelgrid"]),
    user_groups=st.sets(st.sampled_from(["render", "video"])).map(frozenset),
    container_engines=st.lists(st.sampled_from(["docker", "podman"]), unique=True).map(tuple),
)


@given(vendor=st.sampled_from(list(GpuVendor)), known=every_fact)
def test_every_step_can_be_shown_and_run_as_it_is(vendor: GpuVendor, known: InstallFacts) -> None:
    for step in install_steps(vendor, known):
        assert step.title
        assert step.why.endswith((".", ")"))
        assert step.argv or step.guide, "a step is a command or something to read"
        assert all(step.argv), "no empty argument"
        assert step.argv[:1] not in {("sh",), ("bash",), ("sudo",)}
        assert not any("/tmp/" in part for part in step.argv), "root downloads nothing to where others can write"
        assert all(url.startswith("https://") for part in step.argv for url in re.findall(r"\bhttps?://\S+", part))


def test_the_edits_of_files_do_what_they_say(tmp_path: Path) -> None:
    """sed and awk run for real, on files of the test instead of the system's."""

    def run(step: InstallStep, place: str, file: Path) -> None:
        for _ in range(2):  # twice: each step may be repeated
            subprocess.run([part.replace(place, str(file)) for part in step.argv], check=True)

    deb822 = tmp_path / "debian.sources"
    deb822.write_text("Types: deb\nComponents: main non-free-firmware\n\nTypes: deb\nComponents: main contrib\n")
    steps = install_steps(GpuVendor.NVIDIA, facts(DEBIAN_13, deb822_sources=True))
    step = next(step for step in steps if "contrib" in step.title)
    run(step, "/etc/apt/sources.list.d/debian.sources", deb822)
    assert deb822.read_text().count("contrib") == 2
    assert "Components: main non-free-firmware contrib\n" in deb822.read_text()

    one_line = tmp_path / "sources.list"
    one_line.write_text("deb http://mirror.example/debian bookworm main\n# deb x main\n")
    step = next(step for step in install_steps(GpuVendor.NVIDIA, facts(DEBIAN_12)) if "contrib" in step.title)
    run(step, "/etc/apt/sources.list", one_line)
    assert one_line.read_text() == "deb http://mirror.example/debian bookworm main contrib\n# deb x main\n"

    toolkit = tmp_path / "toolkit.list"
    toolkit.write_text("deb https://nvidia.github.io/x stable\n#deb https://nvidia.github.io/y experimental\n")
    steps = install_steps(GpuVendor.NVIDIA, facts(UBUNTU_24, driver_working=True, container_engines=("docker",)))
    run(
        next(step for step in steps if step.argv[0] == "sed"),
        "/etc/apt/sources.list.d/nvidia-container-toolkit.list",
        toolkit,
    )
    signed = "[signed-by=/usr/share/keyrings/nvidia-container-toolkit-keyring.asc]"
    assert toolkit.read_text().startswith(f"deb {signed} https://nvidia.github.io/x stable\n")

    amd = tmp_path / "amdgpu.list"
    step = next(step for step in install_steps(GpuVendor.AMD, facts(UBUNTU_24)) if step.argv[0] == "awk")
    run(step, "/etc/apt/sources.list.d/amdgpu.list", amd)
    signed = "[arch=amd64 signed-by=/etc/apt/keyrings/rocm.asc]"
    assert amd.read_text() == f"deb {signed} https://repo.radeon.com/amdgpu/latest/ubuntu noble main\n"


def test_os_release() -> None:
    text = '# comment\nNAME="Rocky Linux"\nID="rocky"\nID_LIKE="rhel fedora"\nVERSION_ID="9.6"\nPRETTY_NAME=x\nbroken\n'
    assert parse_os_release(text) == Distribution(id="rocky", version="9.6", like=("rhel", "fedora"), name="x")
    assert parse_os_release("") == Distribution()


def test_facts_are_gathered_from_the_machine(tmp_path: Path) -> None:
    write_tree(tmp_path, "host_nvidia_h200.json", **{"sys/bus/pci/devices/0000:0f:00.0/device": "0x1db6\n"})
    user = Identity("mg", is_root=False, groups=frozenset({"mg"}))
    report = DriverReport(vendor=GpuVendor.NVIDIA, hardware_present=True, installed=True, container_toolkit=True)
    known = gather_install_facts(report, tmp_path, user, "x86_64")
    assert known.distribution.id == "debian"
    assert (known.kernel_release, known.user) == ("6.1.0-40-amd64", "mg")
    assert (known.driver_working, known.container_toolkit, known.legacy_gpu, known.nvswitch) == (True,) * 4
    assert known.container_engines == ("docker",)

    broken = replace(report, issues=(DriverIssue(code="version_mismatch", message="m", fix="f"),))
    assert not gather_install_facts(broken, tmp_path, user).driver_working
    beside = replace(report, issues=(DriverIssue(code="container_toolkit_missing", message="m", fix="f"),))
    assert gather_install_facts(beside, tmp_path, user).driver_working
