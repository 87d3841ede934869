"""Control's part of `/metrics` and `/health`: shown while control is heard, absent when what it said is old."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modelgrid.gateway.core import Core

STALE_SECONDS = 30.0
"""Control sends a table at least every 10 s. Prometheus shows a gap where there are no samples, which is the truth."""


def _is_fresh(core: "Core") -> bool:
    heard = core.heard_control_at
    return heard is not None and core.loop.time() - heard <= STALE_SECONDS


def verdict(core: "Core") -> str:
    """Return the word of control's verdict on the fleet; `unknown` when it was not heard of late."""
    return core.table.verdict or "unknown" if core.table is not None and _is_fresh(core) else "unknown"


def control_part(core: "Core") -> str:
    """Return the text, with `modelgrid_control_up` that says whether the rest is there."""
    fresh = _is_fresh(core)
    text = (
        "# HELP modelgrid_control_up Whether the control process was heard in the last 30 s.\n"
        "# TYPE modelgrid_control_up gauge\n"
        f"modelgrid_control_up {int(fresh)}\n"
    )
    if not fresh or core.table is None or not core.table.control_metrics:
        return text
    said = core.table.control_metrics
    return text + (said if said.endswith("\n") else said + "\n")
