"""`modelgrid model …`: the catalog."""

from typing import TYPE_CHECKING, Annotated

import typer

from modelgrid.cli import complete
from modelgrid.cli.options import Json, new_noun, session_of, verbs
from modelgrid.cli.output import counted, print_json, say
from modelgrid.cli.tables import NOTHING, Column, facts, table
from modelgrid.domain.model import Capability
from modelgrid.domain.units import GIB, format_bytes

if TYPE_CHECKING:
    from modelgrid.client.views import CatalogList, CatalogView

_COLUMNS = (
    Column("model"),
    Column("aliases", drop=5),
    Column("for", drop=3),
    Column("params", drop=1, right=True),
    Column("context", drop=4, right=True),
    Column("vram", right=True),
    Column("licence", drop=2),
    Column("source", drop=6),
)


def register(app: typer.Typer) -> None:
    noun = new_noun("The catalog of models that can be deployed.")
    verbs(noun, list=list_models, show=show_model, refresh=refresh)
    app.add_typer(noun, name="model")


def list_models(
    context: typer.Context,
    search: Annotated[str | None, typer.Argument(help="Only models whose id or alias contains this.")] = None,
    capability: Annotated[Capability | None, typer.Option(help="Only models for this.")] = None,
    max_vram: Annotated[float | None, typer.Option(min=0, help="Only what needs at most so many GiB per GPU.")] = None,
    as_json: Json = False,
) -> None:
    """List the catalog, smallest need first."""
    with session_of(context).client() as client:
        answer = client.list_catalog()
    wanted = (search or "").casefold()
    items = [
        item
        for item in answer["items"]
        if (capability is None or capability in item["capabilities"])
        and (max_vram is None or item["vram_bytes"] <= max_vram * GIB)
        and any(wanted in name.casefold() for name in (item["id"], *item["aliases"]))
    ]
    items.sort(key=lambda item: (item["vram_bytes"] * item["default_gpus"], item["id"]))
    if as_json:
        print_json({**answer, "items": items})
        return
    table(
        _COLUMNS,
        (_row(item) for item in items),
        empty="No model of the catalog is like that. See: modelgrid model list",
    )
    _say_notes(answer)


def _row(item: "CatalogView") -> list[object]:
    return [
        item["id"],
        ", ".join(item["aliases"]) or NOTHING,
        ", ".join(item["capabilities"]),
        _parameters(item["parameters"]),
        f"{_tokens(item['default_context'])} of {_tokens(item['context'])}",
        f"{item['default_gpus']} × {format_bytes(item['vram_bytes'])}",
        item["licence"] + (" (gated)" if item["gated"] else ""),
        item["source"],
    ]


def _parameters(count: int) -> str:
    """Return a count as it is written of models: `0.6 B`, `23 M`."""
    return f"{count / 1e9:.3g} B" if count >= 1e8 else f"{count / 1e6:.3g} M"


def _tokens(count: int) -> str:
    return f"{count // 1024}k" if count >= 1024 and count % 1024 == 0 else str(count)


def _say_notes(answer: "CatalogList") -> None:
    for text in answer["notes"]:
        say(text, "yellow")


def show_model(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Id or alias.", autocompletion=complete.models)],
    as_json: Json = False,
) -> None:
    """Show one entry of the catalog."""
    with session_of(context).client() as client:
        item = client.show_model(model)
    if as_json:
        print_json(item)
        return
    shape = item["entry"]["architecture"]
    heads = f"{shape['attention_heads']} heads, {shape['kv_heads']} KV heads of {shape['head_size']}"
    facts(
        [
            ("Model", item["id"]),
            ("Aliases", ", ".join(item["aliases"]) or NOTHING),
            ("For", ", ".join(item["capabilities"])),
            ("Parameters", f"{_parameters(item['parameters'])}, {item['dtype']}"),
            ("Context", f"{item['default_context']} tokens by default, up to {item['context']}"),
            ("VRAM", f"{item['default_gpus']} × {format_bytes(item['vram_bytes'])} by default"),
            ("Weights", format_bytes(shape["weight_bytes"])),
            ("Layers", f"{shape['layers']}, {heads}"),
            ("Licence", item["licence"] + (", gated: needs HF_TOKEN" if item["gated"] else "")),
            ("Remote code", "needs --trust-remote-code" if item["trust_remote_code"] else "no"),
            ("Arguments", " ".join(item["entry"]["vllm_args"]) or NOTHING),
            ("Facts from", shape["source"]),
            ("Source", item["source"]),
            ("Deployed", "yes" if item["deployed"] else "no"),
        ]
    )
    if not item["deployed"]:
        token = " --env HF_TOKEN=…" if item["gated"] else ""
        say(f"Deploy it with: modelgrid run {item['id']}{token}   (--dry-run shows where it would land)")


def refresh(context: typer.Context, as_json: Json = False) -> None:
    """Fetch every catalog source anew. A source that does not answer is a note; its last good copy stays in use."""
    with session_of(context).client() as client:
        answer = client.refresh_catalog()
    if as_json:
        print_json(answer)
        return
    _say_notes(answer)
    say(f"{counted(len(answer['items']), 'model')} in the catalog.")
