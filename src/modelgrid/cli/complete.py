"""Shell completion of what the daemon knows. It answers within a second, or not at all."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

from modelgrid.cli.session import Session
from modelgrid.domain.errors import ModelGridError

if TYPE_CHECKING:
    from modelgrid.client.http import ModelGridClient

PATIENCE_SECONDS = 0.8

Candidates = list[tuple[str, str]]


def _session(context: typer.Context) -> Session:
    """Return where the daemon is, from the options typed so far: completing parses, and runs no command."""
    said: dict[str, Any] = {}
    here: Any = context
    while here is not None:
        said = {**{name: value for name, value in here.params.items() if value is not None}, **said}
        here = here.parent
    return Session(
        config_path=said.get("config"), state_dir=said.get("state_dir"), url=said.get("url"), token=said.get("token")
    )


def _ask(context: typer.Context, incomplete: str, question: "Callable[[ModelGridClient], Candidates]") -> Candidates:
    try:
        with _session(context).client(PATIENCE_SECONDS) as client:
            found = question(client)
    except ModelGridError:
        # No daemon, no suggestions: a message would land in the middle of what is being typed.
        return []
    return [(name, text) for name, text in found if name.casefold().startswith(incomplete.casefold())]


def deployments(context: typer.Context, incomplete: str) -> Candidates:
    """Ids of deployments, with their model and state."""
    taken = set(context.params.get("deployments") or ())
    return _ask(
        context,
        incomplete,
        lambda client: [
            (item["id"], f"{item['model']}, {item['state']}")
            for item in client.list_deployments()["items"]
            if item["id"] not in taken
        ],
    )


def models(context: typer.Context, incomplete: str) -> Candidates:
    """Ids and aliases of the catalog."""
    return _ask(
        context,
        incomplete,
        lambda client: [
            (name, " and ".join(item["capabilities"]) if name == item["id"] else item["id"])
            for item in client.list_catalog()["items"]
            for name in (item["id"], *item["aliases"])
        ],
    )


def gpus(context: typer.Context, incomplete: str) -> Candidates:
    """Ids of GPUs, with their names."""
    return _ask(
        context,
        incomplete,
        lambda client: [(item["gpu"]["id"], item["gpu"]["name"]) for item in client.list_gpus()["items"]],
    )


def nodes(context: typer.Context, incomplete: str) -> Candidates:
    """Names of nodes."""
    return _ask(
        context,
        incomplete,
        lambda client: [(item["name"], str(item["status"])) for item in client.list_nodes()["items"]],
    )


def api_keys(context: typer.Context, incomplete: str) -> Candidates:
    """Ids of API keys that are in use, with their labels."""
    return _ask(
        context,
        incomplete,
        lambda client: [
            (item["id"], item["label"]) for item in client.list_api_keys()["items"] if item["status"] == "active"
        ],
    )


def tokens(context: typer.Context, incomplete: str) -> Candidates:
    """Ids of tokens that are in use, with their labels."""
    return _ask(
        context,
        incomplete,
        lambda client: [
            (item["id"], item["label"]) for item in client.list_tokens()["items"] if item["status"] == "active"
        ],
    )
