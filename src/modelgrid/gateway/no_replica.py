"""What a client is told whose request no replica takes: 503, why, and when to come again."""

from modelgrid.gateway.errors import Refusal
from modelgrid.gateway.fleet import ModelEntry


def line_full(model: ModelEntry) -> Refusal:
    """Too many wait already, or would have to wait for too long."""
    return _for_now(model, "queue_full", f"Too many requests wait for {_name(model)} already")


def waited_too_long(model: ModelEntry) -> Refusal:
    """It waited as long as requests may."""
    if model.has_ready_replica:
        return _for_now(model, "queue_timeout", f"Every replica of {_name(model)} is busy")
    return _for_now(model, "queue_timeout", f"No replica of {_name(model)} became ready in time")


def none_to_wait_for(model: ModelEntry, *, removed: bool, tried: bool) -> Refusal:
    """No replica takes it now or later. `removed`: from the table; `tried`: it has been to a replica that failed."""
    if removed:
        return _for_now(model, "model_removed", f"The model {_name(model)} was removed")
    if tried or model.out_of_reach:
        return _for_now(model, "model_unreachable", f"No replica of {_name(model)} can be reached")
    return _for_now(model, "model_not_running", f"The model {_name(model)} is not running")


def _for_now(model: ModelEntry, code: str, message: str) -> Refusal:
    reason = f": {model.route.reason}." if model.route.reason else "."
    return Refusal(status=503, code=code, message=message + reason, retry_after=model.line.look().retry_after)


def _name(model: ModelEntry) -> str:
    return f"'{model.route.id}'"
