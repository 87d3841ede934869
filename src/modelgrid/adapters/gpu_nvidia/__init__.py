"""NVIDIA GPUs through NVML."""

from modelgrid.adapters.gpu_nvidia.probe import NvidiaProbe

__all__ = ["NvidiaProbe"]
