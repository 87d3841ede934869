"""What the gateway answers itself: health, metrics and the list of models."""

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import msgspec

from modelgrid.domain.routing import ModelState
from modelgrid.gateway.control_part import verdict
from modelgrid.gateway.errors import Refusal
from modelgrid.gateway.fleet import ModelEntry
from modelgrid.gateway.keys import Grant
from modelgrid.gateway.metrics import exposition

if TYPE_CHECKING:
    from modelgrid.gateway.core import Core
    from modelgrid.gateway.request import Request

JSON = b"application/json"
_encode = msgspec.json.Encoder().encode
_MODELS = b"/v1/models"
_ABSENT = frozenset((ModelState.STOPPED, ModelState.ON_REQUEST))
PROBES = frozenset((b"/health", b"/metrics"))
"""Not counted: they would drown what users do."""
NOT_READY = Refusal(status=503, code="starting", message="This gateway has no routing table yet.", retry_after=1)


def unknown_model(name: str) -> Refusal:
    """Return the refusal for a model that does not exist, or that the key may not use: the two look the same."""
    shown = name if len(name) <= 128 else name[:128] + "…"
    return Refusal(
        status=404,
        code="model_not_found",
        message=f"The model '{shown}' does not exist or this key may not use it. GET /v1/models lists what it may use.",
        param="model",
    )


def answer(core: "Core", request: "Request") -> tuple[int, bytes, bytes] | Refusal:
    """Return (status, content type, body) for one of the gateway's own paths. The key was checked already."""
    if request.path == b"/health":
        return _health(core)
    grant = request.grant
    assert grant is not None  # noqa: S101 (check_head lets only /health pass without one)
    if request.path == b"/metrics":
        if grant.models is not None:
            return Refusal(
                status=403,
                code="key_restricted",
                message="A key that is bound to some models does not see the metrics.",
            )
        return 200, b"text/plain; version=0.0.4; charset=utf-8", exposition(core)
    if request.path == _MODELS:
        visible = [model for model in core.fleet.models() if _listed(model, grant)]
        entries = [_entry(model, name) for model in visible for name in _names(model)]
        return 200, JSON, _encode({"object": "list", "data": entries})
    name = unquote_to_bytes(request.path[len(_MODELS) + 1 :]).decode("utf-8", "replace")
    found = core.fleet.find(name)
    if found is None or not _listed(found, grant):
        return unknown_model(name)
    return 200, JSON, _encode(_entry(found, name))


def _health(core: "Core") -> tuple[int, bytes, bytes]:
    if core.draining:
        return 503, JSON, b'{"status":"draining","reason":"This gateway process is shutting down."}'
    if core.table is None:
        return (
            503,
            JSON,
            b'{"status":"starting","reason":"No routing table yet, neither from control nor from the cache."}',
        )
    return 200, JSON, _encode({"status": "ok", "verdict": verdict(core)})


def _listed(model: ModelEntry, grant: Grant) -> bool:
    return grant.allows(model.names) and (model.route.state not in _ABSENT or model.has_ready_replica)


def _names(model: ModelEntry) -> tuple[str, ...]:
    return tuple(dict.fromkeys((model.route.id, *model.route.names)))


def _entry(model: ModelEntry, name: str) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": model.route.created,
        "owned_by": "modelgrid",
        "root": model.route.id,
        "parent": None,
        "max_model_len": model.route.context,
    }
