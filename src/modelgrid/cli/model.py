"""`modelgrid model …`: the catalog."""

from typing import Annotated

import typer

from modelgrid.cli.output import Json, facts, print_json, say, table
from modelgrid.cli.session import session_of
from modelgrid.domain.units import format_bytes


def register(app: typer.Typer) -> None:
    noun = typer.Typer(help="The catalog of models that can be deployed.", no_args_is_help=True)
    noun.command("list")(list_models)
    noun.command()(show)
    noun.command()(refresh)
    app.add_typer(noun, name="model")


def list_models(
    context: typer.Context,
    capability: Annotated[str | None, typer.Option(help="Only chat, completions, embeddings or rerank.")] = None,
    max_vram: Annotated[float | None, typer.Option(help="Only what needs at most so many GiB per GPU.")] = None,
    as_json: Json = False,
) -> None:
    """List the catalog, smallest need first."""
    with session_of(context).client() as client:
        answer = client.catalog()
    items = [
        item
        for item in answer["items"]
        if capability in (None, *item["capabilities"])
        and (max_vram is None or item["vram_bytes"] <= max_vram * 1024**3)
    ]
    items.sort(key=lambda item: (item["vram_bytes"] * item["default_gpus"], item["id"]))
    if as_json:
        print_json({**answer, "items": items})
        return
    table(
        ("model", "aliases", "for", "params", "context", "vram", "licence", "source"),
        (
            [
                item["id"],
                ", ".join(item["aliases"]),
                ", ".join(item["capabilities"]),
                f"{item['parameters'] / 1e9:.3g} B",
                f"{item['default_context']} of {item['context']}",
                f"{item['default_gpus']} × {format_bytes(item['vram_bytes'])}",
                item["licence"] + (" (gated)" if item["gated"] else ""),
                item["source"],
            ]
            for item in items
        ),
        empty="No model of the catalog is like that.",
    )
    for note in answer["notes"]:
        say(note, "yellow")


def show(context: typer.Context, model: str, as_json: Json = False) -> None:
    """Show one entry of the catalog."""
    with session_of(context).client() as client:
        item = client.catalog_entry(model)
    if as_json:
        print_json(item)
        return
    architecture = item["entry"]["architecture"]
    facts(
        [
            ("Model", item["id"]),
            ("Aliases", ", ".join(item["aliases"]) or "—"),
            ("Capabilities", ", ".join(item["capabilities"])),
            ("Parameters", f"{item['parameters'] / 1e9:.3g} B, {item['dtype']}"),
            ("Context", f"{item['default_context']} tokens by default, up to {item['context']}"),
            ("VRAM", f"{item['default_gpus']} × {format_bytes(item['vram_bytes'])} by default"),
            ("Weights", format_bytes(architecture["weight_bytes"])),
            (
                "Layers",
                f"{architecture['layers']}, {architecture['attention_heads']} heads, {architecture['kv_heads']} KV heads of {architecture['head_size']}",
            ),
            ("Licence", item["licence"] + (", gated: needs HF_TOKEN" if item["gated"] else "")),
            ("Arguments", " ".join(item["entry"]["vllm_args"]) or "—"),
            ("Facts from", architecture["source"]),
            ("Source", item["source"]),
            ("Deployed", "yes" if item["deployed"] else "no"),
        ]
    )


def refresh(context: typer.Context, as_json: Json = False) -> None:
    """Fetch every catalog source anew."""
    with session_of(context).client() as client:
        answer = client.refresh_catalog()
    if as_json:
        print_json(answer)
        return
    for note in answer["notes"]:
        say(note, "yellow")
    say(f"{len(answer['items'])} models.")
