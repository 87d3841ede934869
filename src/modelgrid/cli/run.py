"""`modelgrid run MODEL`: deploys a model and shows how it comes up."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from modelgrid.cli import complete
from modelgrid.cli.decision import show_preview, show_refusal
from modelgrid.cli.options import Json, session_of, verbs
from modelgrid.cli.output import SIMULATED, errors, print_json, say
from modelgrid.cli.watch import summary, watch
from modelgrid.domain.errors import InvalidInput
from modelgrid.domain.gpu import GpuVendor

if TYPE_CHECKING:
    from modelgrid.client.views import MountInput, TargetBody


def register(app: typer.Typer) -> None:
    verbs(app, run=run)


def run(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Argument(help="Model, by id or alias (`modelgrid model list`).", autocompletion=complete.models),
    ],
    replicas: Annotated[int, typer.Option(min=0, help="Instances to keep running.")] = 1,
    node: Annotated[str | None, typer.Option(help="Only on this node.", autocompletion=complete.nodes)] = None,
    vendor: Annotated[GpuVendor | None, typer.Option(help="Only on GPUs of this vendor.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE that the node has to have; repeat for more.")
    ] = None,
    pack: Annotated[bool, typer.Option("--pack", help="Fill nodes one after the other instead of spreading.")] = False,
    exclusive: Annotated[
        bool, typer.Option("--exclusive", help="Never more instances than desired, even while the network is cut.")
    ] = False,
    gpu: Annotated[
        list[str] | None,
        typer.Option(help="Pin a GPU (repeat for more), for example nvidia-0.", autocompletion=complete.gpus),
    ] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="GPUs per instance; 0 runs on the CPU.")] = None,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", "-e", help="NAME=VALUE for the engine, or NAME with its value here; repeat for more."),
    ] = None,
    context_length: Annotated[int | None, typer.Option("--context", min=1, help="Tokens per sequence.")] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Sequences of full length that the KV cache has to hold.")
    ] = None,
    image: Annotated[str | None, typer.Option(help="Engine image in place of the vendor's.")] = None,
    arg: Annotated[
        list[str] | None, typer.Option(help="Further argument of `vllm serve`, as --arg=--name=value.")
    ] = None,
    mount: Annotated[
        list[str] | None, typer.Option(help="HOST:ENGINE[:rw], a folder the engine sees; repeat for more.")
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Let the model run code from its repository.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show where it would land, and do nothing.")] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when it is accepted.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when it runs; fail when it does not come up.")] = False,
    timeout: Annotated[float | None, typer.Option(min=1, help="With --wait: give up after so many seconds.")] = None,
    as_json: Json = False,
) -> None:
    """Deploy a model and keep it running.

    On a terminal it shows how the engine comes up; Ctrl-C stops watching, and the work goes on. Elsewhere, and with
    --json, it returns when the wish is accepted, unless --wait is given. Running it again with other options changes
    the deployment; running it again with the same ones changes nothing.
    """
    if wait and detach:
        raise InvalidInput("--wait and --detach exclude each other.", fix="Give one of them.")
    wish: TargetBody = {
        "replicas": replicas,
        "node": node,
        "vendor": vendor.value if vendor else None,
        "labels": _pairs(label or [], "--label", "zone=a"),
        "pack": pack,
        "exclusive": exclusive,
        "gpus": gpu or [],
        "gpu_count": gpus,
        "env": _environment(env or []),
        "context": context_length,
        "concurrency": concurrency,
        "image": image,
        "args": arg or [],
        "mounts": [_mount(text) for text in mount or []],
        "trust_remote_code": trust_remote_code,
    }
    with session_of(context).client() as client:
        if dry_run:
            show_preview(client.preview_target({"model": model, **wish}), as_json=as_json)
            if not as_json and client.overview()["simulated"]:
                say(SIMULATED, "yellow")
            return
        watching = wait or (errors.is_terminal and not detach and not as_json)
        # Those who do not watch hear now what would keep replicas from coming up.
        preview = None if watching or as_json else client.preview_target({"model": model, **wish})
        target = client.put_target(model, wish)
        if watching:
            watch(client, target["name"], quiet=as_json, must_run=wait, timeout=timeout if wait else None)
            target = client.show_target(target["name"])
        if as_json:
            print_json(target)
        elif not watching:
            say(f"{summary(target)} Follow it with: modelgrid ps")
            if preview:
                show_refusal(preview["decisions"], to=errors)
        elif target["replicas"] == 0:
            say(f"{target['name']}: no replica is desired any more.")
        elif target["running"]:
            say(f"{target['name']} answers at {client.overview()['api_url']}")


def _pairs(texts: list[str], option: str, example: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InvalidInput(f"{option} {text!r} is not NAME=VALUE.", fix=f"For example: {option} {example}")
        values[name] = value
    return values


def _environment(texts: list[str]) -> dict[str, str]:
    """Return the variables for the engine. One that is only named is this process's own: its value is in no history."""
    return _pairs([_with_value(text) for text in texts], "--env", "HF_TOKEN=hf_…")


def _with_value(text: str) -> str:
    if not text.isidentifier():
        return text
    if (value := os.environ.get(text)) is None:
        raise InvalidInput(
            f"--env {text} takes the variable {text} of this shell, where it is not set.",
            fix=f"Set it with `export {text}=…`, or give its value: --env {text}=…",
        )
    return f"{text}={value}"


def _mount(text: str) -> "MountInput":
    source, _, rest = text.partition(":")
    target, *mode = rest.split(":")
    if not source or not target or mode not in ([], ["ro"], ["rw"]):
        raise InvalidInput(f"--mount {text!r} is not HOST:ENGINE[:rw].", fix="For example: --mount /srv/models:/models")
    return {"source": source, "target": target, "read_only": mode != ["rw"]}
