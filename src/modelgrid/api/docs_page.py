"""The API's description as a page without scripts: the policy for pages allows none but the console's own."""

import json
from collections.abc import Iterator
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

router = APIRouter(include_in_schema=False)

_METHODS = ("get", "put", "post", "patch", "delete")


@router.get("/docs")
async def show_docs(request: Request) -> HTMLResponse:
    """Return all calls with their parameters, bodies and answers, and how to make each with curl."""
    return HTMLResponse(page(request.app.openapi(), str(request.base_url).rstrip("/")))


def page(document: dict[str, Any], base_url: str) -> str:
    return "\n".join(_lines(document, base_url))


def _lines(document: dict[str, Any], base_url: str) -> Iterator[str]:
    title = escape(document["info"]["title"])
    yield "<!doctype html>"
    yield '<html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
    yield f'<meta name="viewport" content="width=device-width"><title>{title}</title></head><body><main>'
    yield f"<h1>{title} {escape(document['info']['version'])}</h1>"
    yield f"<p>{escape(document['info']['description'])}</p>"
    yield '<p>For machines: <a href="openapi.json">openapi.json</a></p>'
    calls: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method in _METHODS:
            if method in methods:
                call = methods[method]
                block = "\n".join(_call(method.upper(), path, call, base_url))
                calls.setdefault(next(iter(call.get("tags", [])), "other"), []).append(block)
    for tag, blocks in calls.items():
        yield f"<h2>{escape(tag)}</h2>"
        yield from blocks
    yield "<h2>Schemas</h2>"
    for name, schema in document["components"]["schemas"].items():
        yield f'<details id="{escape(name)}"><summary>{escape(name)}</summary>{_json(schema)}</details>'
    yield "</main></body></html>"


def _call(method: str, path: str, call: dict[str, Any], base_url: str) -> Iterator[str]:
    yield f"<details><summary><code>{method} {escape(path)}</code> {escape(call.get('summary', ''))}</summary>"
    yield f"<p>{escape(call.get('description', ''))}</p>"
    if parameters := call.get("parameters"):
        yield "<table><tr><th>parameter</th><th>in</th><th>schema</th><th>meaning</th></tr>"
        for item in parameters:
            name = escape(item["name"]) + (" (required)" if item.get("required") else "")
            yield f"<tr><td>{name}</td><td>{escape(item['in'])}</td>"
            yield f"<td>{_json(item['schema'])}</td><td>{escape(item.get('description', ''))}</td></tr>"
        yield "</table>"
    body = call.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if body is not None:
        yield f"<h3>Body</h3>{_schema(body)}"
    for status, answer in call["responses"].items():
        yield f"<h3>{escape(status)} {escape(answer.get('description', ''))}</h3>"
        for content in answer.get("content", {}).values():
            yield _schema(content.get("schema", {}))
    yield f"<h3>curl</h3><pre>{escape(_curl(method, base_url + path, has_body=body is not None))}</pre></details>"


def _curl(method: str, url: str, *, has_body: bool) -> str:
    body = " -H 'Content-Type: application/json' -d '{…}'" if has_body else ""
    return f"curl -X {method} '{url}' -H \"Authorization: Bearer $MODELGRID_TOKEN\"{body}"


def _schema(schema: dict[str, Any]) -> str:
    if reference := schema.get("$ref"):
        name = escape(reference.rsplit("/", 1)[-1])
        return f'<p><a href="#{name}">{name}</a></p>'
    return _json(schema)


def _json(schema: dict[str, Any]) -> str:
    return f"<pre>{escape(json.dumps(schema, indent=1, ensure_ascii=False))}</pre>"
