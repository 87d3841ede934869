"""Known faults of GPU driver installations: facts in, `DriverIssue`s with the command that mends them out.

Each vendor has one ordered table of rules, worst first. A rule looks at the facts alone; every rule that holds gives
one issue. A rule that is only the consequence of another excludes it in its condition: one cause, one row.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from modelgrid.decide.driver_facts import (
    FABRIC_COMPLETED,
    FABRIC_IN_PROGRESS,
    FABRIC_NOT_STARTED,
    AmdFacts,
    DeviceFileFacts,
    HostFacts,
    IntelFacts,
    NvidiaFacts,
)
from modelgrid.domain.gpu import DriverIssue

INSTALL_COMMAND = "modelgrid gpu install"
FELL_OFF_THE_BUS = 79
"""XID of a GPU that no longer answers on PCIe (NVIDIA, "XID Errors")."""

_ENROL_KEY = (
    "`mokutil --import /var/lib/shim-signed/mok/MOK.der` (Debian, RHEL: /var/lib/dkms/mok.pub), reboot, choose "
    "Enroll MOK. Or turn Secure Boot off in the firmware."
)
"""Where Ubuntu's and DKMS' own machine owner keys lie."""

FactsT = TypeVar("FactsT")


@dataclass(frozen=True, slots=True)
class _Rule(Generic[FactsT]):
    code: str
    holds: Callable[[FactsT], bool]
    message: Callable[[FactsT], str]
    fix: Callable[[FactsT], str]


def nvidia_issues(facts: NvidiaFacts) -> tuple[DriverIssue, ...]:
    """Return what is wrong with the NVIDIA installation, worst first. Empty where there is no NVIDIA GPU."""
    return _apply(_NVIDIA, facts) if facts.bus_drivers or facts.gpus_seen else ()


def amd_issues(facts: AmdFacts) -> tuple[DriverIssue, ...]:
    """Return what is wrong with the AMD installation, worst first. Empty where there is no AMD GPU."""
    return _apply(_AMD, facts) if facts.bus_drivers else ()


def intel_issues(facts: IntelFacts) -> tuple[DriverIssue, ...]:
    """Return what is wrong with the Intel installation, worst first. Empty where there is no Intel card."""
    return _apply(_INTEL, facts) if facts.bus_drivers else ()


def _apply(rules: tuple[_Rule[FactsT], ...], facts: FactsT) -> tuple[DriverIssue, ...]:
    return tuple(
        DriverIssue(code=rule.code, message=rule.message(facts), fix=rule.fix(facts))
        for rule in rules
        if rule.holds(facts)
    )


def _nvidia_installed(facts: NvidiaFacts) -> bool:
    return facts.library_version is not None or facts.host.module_loaded


def _nvidia_mismatch(facts: NvidiaFacts) -> bool:
    differ = (
        facts.library_version is not None
        and facts.module_version is not None
        and facts.library_version != facts.module_version
    )
    return facts.nvml_error == 18 or (differ and facts.gpus_seen is None)


def _module_missing(facts: NvidiaFacts) -> bool:
    return _nvidia_installed(facts) and not facts.host.module_loaded and not facts.gpus_seen


def _headers_missing(host: HostFacts) -> bool:
    return host.module_source_present and not host.module_built and not host.headers_present


def _unsigned(host: HostFacts) -> bool:
    return host.secure_boot and host.module_built and not host.module_loaded


def _fabric_down(facts: NvidiaFacts) -> bool:
    waiting = any(state in {FABRIC_NOT_STARTED, FABRIC_IN_PROGRESS} for state in facts.fabric_states)
    # Before Hopper the GPUs do not say; then a switch without its manager is the sign.
    silent = FABRIC_COMPLETED not in facts.fabric_states
    unmanaged = facts.nvswitch_present and not facts.fabric_manager_running and facts.gpus_seen is not None
    return waiting or (silent and unmanaged)


def _headers_package(release: str) -> str:
    return f"`apt-get install linux-headers-{release}`, or `dnf install kernel-devel-matched kernel-headers`"


def _engines(host: HostFacts) -> str:
    return " and ".join(host.container_engines)


_NVIDIA: tuple[_Rule[NvidiaFacts], ...] = (
    _Rule(
        "gpu_lost",
        lambda f: bool(f.gpus_lost) or any(code == FELL_OFF_THE_BUS for _, code in f.xids),
        lambda f: (
            "GPU "
            + ", ".join(sorted({*f.gpus_lost, *(address for address, code in f.xids if code == FELL_OFF_THE_BUS)}))
            + " does not answer any more (XID 79 or lost)."
        ),
        lambda _: (
            "Stop its engines and reboot the machine. If it comes back, look at power, cooling and the PCIe seat."
        ),
    ),
    _Rule(
        "bound_to_vfio",
        lambda f: "vfio-pci" in f.bus_drivers,
        lambda f: f"{f.bus_drivers.count('vfio-pci')} NVIDIA GPU(s) are reserved for virtual machines (vfio-pci).",
        lambda _: (
            "Remove the device from `vfio-pci.ids` on the kernel command line and reboot, or leave it to the guest."
        ),
    ),
    _Rule(
        "nouveau_loaded",
        lambda f: "nouveau" in f.bus_drivers,
        lambda _: "The open-source nouveau driver holds the GPU; CUDA does not work with it.",
        lambda _: f"`{INSTALL_COMMAND}` installs NVIDIA's driver, which disables nouveau; then reboot.",
    ),
    _Rule(
        "driver_missing",
        lambda f: not _nvidia_installed(f) and "nouveau" not in f.bus_drivers and not f.gpus_seen,
        lambda f: f"{len(f.bus_drivers)} NVIDIA GPU(s) on the PCI bus and no NVIDIA driver installed.",
        lambda _: f"`{INSTALL_COMMAND}`",
    ),
    _Rule(
        "version_mismatch",
        _nvidia_mismatch,
        lambda f: (
            f"Driver/library version mismatch: the loaded kernel module is {f.module_version or 'of another release'}, "
            f"the library {f.library_version or 'is not'}. The driver was upgraded and the machine not rebooted."
        ),
        lambda _: (
            "`systemctl reboot`, or stop every GPU process, `modprobe -r nvidia_uvm nvidia_drm nvidia_modeset nvidia` "
            "and `modprobe nvidia`"
        ),
    ),
    _Rule(
        "secure_boot_unsigned",
        lambda f: _module_missing(f) and _unsigned(f.host),
        lambda _: "Secure Boot is on and the kernel refuses the NVIDIA module, whose signing key is not enrolled.",
        lambda _: _ENROL_KEY,
    ),
    _Rule(
        "kernel_headers_missing",
        lambda f: _module_missing(f) and _headers_missing(f.host),
        lambda f: (
            f"The NVIDIA module is not built for kernel {f.host.kernel_release}, because its headers are missing."
        ),
        lambda f: _headers_package(f.host.kernel_release) + "; then `dkms autoinstall` and `modprobe nvidia`",
    ),
    _Rule(
        "module_not_loaded",
        lambda f: (
            _module_missing(f)
            and not _unsigned(f.host)
            and not _headers_missing(f.host)
            and "nouveau" not in f.bus_drivers
        ),
        lambda f: (
            f"The NVIDIA driver is installed and its kernel module is not loaded (kernel {f.host.kernel_release})."
        ),
        lambda f: (
            "`modprobe nvidia`" if f.host.module_built else "`dkms autoinstall && modprobe nvidia`; see `dkms status`"
        ),
    ),
    _Rule(
        "device_nodes_missing",
        lambda f: f.host.module_loaded and not f.device_nodes_present,
        lambda _: "The NVIDIA module is loaded and /dev/nvidiactl or /dev/nvidia-uvm is missing.",
        lambda _: "`nvidia-modprobe -c 0 -u`",
    ),
    _Rule(
        "nvml_failed",
        lambda f: (
            f.nvml_error is not None and f.host.module_loaded and not _nvidia_mismatch(f) and f.device_nodes_present
        ),
        lambda f: f"NVML cannot be started: {f.nvml_error_text or f'error {f.nvml_error}'}.",
        lambda _: "`nvidia-smi` shows the same; `dmesg | grep NVRM` names the cause.",
    ),
    _Rule(
        "gpus_unseen",
        lambda f: f.gpus_seen is not None and f.gpus_seen < f.bus_drivers.count("nvidia"),
        lambda f: f"The driver sees {f.gpus_seen} of {f.bus_drivers.count('nvidia')} NVIDIA GPUs on the bus.",
        lambda _: "`dmesg | grep -E 'NVRM|nvidia'` names the cause (power cable, BAR space, unsupported GPU).",
    ),
    _Rule(
        "fabric_manager_stopped",
        _fabric_down,
        lambda _: "The NVSwitch fabric is not initialised: CUDA fails with error 802 until the fabric manager runs.",
        lambda _: (
            "Install `nvidia-fabricmanager` of exactly the driver's version, then "
            "`systemctl enable --now nvidia-fabricmanager`"
        ),
    ),
    _Rule(
        "container_toolkit_missing",
        lambda f: bool(f.host.container_engines) and not f.container_toolkit and _nvidia_installed(f),
        lambda f: f"The NVIDIA Container Toolkit is missing: {_engines(f.host)} cannot give GPUs to containers.",
        lambda _: f"`{INSTALL_COMMAND}`",
    ),
    _Rule(
        "xid_errors",
        lambda f: any(code != FELL_OFF_THE_BUS for _, code in f.xids),
        lambda f: (
            "The kernel logged XID errors since boot: "
            + ", ".join(f"{code} on {address}" for address, code in f.xids if code != FELL_OFF_THE_BUS)
            + "."
        ),
        lambda _: (
            "NVIDIA's list of XID errors says which are the application's (13, 31, 43, 45) and which the hardware's."
        ),
    ),
    _Rule(
        "reboot_pending",
        lambda f: f.host.reboot_required,
        lambda _: "The system asks for a reboot; until then the driver may be replaced in part.",
        lambda _: "`systemctl reboot`",
    ),
    _Rule(
        "persistence_mode_off",
        lambda f: f.persistence_mode is False,
        lambda _: "Persistence mode is off: the driver unloads when idle, which costs seconds at each start.",
        lambda _: "`systemctl enable --now nvidia-persistenced`, or `nvidia-smi -pm 1`",
    ),
)


def _no_access(files: DeviceFileFacts, device: str) -> str:
    return f"User {files.user} may not open {device}."


def _join_groups(files: DeviceFileFacts) -> str:
    groups = ",".join(files.missing_groups) or "render,video"
    return f"`usermod -a -G {groups} {files.user}`, then restart the daemon"


_AMD: tuple[_Rule[AmdFacts], ...] = (
    _Rule(
        "bound_to_vfio",
        lambda f: "vfio-pci" in f.bus_drivers,
        lambda f: f"{f.bus_drivers.count('vfio-pci')} AMD GPU(s) are reserved for virtual machines (vfio-pci).",
        lambda _: (
            "Remove the device from `vfio-pci.ids` on the kernel command line and reboot, or leave it to the guest."
        ),
    ),
    _Rule(
        "driver_missing",
        lambda f: not f.host.module_loaded and not f.host.module_built and not f.host.module_source_present,
        lambda f: (
            f"{len(f.bus_drivers)} AMD GPU(s) on the PCI bus and no amdgpu module for kernel {f.host.kernel_release}."
        ),
        lambda _: f"`{INSTALL_COMMAND}`",
    ),
    _Rule(
        "secure_boot_unsigned",
        lambda f: _unsigned(f.host) and f.host.module_source_present,
        lambda _: (
            "Secure Boot is on and the kernel refuses the amdgpu module built here, whose signing key is not enrolled."
        ),
        lambda _: _ENROL_KEY,
    ),
    _Rule(
        "kernel_headers_missing",
        lambda f: not f.host.module_loaded and _headers_missing(f.host),
        lambda f: (
            f"The amdgpu module is not built for kernel {f.host.kernel_release}, because its headers are missing."
        ),
        lambda f: _headers_package(f.host.kernel_release) + "; then `dkms autoinstall` and `modprobe amdgpu`",
    ),
    _Rule(
        "module_not_loaded",
        lambda f: (
            not f.host.module_loaded
            and f.host.module_built
            and not (_unsigned(f.host) and f.host.module_source_present)
        ),
        lambda _: "The amdgpu module is installed and not loaded.",
        lambda _: "`modprobe amdgpu`; if it stays away, look for `blacklist amdgpu` in /etc/modprobe.d",
    ),
    _Rule(
        "kfd_missing",
        lambda f: f.host.module_loaded and not f.kfd_present,
        lambda _: "/dev/kfd is missing: the driver runs without its compute interface, so ROCm sees no GPU.",
        lambda _: f"`{INSTALL_COMMAND}` installs amdgpu-dkms, which has it; `dmesg | grep kfd` names the cause.",
    ),
    _Rule(
        "no_device_access",
        lambda f: f.kfd_present and f.host.module_loaded and not f.files.accessible,
        lambda f: _no_access(f.files, "/dev/kfd and /dev/dri/renderD*"),
        lambda f: _join_groups(f.files),
    ),
    _Rule(
        "reboot_pending",
        lambda f: f.host.reboot_required,
        lambda _: "The system asks for a reboot; until then the driver may be replaced in part.",
        lambda _: "`systemctl reboot`",
    ),
)

_INTEL: tuple[_Rule[IntelFacts], ...] = (
    _Rule(
        "bound_to_vfio",
        lambda f: "vfio-pci" in f.bus_drivers,
        lambda f: f"{f.bus_drivers.count('vfio-pci')} Intel GPU(s) are reserved for virtual machines (vfio-pci).",
        lambda _: (
            "Remove the device from `vfio-pci.ids` on the kernel command line and reboot, or leave it to the guest."
        ),
    ),
    _Rule(
        "driver_missing",
        lambda f: not any(name in {"xe", "i915", "vfio-pci"} for name in f.bus_drivers),
        lambda f: f"{len(f.bus_drivers)} Intel GPU(s) on the PCI bus and neither xe nor i915 drives them.",
        lambda _: (
            "Use a kernel that knows the card (Arc B series: 6.11 or newer; Ubuntu: the HWE kernel), then reboot."
        ),
    ),
    _Rule(
        "render_nodes_missing",
        lambda f: any(name in {"xe", "i915"} for name in f.bus_drivers) and not f.files.render_nodes_present,
        lambda _: "The driver is loaded and /dev/dri/renderD* is missing.",
        lambda _: "`dmesg | grep -E 'xe|i915'` names the cause; missing firmware (linux-firmware) is the usual one.",
    ),
    _Rule(
        "no_device_access",
        lambda f: f.files.render_nodes_present and not f.files.accessible,
        lambda f: _no_access(f.files, "/dev/dri/renderD*"),
        lambda f: _join_groups(f.files),
    ),
    _Rule(
        "level_zero_missing",
        lambda f: not f.level_zero_present,
        lambda _: "Level Zero is missing: a vLLM run as a process cannot use the GPU (containers bring their own).",
        lambda _: f"`{INSTALL_COMMAND}`",
    ),
    _Rule(
        "reboot_pending",
        lambda f: f.host.reboot_required,
        lambda _: "The system asks for a reboot; until then the driver may be replaced in part.",
        lambda _: "`systemctl reboot`",
    ),
)
