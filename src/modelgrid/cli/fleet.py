"""`modelgrid status` and `modelgrid ps`: the whole at a glance."""

from typing import TYPE_CHECKING, Annotated

import typer

from modelgrid.cli.options import Json, OfModel, OfOrigin, OnNode, session_of, verbs
from modelgrid.cli.output import ago, counted, paragraph, print_json, say, status
from modelgrid.cli.pages import every
from modelgrid.cli.session import Session
from modelgrid.cli.tables import NOTHING, Column, facts, table
from modelgrid.domain.deployment import DeploymentState
from modelgrid.domain.errors import DaemonUnreachable, ModelGridError

if TYPE_CHECKING:
    from modelgrid.client.views import DeploymentView

HEALTH_SECONDS = 2.0
STATUS_SECONDS = 10.0
"""Control answers in milliseconds, or something is wrong and that is the answer."""
_VERDICTS = {
    "healthy": ("●", "bold green"),
    "degraded": ("▲", "bold yellow"),
    "down": ("✕", "bold red"),
    "unknown": ("○", "bold"),
}


def register(app: typer.Typer) -> None:
    verbs(app, status=show_status, ps=ps)


def show_status(context: typer.Context, as_json: Json = False) -> None:
    """Tell whether all is well, and what needs somebody."""
    session = session_of(context)
    try:
        with session.client(STATUS_SECONDS) as client:
            overview = client.overview()
    except DaemonUnreachable:
        if not as_json and session.url is None and session.runs() and (serving := _serving_gateway(session)):
            _say_verdict("unknown", f"Unknown: control does not answer. The gateway at {serving} serves on.")
        raise
    if as_json:
        print_json(overview)
        return
    _say_verdict(overview["verdict"], overview["sentence"])
    for reason in overview["reasons"]:
        since = f" (for {ago(reason['since'])})" if reason["since"] else ""
        note = "note: " if reason["severity"] == "note" else ""
        paragraph(f"{note}{reason['cause']}{since}", indent=2, hang=2)
        paragraph(reason["impact"], indent=4, hang=4)
    counts = overview["deployments"]
    gpus = str(overview["gpus"])
    if overview["simulated"]:
        gpus += " (simulated)"
    if overview["gpus_stale"]:
        gpus += ", readings are old"
    gateways = counted(overview["gateways"], "gateway process", "gateway processes")
    facts(
        [
            ("Node", f"{overview['node']} ({overview['role']}), version {overview['version']}"),
            ("Up", ago(overview["started_at"])),
            ("Engines", overview["platform"]),
            ("GPUs", gpus),
            ("Deployments", ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "none"),
            ("API", f"{overview['api_url']}, {gateways}, {counted(overview['connections'], 'connection')}"),
            ("Console", overview["console_url"]),
        ]
    )


def _say_verdict(verdict: str, sentence: str) -> None:
    mark, style = _VERDICTS.get(verdict, _VERDICTS["unknown"])
    paragraph(f"{mark} {sentence}", style=style)


def _serving_gateway(session: Session) -> str | None:
    """Return the address of this machine's gateway when it answers that it serves, which it does without control."""
    import httpx  # noqa: PLC0415  costs 0.1 s, as the configuration does

    from modelgrid.config.file import load_config  # noqa: PLC0415
    from modelgrid.config.urls import reachable  # noqa: PLC0415

    try:
        api = load_config(session.config).api
        base = f"{api.scheme}://{reachable(api.host)}:{api.port}"
        # Whoever holds that port on this machine is asked for nothing that is secret.
        answer = httpx.get(f"{base}/health", timeout=HEALTH_SECONDS, verify=False, trust_env=False)  # noqa: S501
    except (ModelGridError, httpx.HTTPError):
        return None
    return base if answer.status_code == httpx.codes.OK else None


_COLUMNS = (
    Column("deployment"),
    Column("model", drop=2),
    Column("state"),
    Column("node", drop=4),
    Column("gpus", drop=1),
    Column("port", drop=7),
    Column("req/s", drop=5, right=True),
    Column("errors", drop=6, right=True),
    Column("age"),
    Column("why", drop=3, below=True),
)


def ps(
    context: typer.Context,
    show_all: Annotated[bool, typer.Option("--all", "-a", help="Show stopped ones too; --json always does.")] = False,
    state: Annotated[
        list[DeploymentState] | None, typer.Option(help="Only in this state; repeat for more.", show_default=False)
    ] = None,
    model: OfModel = None,
    node: OnNode = None,
    origin: OfOrigin = None,
    as_json: Json = False,
) -> None:
    """List deployments."""
    with session_of(context).client() as client:
        items = every(
            lambda after: client.list_deployments(
                state=[each.value for each in state] if state else None,
                model=model,
                node=node,
                origin=origin.value if origin else None,
                after=after,
            ),
            lambda page: page["items"],
        )
    if as_json:
        print_json({"items": items})
        return
    shown = [item for item in items if show_all or state or item["state"] != "stopped"]
    hidden = len(items) - len(shown)
    empty = "Nothing is deployed. Deploy a model with: modelgrid run MODEL   (modelgrid model list shows them)"
    if hidden:
        empty = "Nothing runs."
    elif state or model or node or origin:
        empty = "No deployment is like that. All of them: modelgrid ps --all"
    table(_COLUMNS, (_row(item) for item in shown), empty=empty)
    if hidden:
        say(f"{hidden} stopped; see them with: modelgrid ps --all", "dim")


def _rate(per_second: float | None) -> str:
    """Return a rate with three digits; `—` for unknown, `0` for none."""
    return NOTHING if per_second is None else f"{per_second:.3g}" if per_second < 1_000 else f"{per_second:,.0f}"


def _row(item: "DeploymentView") -> list[object]:
    gpus = ",".join(item["gpus"]) or NOTHING
    well = item["state"] == "running" and item["unhealthy_since"] is None
    why = item["trouble"] or ("" if well else item["phase"] or item["reason"])
    return [
        item["id"],
        item["model"],
        status(item["state"]),
        item["node"] or NOTHING,
        f"{gpus} (simulated)" if item["simulated"] and item["gpus"] else gpus,
        item["port"] or NOTHING,
        _rate(item["requests_per_second"]),
        NOTHING if item["error_ratio"] is None else f"{item['error_ratio']:.1%}",
        ago(item["created_at"]),
        why,
    ]
