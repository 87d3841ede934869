"""What of a GPU's readings needs somebody. The verdict, the console and scripts go by this one table."""

from dataclasses import dataclass
from enum import StrEnum

from modelgrid.domain.gpu import Gpu

SOFTWARE_XIDS = frozenset({13, 31, 43, 45})
"""Errors of what ran on the GPU, not of the GPU: NVIDIA's Xid catalog names the application as their usual cause."""
SLOWED_BY = frozenset(
    {"hardware_slowdown", "software_thermal_slowdown", "hardware_thermal_slowdown", "hardware_power_brake"}
)
"""Heat or a failing power supply. Other reasons, such as the power cap, are how a GPU works under load."""


class FaultSeverity(StrEnum):
    CRITICAL = "critical"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFault:
    severity: FaultSeverity
    what: str
    """A clause that follows the GPU's name: `is throttled: hardware_slowdown`."""
    impact: str


def gpu_faults(gpu: Gpu) -> tuple[GpuFault, ...]:
    """Return what is wrong with a GPU, worst first; empty when it is well."""
    found: list[GpuFault] = []
    xids = [code for code in gpu.xid_errors if code not in SOFTWARE_XIDS]
    if xids:
        what = f"has reported XID {', '.join(map(str, xids))} since the machine started"
        found.append(GpuFault(severity=FaultSeverity.CRITICAL, what=what, impact="What runs there may fail."))
    if gpu.ecc_uncorrected_errors:
        many = gpu.ecc_uncorrected_errors
        what = f"has {many} uncorrected memory {'error' if many == 1 else 'errors'} (ECC)"
        found.append(GpuFault(severity=FaultSeverity.CRITICAL, what=what, impact="What runs there may fail."))
    slowed = [reason for reason in gpu.throttle_reasons if reason in SLOWED_BY]
    if slowed:
        what = f"is throttled: {', '.join(slowed).replace('_', ' ')}"
        found.append(GpuFault(severity=FaultSeverity.WARNING, what=what, impact="What runs there is slower."))
    return tuple(found)
