"""`modelgrid backup` and `modelgrid restore`: the state of this machine's daemon in one file, and back."""

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.live import Live
from rich.text import Text

from modelgrid.cli.options import Json, session_of, verbs
from modelgrid.cli.output import clean, counted, errors, print_json, say, show
from modelgrid.cli.progress import bar
from modelgrid.cli.session import Session
from modelgrid.cli.tables import facts
from modelgrid.config.paths import STATE_URL
from modelgrid.domain.backup import BackupManifest
from modelgrid.domain.errors import InvalidInput
from modelgrid.domain.units import MIB, format_bytes

if TYPE_CHECKING:
    from modelgrid.adapters.backup_tar import Made, Restored

WORTH_SHOWING_BYTES = 16 * MIB
"""Less is done before anybody could read how far it is."""

Progress = Callable[[str, int, int], None]


def register(app: typer.Typer) -> None:
    verbs(app, backup=backup, restore=restore)


def backup(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(help="New file, or a folder; default: here, named by time.", readable=False)
    ] = None,
    with_secrets: Annotated[
        bool,
        typer.Option(
            "--with-secrets", help="Take along what opens sealed values and speaks for this node. Keep it locked away."
        ),
    ] = False,
    state_url: Annotated[
        str | None,
        typer.Option(envvar=STATE_URL, help="Database of the state, as given to `up`; default SQLite."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the state of this machine's daemon to one file.

    The daemon may run, and write, meanwhile. In the file: the database, config.json, copies of downloaded catalogs, and
    a manifest with checksums. Secrets are left out unless you ask for them."""
    from modelgrid.adapters.backup_tar import back_up  # noqa: PLC0415  not needed to show the help

    session = _here(session_of(context), "backup")
    with_database = state_url is None or state_url.startswith("sqlite")
    if with_database and state_url is not None:
        raise InvalidInput(
            "--state-url names an SQLite file.", fix="Leave it out, and name the folder of state.db with --state-dir."
        )
    with _progress(quiet=as_json) as on_progress:
        made = back_up(
            _target(file),
            state_dir=session.state.absolute(),
            config_path=session.config.absolute(),
            node=socket.gethostname(),
            with_secrets=with_secrets,
            with_database=with_database,
            on_progress=on_progress,
        )
    if as_json:
        print_json({"file": str(made.path), "bytes": made.path.stat().st_size, **_as_json(made.manifest)})
    else:
        _show_made(made)


def restore(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A file that `modelgrid backup` made.", readable=False)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, and change nothing.")] = False,
    keep_config: Annotated[bool, typer.Option("--keep-config", help="Leave config.json as it is.")] = False,
    as_json: Json = False,
) -> None:
    """Put a backup in place of the state of this machine.

    The daemon must not run; engines may. Checksums, database and config.json are checked first. What was there is kept
    aside, and said where."""
    from modelgrid.adapters.backup_tar import restore as put_back  # noqa: PLC0415  not needed to show the help

    session = _here(session_of(context), "restore")
    with _progress(quiet=as_json) as on_progress:
        restored = put_back(
            file.absolute(),
            state_dir=session.state.absolute(),
            config_path=session.config.absolute(),
            dry_run=dry_run,
            keep_config=keep_config,
            on_progress=on_progress,
        )
    if as_json:
        value = {
            "file": str(file.absolute()),
            "dry_run": dry_run,
            **_as_json(restored.manifest),
            "restored": [str(path) for path in restored.put],
            "aside": [str(path) for path in restored.aside],
            "warnings": list(restored.warnings),
        }
        print_json(value)
    else:
        _show_restored(restored, session, dry_run=dry_run)


def _here(session: Session, verb: str) -> Session:
    if session.url is not None:
        raise InvalidInput(
            f"`{verb}` works on the files of this machine; --url names a daemon elsewhere.",
            fix="Run it on that machine, without --url.",
        )
    return session


def _target(file: Path | None) -> Path:
    """Return the path to write: a folder gets a file named by time and machine."""
    name = f"modelgrid-{socket.gethostname()}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.tar"
    if file is None:
        return Path.cwd() / name
    with contextlib.suppress(OSError):  # who may not look there is told so by what writes there
        if file.is_dir():
            return file.absolute() / name
    return file.absolute()


@contextlib.contextmanager
def _progress(*, quiet: bool) -> Iterator[Progress]:
    """Show on a terminal how far it is, where there is something to wait for."""
    if quiet or not errors.is_terminal:
        yield lambda _what, _done, _in_all: None
        return
    with Live(console=errors, transient=True, auto_refresh=False) as live:
        shown_at = 0.0

        def told(what: str, done: int, in_all: int) -> None:
            nonlocal shown_at
            now = time.monotonic()
            if in_all >= WORTH_SHOWING_BYTES and now - shown_at > 0.1:
                shown_at = now
                sizes = f"{format_bytes(done)} of {format_bytes(in_all)}"
                live.update(Text(f"  {what}  {bar(done, in_all)}  {sizes}", no_wrap=True), refresh=True)

        yield told


def _show_made(made: "Made") -> None:
    manifest = made.manifest
    show(Text(f"{clean(made.path)}  ({format_bytes(made.path.stat().st_size)}, readable by you only)", style="bold"))
    facts(_rows(manifest))
    if manifest.with_secrets:
        say("It holds the keys to every secret of this state: keep it where few can read it.", "yellow")
    elif manifest.left_out or made.redacted:
        left_out = [*manifest.left_out, *(["secrets in config.json"] if made.redacted else [])]
        say(f"Left out, as they are secrets: {', '.join(left_out)}.")
        say("On this machine a restore uses those that are here. To move elsewhere, use --with-secrets.")
    if manifest.schema is None:
        say("The database is in PostgreSQL, and not in this file. Back it up with:", "yellow")
        say('  pg_dump --format=custom --file=modelgrid.dump "$MODELGRID_STATE_URL"')


def _show_restored(restored: "Restored", session: Session, *, dry_run: bool) -> None:
    manifest = restored.manifest
    facts(_rows(manifest))
    if dry_run:
        say("All of it is sound and would be restored. Nothing was changed.", "green")
    else:
        say(f"Restored to {session.state}: {counted(len(restored.put), 'file')}.", "green")
        for path in restored.aside:
            say(f"What was there before: {path}")
    for warning in restored.warnings:
        say(warning, "yellow")
    if manifest.schema is None:
        say("The database is in PostgreSQL. Restore it with:", "yellow")
        say('  pg_restore --clean --if-exists --dbname="$MODELGRID_STATE_URL" modelgrid.dump')
    if not dry_run:
        say("Start the daemon, then look: modelgrid doctor")


def _rows(manifest: BackupManifest) -> list[tuple[str, str]]:
    rows = [
        ("Made", time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(manifest.made_at))),
        ("On", f"{clean(manifest.node)}, ModelGrid {clean(manifest.version)}"),
        ("Schema", clean(manifest.schema or "in PostgreSQL")),
    ]
    rows += [("" if n else "Files", f"{clean(f.name)}  {format_bytes(f.bytes)}") for n, f in enumerate(manifest.files)]
    return rows


def _as_json(manifest: BackupManifest) -> dict[str, Any]:
    return {
        "made_at": manifest.made_at,
        "version": manifest.version,
        "node": manifest.node,
        "schema": manifest.schema,
        "database": "sqlite" if manifest.schema is not None else "postgresql",
        "with_secrets": manifest.with_secrets,
        "left_out": sorted(manifest.left_out),
        "items": [{"name": item.name, "bytes": item.bytes, "sha256": item.sha256} for item in manifest.files],
    }
