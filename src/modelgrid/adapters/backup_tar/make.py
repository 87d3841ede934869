"""Making a backup while the daemon runs. Blocking."""

import hashlib
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modelgrid import __version__
from modelgrid.adapters.backup_tar.archive import Progress, described, exists_already, write, writing_to
from modelgrid.adapters.secrets_file.secrets import KEY_FILE
from modelgrid.adapters.store_sql.copies import check_whole, copy_database, schema_of
from modelgrid.config.file import dump, parse_config, read_text
from modelgrid.config.model import redacted
from modelgrid.domain.backup import BACKUP_FORMAT, BackupManifest
from modelgrid.domain.errors import InvalidInput, StorageFull, StoreUnavailable

DATABASE = "state.db"
CONFIG = "config.json"
CATALOGS = "catalog"
SECRETS = (KEY_FILE, "token")
CREDENTIALS = "cluster"
"""The node's certificate, key and credential. The certificate is no secret, and of no use without the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    path: Path
    manifest: BackupManifest
    redacted: bool
    """Secrets in config.json were left out."""


def back_up(
    path: Path,
    *,
    state_dir: Path,
    config_path: Path,
    node: str,
    with_secrets: bool,
    with_database: bool,
    on_progress: Progress,
) -> Made:
    """Write a backup to the new file `path`; the daemon may run, and write, meanwhile.

    `with_database`: the state is in SQLite. Raises `Conflict` when there is a file of that name, `NotFound` when there
    is no database, `StorageFull`, `StoreUnavailable`, `InvalidConfig` for a config.json that cannot be read, and
    `InvalidInput` where nothing can be written. In each case there is no new file."""
    with writing_to(path.parent):
        if path.exists():
            raise exists_already(path)
    with writing_to(path.parent), tempfile.TemporaryDirectory(prefix=".modelgrid-backup-", dir=path.parent) as staging:
        sources: dict[str, bytes | Path] = {}
        schema = None
        if with_database:
            sources[DATABASE] = Path(staging) / DATABASE
            schema = _copy_database(state_dir / DATABASE, Path(staging) / DATABASE, on_progress)
        config, is_redacted = _config(config_path, with_secrets=with_secrets)
        if config is not None:
            sources[CONFIG] = config
        sources |= dict(_read(state_dir, _files_in(state_dir, CATALOGS)))
        secrets = dict(_read(state_dir, [*SECRETS, *_files_in(state_dir, CREDENTIALS)]))
        if with_secrets:
            sources |= secrets
        manifest = BackupManifest(
            format=BACKUP_FORMAT,
            made_at=time.time(),
            version=__version__,
            node=node,
            schema=schema,
            with_secrets=with_secrets,
            files=tuple(described(name, source) for name, source in sources.items()),
            left_out={} if with_secrets else {name: hashlib.sha256(text).hexdigest() for name, text in secrets.items()},
        )
        write(path, manifest, sources, on_progress)
    return Made(path=path, manifest=manifest, redacted=is_redacted)


def _copy_database(source: Path, copy: Path, on_progress: Progress) -> str:
    size = source.stat().st_size if source.exists() else 0
    try:
        copy_database(source, copy, lambda done, pages: on_progress("Copying the database", size * done // pages, size))
    except StorageFull as error:
        raise StorageFull(
            f"The disk of {copy.parent.parent} is full.",
            fix="Free space there, or name a file on another disk.",
            path=str(copy.parent.parent),
        ) from error
    check_whole(copy)
    schema = schema_of(copy)
    if schema is None:
        raise StoreUnavailable(
            f"{source} is not a state database of ModelGrid.", fix="Name the state directory with --state-dir."
        )
    return schema


def _config(path: Path, *, with_secrets: bool) -> tuple[bytes | None, bool]:
    """Return the text to keep and whether secrets in it were replaced by placeholders."""
    if not path.exists():
        return None, False
    text = read_text(path)
    if with_secrets:
        return text.encode(), False
    parse_config(text, source=str(path))  # of a file that is no configuration nobody knows where its secrets are
    document = json.loads(text)
    shown = redacted(document)
    if all(shown[key] == value for key, value in document.items()):
        return text.encode(), False
    return dump(shown).encode(), True


def _files_in(state_dir: Path, folder: str) -> list[str]:
    if not (state_dir / folder).is_dir():
        return []
    return sorted(
        f"{folder}/{item.name}"
        for item in (state_dir / folder).iterdir()
        if item.is_file() and not item.name.startswith(".")
    )


def _read(state_dir: Path, names: list[str]) -> Iterator[tuple[str, bytes]]:
    """Yield those files that exist. Each is small, and replaced as a whole by whoever writes it."""
    for name in names:
        try:
            yield name, (state_dir / name).read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise InvalidInput(
                f"{state_dir / name} cannot be read: {error.strerror}.",
                fix="Run this as the daemon's user, for example with sudo.",
                path=str(state_dir / name),
            ) from error
