"""AMD GPUs through amdgpu's sysfs and the KFD topology."""

from modelgrid.adapters.gpu_amd.probe import AmdProbe

__all__ = ["AmdProbe"]
