"""The OpenAPI document as it is published: what FastAPI derives from the routes, and what it cannot know: who may call,
what each refusal looks like, and examples."""

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI

from modelgrid.api.openapi_examples import OF_CALLS, example_of
from modelgrid.api.openapi_words import FRAMES, FURTHER, OF_ONE_CALL, PARAMETERS, REFUSALS, headers

TAGS: Mapping[str, str] = {
    "session": "Logging in and out, and who is logged in.",
    "overview": "Whether all is well, and what needs somebody.",
    "config": "config.json: what it says, what holds, changing it, and restarting the daemon.",
    "cluster": "How nodes come into the cluster and out of it.",
    "nodes": "Nodes, their GPUs and the drivers.",
    "targets": "What is desired, and where it landed.",
    "deployments": "vLLM instances: their life, their logs, their events, and what is left of those that ended.",
    "catalog": "What can be deployed, and what answers.",
    "access": "API keys of the gateway, tokens of this API, and users.",
    "logs": "What the daemon, the scheduler, the gateways and the engines say.",
    "metrics": "Series of figures.",
    "events": "What happened, and what happens now.",
}
"""In the order of the console."""

SECURITY: Mapping[str, Mapping[str, str]] = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "The token in the file `token` of the state directory, or one that was made for scripts.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "modelgrid-8081",
        "description": "The cookie of a login; its name ends with api.uiPort, and begins with `__Host-` under TLS.",
    },
}
OPEN = frozenset({("get", "/v1/_ui/health"), ("post", "/v1/_ui/login")})
"""Calls that need no credential."""
THROTTLED = frozenset({("post", "/v1/_ui/login"), ("post", "/v1/_ui/password")})
"""Calls that try a password."""

STREAM = "text/event-stream"
TEXT = "text/plain"

EXAMPLES: Mapping[str, Any] = {
    "ApiKeyBody": {"label": "batch jobs", "models": ["qwen2.5-0.5b"], "requests_per_minute": 600},
    "ConfigPatch": {"api": {"rateLimit": 600, "cors": ["https://chat.example.com"]}},
    "JoinBody": {"url": "https://control-a:8082", "token": "mgj-1nvqLvFjGmF2yqf0R4kT7xWv5sQbCzEh0aBcDe.5f70bf18…"},
    "LoginBody": {"user": "admin", "password": "a sentence is good"},
    "OwnPasswordBody": {"current": "the one-time password", "new": "a sentence is good"},
    "PasswordBody": {"password": "a sentence is good"},
    "PreviewBody": {"model": "qwen2.5-0.5b", "replicas": 2, "gpu_count": 1},
    "ScaleBody": {"replicas": 3},
    "TokenBody": {"label": "ci", "role": "viewer"},
    "TargetBody": {"replicas": 2, "gpu_count": 1, "context": 8192, "args": ["--max-num-seqs=64"]},
}
"""One of each request body. A body without one is refused by the tests."""


def publish(app: FastAPI) -> None:
    """Make the application's document the finished one."""
    derived = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _finished(derived())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _finished(document: dict[str, Any]) -> dict[str, Any]:
    document["tags"] = [{"name": name, "description": said} for name, said in TAGS.items()]
    components = document["components"]
    components["securitySchemes"] = dict(SECURITY)
    document["security"] = [{name: []} for name in SECURITY]
    for name, example in {**EXAMPLES, **FRAMES}.items():
        if name in components["schemas"]:
            components["schemas"][name]["examples"] = [example]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            said = operation.get("description")
            if said:
                operation["summary"] = first_sentence(said)
            for parameter in operation.get("parameters", ()):
                _without_null(parameter)
                _describe(parameter, operation["operationId"])
            if (method, path) in OPEN:
                operation["security"] = []
            _mend_other_types(operation["responses"])
            for status in _refusals(method, path, operation):
                operation["responses"].setdefault(status, _refusal(status))
            for status, response in operation["responses"].items():
                if found := headers(method, operation["operationId"], status):
                    response["headers"] = found
                if status[0] == "2":
                    _give_example(operation["operationId"], response, components["schemas"])
    return document


def _give_example(operation_id: str, response: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Have an answer say what it looks like: at its schema, which others share, or itself where it has none."""
    for kind, content in response.get("content", {}).items():
        name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
        if name:
            schemas[name].setdefault("examples", [example_of(name, schemas)])
        elif operation_id in OF_CALLS and kind != STREAM:
            content["example"] = OF_CALLS[operation_id]


def _mend_other_types(responses: dict[str, Any]) -> None:
    """FastAPI believes that what answers with a stream or with text refuses with it, too, and that the data of a stream
    is one string."""
    for status, response in responses.items():
        content = response.get("content", {})
        for kind in (STREAM, TEXT):
            if (other := content.get(kind)) is None:
                continue
            if status != "200":
                response["content"] = {"application/json": content.pop(kind)}
            elif kind == STREAM:
                other["schema"].pop("type", None)


def _without_null(parameter: dict[str, Any]) -> None:
    """Say of a parameter that it may be left out, not that it may be null: headers and URLs know no null."""
    options = parameter["schema"].get("anyOf", ())
    kept = [option for option in options if option != {"type": "null"}]
    if len(kept) == 1 < len(options):
        del parameter["schema"]["anyOf"]
        parameter["schema"] = kept[0] | parameter["schema"]


def _describe(parameter: dict[str, Any], operation_id: str) -> None:
    if "description" not in parameter and "description" not in parameter["schema"]:
        name = parameter["name"]
        parameter["description"] = OF_ONE_CALL.get((operation_id, name)) or PARAMETERS[name]


def first_sentence(text: str) -> str:
    return " ".join(text.split()).partition(". ")[0].partition(":")[0].rstrip(".")


def _refusal(status: str) -> dict[str, Any]:
    code, said, message = REFUSALS[status]
    example = {"error": {"code": code, "message": message, "fix": "", "details": {}}}
    schema = {"$ref": "#/components/schemas/ErrorView"}
    return {"description": said, "content": {"application/json": {"schema": schema, "example": example}}}


def _refusals(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    """Yield the statuses with which a call may be refused."""
    parameters = operation.get("parameters", ())
    changes = method != "get"
    yield from ("400", "421")
    if (method, path) not in OPEN or changes:
        yield from ("401", "403")
    if (method, path) in THROTTLED:
        yield "429"
    if "{" in path:
        yield "404"
    if changes:
        yield from ("409", "503", "507")
    if any(item["name"] == "if-match" for item in parameters):
        yield "412"
    if "requestBody" in operation:
        yield from ("413", "415")
    if parameters or "requestBody" in operation:
        yield "422"
    yield from FURTHER.get(operation["operationId"], ())
