"""From a whole request to the model it is for, or to why it may not pass."""

from typing import TYPE_CHECKING

from modelgrid.gateway import local
from modelgrid.gateway.errors import Refusal
from modelgrid.gateway.fleet import ModelEntry
from modelgrid.gateway.scan import BadBody, fields_of

if TYPE_CHECKING:
    from modelgrid.gateway.core import Core
    from modelgrid.gateway.request import Request


def admit(core: "Core", request: "Request", body: bytes) -> ModelEntry | Refusal:
    """Return the model that `body` names, when the request's key may use it now. Charges the limits of the key."""
    grant = request.grant
    assert grant is not None  # noqa: S101 (check_head lets nothing with an endpoint pass without one)
    core.counters.key_last_used[grant.id] = core.deadlines.wall
    try:
        fields = fields_of(body, request.content_type)
    except BadBody as error:
        return Refusal(status=400, code="invalid_body", message=f"{error}.", param="model")
    name = fields.model or ""
    model = core.fleet.find(name)
    if model is None or not grant.allows(model.names):
        return local.unknown_model(name)
    request.fields = fields
    if grant.limiter is not None:
        refusal = grant.limiter.admit(request, fields, len(body), model.route.context)
        if refusal is not None:
            return refusal
    return model
