"""An example of every answer, put together from one of each member: the same noun means the same everywhere."""

from collections.abc import Mapping
from typing import Any

AT = 1790000000.0
_GIB = 1024**3

MEMBERS: Mapping[str, Any] = {
    "action": "put_target",
    "added": "2026-05-04",
    "advertise_url": "https://node-01:8082",
    "after": 600,
    "agent": "Mozilla/5.0 (X11; Linux x86_64)",
    "aliases": ["qwen2.5-0.5b"],
    "api_url": "http://127.0.0.1:8080/v1",
    "args": ["--max-num-seqs=64"],
    "assigned_to": "qwen2-5-0-5b-instruct-04k2x9",
    "attempt": 1,
    "before": None,
    "by": "admin",
    "cause": "The engine ran out of GPU memory while it loaded the model.",
    "changed": ["qwen3-4b"],
    "code": "too_little_memory",
    "command": "modelgrid cluster join --url https://control-a:8082 --token mgj-…",
    "compute_capability": "9.0",
    "console_url": "http://127.0.0.1:8081",
    "context": 32_768,
    "control_plane": "control-a",
    "control_plane_console_private": False,
    "control_plane_console_url": "https://control-a:8081",
    "control_plane_url": "https://control-a:8082",
    "count": 128,
    "created_by": "admin",
    "default_context": 32_768,
    "default_gpus": 1,
    "deployment": "qwen2-5-0-5b-instruct-04k2x9",
    "driver_version": "580.95.05",
    "dtype": "bfloat16",
    "engine_id": "c0ffee12d00d",
    "engine_problem": "",
    "engine_url": "http://127.0.0.1:20000",
    "error": "",
    "error_ratio": 0.0,
    "errors_per_second": 0.0,
    "etag": '"5f70bf18a086007016e948b04aed3b82"',
    "evidence": "torch.OutOfMemoryError: CUDA out of memory.",
    "expected": "a number from 1 to 65535",
    "fingerprint": "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
    "fix": "Take a smaller context, or more GPUs.",
    "formula": "494,032,768 parameters × 2 bytes",
    "gpu": "nvidia-0",
    "gpu_count": 1,
    "gpu_models": ["NVIDIA H100 80GB HBM3"],
    "gpu_utilization_percent": 37.5,
    "gpus": ["nvidia-0"],
    "hash": "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
    "head": "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
    "id": "qwen2-5-0-5b-instruct-04k2x9",
    "image": "vllm/vllm-openai:v0.18.0",
    "impact": "Requests for it wait, or are refused.",
    "install": "curl -fsS https://control-a:8082/install.sh | sh",
    "intent": "run",
    "intent_reason": "",
    "kind": "deployment_placed",
    "kv_cache_ratio": 0.25,
    "label": "batch jobs",
    "labels": {"rack": "1"},
    "left_out": 0,
    "licence": "apache-2.0",
    "link": "/deployments/active",
    "location": "https://registry.modelgrid.example/catalog.json",
    "long_range": 86_400,
    "message": "qwen2-5-0-5b-instruct-04k2x9 is ready",
    "model": "Qwen/Qwen2.5-0.5B-Instruct",
    "name": "Qwen/Qwen2.5-0.5B-Instruct",
    "next_after": None,
    "next_before": None,
    "node": "node-01",
    "nodes": ["node-01"],
    "note": "",
    "notes": [],
    "origin": "api",
    "p50": 0.04,
    "p95": 0.09,
    "p99": 0.2,
    "path": "api.rateLimit",
    "pci_address": "0000:17:00.0",
    "pending": [],
    "phase": "",
    "platform": "1 NVIDIA GPU, engines in Docker",
    "points": [[AT, 3.5], [AT + 1, None]],
    "port": 20_000,
    "prefix": "mg-0Ab1Cd2E",
    "problem": "",
    "reason": "chosen: 78.2 GiB free, 5.10 GiB needed",
    "remedy": "Take a smaller context, or more GPUs.",
    "removed": [],
    "repository": "Qwen/Qwen2.5-0.5B-Instruct",
    "runtimes": ["docker"],
    "revoked_at": None,
    "role": "control-plane",
    "runtime": "docker",
    "scope": "all models",
    "secret": "mg-0Ab1Cd2E…",
    "sentence": "All is well.",
    "source": "daemon",
    "state": "running",
    "status": "ready",
    "step": 1,
    "stream": "stderr",
    "subject": "deployment",
    "subject_id": "qwen2-5-0-5b-instruct-04k2x9",
    "summary": "placed on node-01, nvidia-0",
    "target": "Qwen/Qwen2.5-0.5B-Instruct",
    "text": "requests answered",
    "throttle_reasons": [],
    "token": "mgj-1nvqLvFjGmF2yqf0R4kT7xWv5sQbCzEh0aBcDe.5f70bf18…",
    "toolkit_version": "1.17.8",
    "trouble": "",
    "unhealthy_since": None,
    "unit": "requests/s",
    "updated_by": "admin",
    "url": "https://control-a:8082",
    "user": "admin",
    "uuid": "GPU-1f0a2b3c-4d5e-6f70-8192-a3b4c5d6e7f8",
    "value": "many",
    "version": "0.1.0",
    "vllm_args": [],
    "what": "row remapping failed",
    "who": "admin",
    "xid_errors": [],
}
"""By name, of those whose value means something. Without one: a member that may be null is null, a number is told by
its unit, a word of a list is the first. Texts have one each, which the tests hold."""

