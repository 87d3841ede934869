"""Product names from AMD's tools: amd-smi (ROCm 6.4 and newer) or rocm-smi."""

from pathlib import Path
from typing import Any

from modelgrid.adapters.pci.host import find_binary
from modelgrid.adapters.pci.tool import run_json


def product_names(root: Path = Path("/")) -> dict[str, str]:
    """Return the product name per PCI address; empty when no tool is installed or none answers. Blocking, seconds."""
    names = _from_amd_smi(run_json(find_binary("amd-smi", root), "static", "--asic", "--bus", "--json"))
    return names or _from_rocm_smi(run_json(find_binary("rocm-smi", root), "--showproductname", "--showbus", "--json"))


def _from_amd_smi(document: Any) -> dict[str, str]:
    # A list of devices; ROCm 7 wraps it in {"gpu_data": […]}.
    devices = document.get("gpu_data") if isinstance(document, dict) else document
    names: dict[str, str] = {}
    for device in devices if isinstance(devices, list) else []:
        name = _text(device, "asic", "market_name")
        address = _text(device, "bus", "bdf")
        if name and address:
            names[address.lower()] = name
    return names


def _from_rocm_smi(document: Any) -> dict[str, str]:
    names: dict[str, str] = {}
    for card in document.values() if isinstance(document, dict) else []:
        # "Card series" up to ROCm 6.0, "Card Series" since.
        name = _text(card, "Card Series") or _text(card, "Card series")
        address = _text(card, "PCI Bus")
        if name and address:
            names[address.lower()] = name
    return names


def _text(value: Any, *path: str) -> str:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value.strip() if isinstance(value, str) and value.strip() != "N/A" else ""
