"""Whether a node's version and the control plane's may work together: one minor version apart they may, so that a
cluster is upgraded node by node."""

import re
from typing import NamedTuple

_RELEASE = re.compile(r"v?(\d{1,6})\.(\d{1,6})(?![0-9])")


class Skew(NamedTuple):
    """`ok`: the node may join and stay. `note` is one sentence for people: why not and what to do, or what is to be
    mended in time; empty when there is nothing to say."""

    ok: bool
    note: str


def skew(control_version: str, node_version: str) -> Skew:
    """Compare two versions, such as `1.4.2`, by major and minor number; the rest never matters."""
    control, node = _release(control_version), _release(node_version)
    if control is None or node is None:
        named, whose = (control_version, "the control plane") if control is None else (node_version, "the node")
        shown = f"'{named[:40]}'" if named else "nothing"
        fix = f"Install a release of ModelGrid on {whose}."
        return Skew(False, f"{whose[0].upper()}{whose[1:]} names {shown} as its version; expected a release. {fix}")
    if control == node:
        return Skew(True, "")
    here, there = f"{control[0]}.{control[1]}", f"{node[0]}.{node[1]}"
    what = f"The node runs ModelGrid {there}, the control plane {here}"
    upgrade = "Upgrade the control plane." if node > control else "Upgrade the node."
    if control[0] != node[0]:
        return Skew(False, f"{what}: different major versions do not work together. {upgrade}")
    apart = abs(control[1] - node[1])
    if apart > 1:
        return Skew(False, f"{what}: {apart} minor versions apart, and one is the most that works. {upgrade}")
    return Skew(True, f"{what}: one minor version apart works, while you upgrade. {upgrade}")


def _release(version: str) -> tuple[int, int] | None:
    found = _RELEASE.match(version)
    return None if found is None else (int(found[1]), int(found[2]))