OF_ONE: Mapping[tuple[str, str], Any] = {
    ("ApiKeyView", "id"): "key-0Ab1Cd2Ef3",
    ("Check", "name"): "store",
    ("ClientList", "items"): [],
    ("ClientList", "message"): "not yet configured",
    ("JoinSnippet", "config"): '{"cluster": {"role": "worker"}}',
    ("DeploymentDetail", "reason"): "",
    ("DeploymentView", "reason"): "",
    ("Drift", "added"): [],
    ("EventView", "message"): "placed on node-01, nvidia-0",
    ("GpuProcess", "name"): "VLLM::EngineCore",
    ("Gpu", "name"): "NVIDIA H100 80GB HBM3",
    ("GpuView", "deployments"): ["qwen2-5-0-5b-instruct-04k2x9"],
    ("GpuView", "id"): "node-01/nvidia-0",
    ("HistoryView", "reason"): "removed by admin",
    ("MemoryTerm", "name"): "weights",
    ("MetricName", "labels"): [],
    ("MetricName", "name"): "requests_per_second",
    ("NewApiKey", "id"): "key-0Ab1Cd2Ef3",
    ("NewTokenView", "id"): "token-0Ab1Cd2Ef3",
    ("NodeView", "name"): "node-01",
    ("SeriesView", "name"): "requests_per_second",
    ("SessionItem", "id"): "0Ab1Cd2Ef3",
    ("SourceStatus", "name"): "registry",
    ("TokenView", "id"): "token-0Ab1Cd2Ef3",
}
"""By schema and name, where the same name means something else."""

OF_CALLS: Mapping[str, Any] = {
    "metrics_scrape_config": "- job_name: modelgrid\n  scrape_interval: 15s\n",
}
"""By operation, of answers that have no schema of their own."""

_UNITS: Mapping[str, Any] = {
    "_at": AT,
    "since": AT,
    "_bytes": 5 * _GIB,
    "_percent": 37.5,
    "_per_second": 3.5,
    "_seconds": 60.0,
    "_watts": 312.0,
    "_celsius": 54.0,
}
_SIMPLE: Mapping[str | None, Any] = {"boolean": False, "integer": 1, "number": 0.5}
_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "array": list,
    "object": dict,
    "boolean": bool,
}


def example_of(name: str, schemas: Mapping[str, Any]) -> Any:
    """Return an example of the component `name`. Raises `LookupError` for a text that has none."""
    return _of_schema(schemas[name], schemas, name, ())


def _of_schema(schema: Mapping[str, Any], schemas: Mapping[str, Any], owner: str, inside: tuple[str, ...]) -> Any:
    if reference := schema.get("$ref"):
        owner = reference.rpartition("/")[2]
        return _of_schema(schemas[owner], schemas, owner, (*inside, owner))
    if options := schema.get("anyOf"):
        return _of_schema(options[0], schemas, owner, inside)
    if "enum" in schema or "const" in schema:
        return schema["const"] if "const" in schema else schema["enum"][0]
    match schema.get("type"):
        case "object":
            members = schema.get("properties", {})
            return {name: _of_member(owner, name, item, schemas, inside) for name, item in members.items()}
        case "array":
            items = schema.get("items", {})
            return [] if _repeats(items, inside) else [_of_schema(items, schemas, owner, inside)]
        case "string":
            raise LookupError(f"a list of texts in {owner} needs an example")
        case simple:
            return _SIMPLE.get(simple)


def _of_member(
    owner: str, name: str, schema: Mapping[str, Any], schemas: Mapping[str, Any], inside: tuple[str, ...]
) -> Any:
    if (owner, name) in OF_ONE:
        return OF_ONE[owner, name]
    if name in MEMBERS and _is_one(MEMBERS[name], schema, schemas):
        return MEMBERS[name]
    for unit, value in _UNITS.items():
        if name.endswith(unit):
            for kind in (float, int):
                if _is_one(kind(value), schema, schemas):
                    return kind(value)
    if _is_one(None, schema, schemas):
        return None
    if schema.get("type") == "string" and "enum" not in schema and "const" not in schema:
        raise LookupError(f"{owner}.{name} needs an example")
    return _of_schema(schema, schemas, owner, inside)


def _is_one(value: Any, schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> bool:
    """Tell, roughly, whether `value` is of the schema; the tests look closely."""
    if reference := schema.get("$ref"):
        schema = schemas[reference.rpartition("/")[2]]
    if options := schema.get("anyOf"):
        return any(_is_one(value, option, schemas) for option in options)
    if "enum" in schema:
        return value in schema["enum"]
    kind = schema.get("type")
    if kind is None:
        return not schema.keys() & {"const", "oneOf"}
    if value is None or isinstance(value, bool):
        return bool(kind == ("null" if value is None else "boolean"))
    if kind == "array" and isinstance(value, list):
        return all(_is_one(item, schema.get("items", {}), schemas) for item in value)
    return isinstance(value, _KINDS.get(kind, ()))


def _repeats(items: Mapping[str, Any], inside: tuple[str, ...]) -> bool:
    return items.get("$ref", "").rpartition("/")[2] in inside
