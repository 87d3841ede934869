"""Intel GPU cards through the sysfs of i915 and xe."""

from modelgrid.adapters.gpu_intel.probe import IntelProbe

__all__ = ["IntelProbe"]
