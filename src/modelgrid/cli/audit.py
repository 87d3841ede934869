"""`modelgrid config audit`: who did what."""

import time
from typing import Annotated

import typer

from modelgrid.cli.options import Json, session_of
from modelgrid.cli.output import print_json, say
from modelgrid.cli.tables import Column, table

_COLUMNS = (
    Column("seq"),
    Column("when"),
    Column("who"),
    Column("from", drop=2),
    Column("action"),
    Column("path", drop=1, wrap=True),
    Column("status"),
)


def audit(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="No more entries than this.")] = 50,
    who: Annotated[str, typer.Option(help="Only what this caller did.")] = "",
    action: Annotated[str, typer.Option(help="Only this action.")] = "",
    before: Annotated[int | None, typer.Option(min=1, help="Only entries with a lower number.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Check that nobody changed the log.")] = False,
    as_json: Json = False,
) -> None:
    """Show who did what, newest first, or check the log with --verify (status 1: it was changed)."""
    if verify:
        _verify(context, as_json=as_json)
        return
    with session_of(context).client() as client:
        answer = client.list_audit(limit=limit, who=who or None, action=action or None, before=before)
    if as_json:
        print_json(answer)
        return
    rows = (
        [
            str(item["seq"]),
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(item["at"])),
            item["who"],
            item["source"],
            item["action"],
            item["target"],
            f"{item['status']}{' × ' + str(item['repeated'] + 1) if item['repeated'] else ''}",
        ]
        for item in answer["items"]
    )
    asked = who or action or before
    table(_COLUMNS, rows, empty="No entry is like that." if asked else "Nothing has been recorded yet.")
    if answer["next_before"]:
        say(f"Older ones: modelgrid config audit --before {answer['next_before']}", "dim")


def _verify(context: typer.Context, *, as_json: bool) -> None:
    with session_of(context).client() as client:
        answer = client.verify_audit()
    if as_json:
        print_json(answer)
    else:
        broken = f"Entry {answer['broken_at']} was changed or removed."
        gone = f" Those up to {answer['pruned']} were let go of." if answer["pruned"] else ""
        said = f"All {answer['entries']} entries are as they were written.{gone} Head: {answer['head'] or 'none'}"
        say(said if answer["intact"] else broken)
    if not answer["intact"]:
        raise typer.Exit(1)
