"""Ids that people read, copy and type."""

import re
from typing import NewType

NodeName = NewType("NodeName", str)
"""Name of a node: a DNS label or a dotted host name."""
GpuId = NewType("GpuId", str)
"""`nvidia-0`, `amd-1`, `intel-0`: vendor and index on its node."""
ModelId = NewType("ModelId", str)
"""Canonical catalog id, for example `meta-llama/Llama-3.1-8B-Instruct`."""
DeploymentId = NewType("DeploymentId", str)
"""`<slug of the target>-<six base36 characters>`; unique over the cluster, safe as a container name."""

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_MAX_SLUG = 40


def slug(text: str) -> str:
    """Return the last path segment of `text` as lower-case letters, digits and single dashes.

    >>> slug("meta-llama/Llama-3.1-8B-Instruct")
    'llama-3-1-8b-instruct'
    """
    last = text.rstrip("/").rsplit("/", 1)[-1].lower()
    return re.sub(r"[^a-z0-9]+", "-", last).strip("-")[:_MAX_SLUG].strip("-") or "model"


def deployment_id(target: str, randomness: int) -> DeploymentId:
    """Return a new deployment id for `target`; `randomness` is any non-negative integer (31 bits are used)."""
    value = randomness % 36**6
    tail = ""
    for _ in range(6):
        value, digit = divmod(value, 36)
        tail = _ALPHABET[digit] + tail
    return DeploymentId(f"{slug(target)}-{tail}")
