"""What the OpenAPI document says of parameters, headers and refusals: the same in every call that has them."""

from collections.abc import Mapping
from typing import Any

PARAMETERS: Mapping[str, str] = {
    "Last-Event-ID": "Like `last_event_id`, and goes before it: what a browser sends when it connects again.",
    "action": "What is to be done.",
    "after": "Only what came after this place, a number of the answer before.",
    "before": "Only what came before this place, a number of the answer before.",
    "deployment": "Id of a deployment; the beginning will do where it is the only one that begins so.",
    "dry_run": "Answer the difference, and change nothing.",
    "format": "`ndjson`: one JSON object a line, as many as there are.",
    "gpu": "Id of a GPU on its node, like `nvidia-0`.",
    "key": "Id of an API key, or its label or prefix where no other has it.",
    "last_event_id": "Id of a frame or of an answer (`X-Event-Id`) after which the stream is to go on.",
    "level": "Of the log: the least severe level.",
    "limit": "No more than so many.",
    "model": "Id of a model.",
    "name": "Name of a node.",
    "newest_first": "Begin with the newest.",
    "node": "Name of a node.",
    "origin": "Who asked for it: config.json, the catalog, or a caller of the API.",
    "session": "Id of a login session.",
    "source": "Of the log, repeatable: `daemon`, `scheduler`, `gateway` or `deployment:<id>`.",
    "status": "Only those that hold, or only those that do not.",
    "subject": "What the events are about.",
    "subject_id": "Name or id of what they are about.",
    "tail": "No more than so many lines, the last ones.",
    "token": "Id of a token, or its label or prefix where no other has it.",
    "topics": "Separated by commas: `overview`, `deployments`, `deployment:<id>`, …",
    "wait": "With `after`: seconds to wait for something newer.",
    "who": "Only what this caller did.",
}
"""By name, for those of which the code says nothing."""

OF_ONE_CALL: Mapping[tuple[str, str], str] = {
    ("list_audit", "action"): "Only calls with this operation id, like `put_target`.",
    ("list_history", "model"): "Id of a model, or name of a target.",
    ("metrics_series", "model"): "Only series with this label.",
    ("metrics_series", "deployment"): "Only series with this label.",
    ("metrics_series", "node"): "Only series with this label.",
    ("metrics_series", "gpu"): "Only series with this label.",
    ("delete_target", "model"): "Name of a target, or an alias of its model.",
    ("put_target", "model"): "Id of a model, or an alias of it.",
    ("scale_target", "model"): "Name of a target, or an alias of its model.",
    ("set_password", "name"): "Name of a user.",
    ("show_target", "model"): "Name of a target, or an alias of its model.",
}
"""By operation and name, where the same name means something else."""

_TEXT = {"type": "string"}
_EVENT_ID = {"description": "Position in the stream up to which the answer is current.", "schema": _TEXT}
_ETAG = {"description": "State of what is answered, for `If-Match`.", "schema": _TEXT}
_RETRY_AFTER = {"description": "Seconds.", "schema": {"type": "integer"}}
_CHALLENGE = {"description": "`Bearer`.", "schema": _TEXT}

ETAGGED = frozenset(
    {"show_config", "patch_config", "show_node", "act_on_node", "show_target", "put_target", "scale_target"}
)
"""Operations whose answers carry an `ETag`."""


def headers(method: str, operation_id: str, status: str) -> dict[str, Any]:
    """Return the headers of an answer that mean something to the caller."""
    found: dict[str, Any] = {}
    if method == "get" and status == "200":
        found["X-Event-Id"] = _EVENT_ID
    if operation_id in ETAGGED and status == "200":
        found["ETag"] = _ETAG
    if status == "401":
        found["WWW-Authenticate"] = _CHALLENGE
    if status == "429":
        found["Retry-After"] = _RETRY_AFTER
    return found


FURTHER: Mapping[str, tuple[str, ...]] = {
    "deployment_events": ("503",),
    "deployment_logs": ("502", "503"),
    "deployment_metrics": ("502",),
    "join_cluster": ("502",),
    "list_audit": ("503",),
    "list_events": ("503",),
    "list_history": ("503",),
    "list_logs": ("404", "502"),
    "preview_target": ("404",),
    "show_history": ("503",),
    "stream_events": ("503",),
    "verify_audit": ("503",),
}
"""Statuses of refusals that an operation has beside those which follow from its method, path and parameters: what asks
another node, reads the database, or names something in its query or body."""

REFUSALS: Mapping[str, tuple[str, str, str]] = {
    "400": ("malformed_request", "The request cannot be read at all.", "The request has no Host."),
    "401": ("unauthenticated", "No credential, or one that is not known.", "This call needs a credential."),
    "403": (
        "forbidden",
        "The credential does not carry this right, or the call comes from another site.",
        "A viewer may only read.",
    ),
    "404": ("not_found", "There is no such thing.", "There is no node 'a'."),
    "409": (
        "conflict",
        "Its present state or origin does not allow it.",
        "chat comes from `containers` in config.json and can only be started and stopped here.",
    ),
    "412": (
        "precondition_failed",
        "`If-Match` names another state of it: somebody else changed it first.",
        "It is at revision 8 now.",
    ),
    "413": ("too_large", "The body is too large.", "The body is larger than 1 MiB."),
    "415": ("invalid_input", "The body is of a type that is not read.", "The body is to be JSON."),
    "421": (
        "misdirected",
        "The host that the call names is none of this daemon's.",
        "'example.com' is not a name of this console.",
    ),
    "422": (
        "invalid_input",
        "Something in the request is malformed or not allowed; `details` says where and what was expected.",
        "replicas is 65; 0 to 64 are allowed.",
    ),
    "429": (
        "too_many_requests",
        "Too many tries; `Retry-After` says when to come back.",
        "Too many tries from here. The next one is possible in 8 s.",
    ),
    "502": (
        "node_unreachable",
        "The other node that this is asked of does not answer.",
        "gpu-2, where this is, does not answer: timed out.",
    ),
    "503": (
        "store_unavailable",
        "The database or the runtime does not answer, or as many streams are open as can be.",
        "The database did not answer for 15 s.",
    ),
    "507": ("storage_full", "The disk is full; nothing was changed.", "The disk is full."),
}
"""By status: the code of an example, what it means, and a message."""

FRAMES: Mapping[str, Any] = {
    "Beat": {"at": 1790000005.0},
    "Changed": {"topic": "apikeys", "op": "remove", "key": "key-0Ab1Cd2Ef3", "value": None},
    "Hello": {"epoch": "Mkq5Luaws1Y", "at": 1790000000.0, "id": "Mkq5Luaws1Y-30"},
    "Lagged": {"reason": "nothing was read for 10 s"},
    "Reset": {"reason": "the daemon was restarted", "topics": ["deployments", "overview"]},
}
"""One of each frame of the stream."""
