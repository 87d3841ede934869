"""The way to a working GPU driver on each distribution, as a list of commands. Nothing here runs anything.

Written after the vendors' own guides, which each step names. Every command is an argument list, so what is shown is
what runs, without a shell: files are downloaded to their place by curl, and single lines are written by sed and awk.
A distribution that is not known gives the guide to read, and no guess.
"""

from modelgrid.decide.driver_plan import Distribution, InstallFacts, InstallStep, parse_os_release
from modelgrid.decide.driver_plan_amd_intel import amd_steps, intel_steps
from modelgrid.decide.driver_plan_nvidia import nvidia_steps
from modelgrid.domain.gpu import GpuVendor

__all__ = ["Distribution", "InstallFacts", "InstallStep", "install_steps", "parse_os_release"]

_PLANS = {GpuVendor.NVIDIA: nvidia_steps, GpuVendor.AMD: amd_steps, GpuVendor.INTEL: intel_steps}


def install_steps(vendor: GpuVendor, facts: InstallFacts) -> tuple[InstallStep, ...]:
    """Return the steps to a working driver, in order. Empty when nothing is missing.

    Stop at a step with `reboot_after` and start again after the reboot: what is done by then is not listed again.
    """
    return _PLANS[vendor](facts)
