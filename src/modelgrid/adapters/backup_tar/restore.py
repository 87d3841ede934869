"""Putting a backup in place of the present state. Blocking; no daemon may run on the state directory."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelgrid.adapters.backup_tar.archive import Progress, extract, read_manifest, writing_to
from modelgrid.adapters.backup_tar.make import CONFIG, DATABASE
from modelgrid.adapters.store_sql.copies import check_whole, schema_of, settle, sync
from modelgrid.adapters.store_sql.schema import known_schemas
from modelgrid.config.change import keep_secrets
from modelgrid.config.file import dump, parse_config, read_text
from modelgrid.config.paths import LOCK_FILE
from modelgrid.decide.backup import missing_secrets, refusal
from modelgrid.domain.backup import BackupManifest
from modelgrid.domain.errors import Conflict, InvalidConfig, InvalidInput, ModelGridError, StoreUnavailable

_LOGS = (f"{DATABASE}-wal", f"{DATABASE}-shm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    manifest: BackupManifest
    put: tuple[Path, ...]
    """Files that are those of the backup now, or would be."""
    aside: tuple[Path, ...]
    """Where what was there before is kept: a folder for the state, a file for config.json."""
    warnings: tuple[str, ...]


def restore(
    path: Path, *, state_dir: Path, config_path: Path, dry_run: bool, keep_config: bool, on_progress: Progress
) -> Restored:
    """Put the files of the backup `path` in place, and keep those that were there. With `dry_run` only check it all.

    Everything is verified before the first file is touched, and put back should a later one fail. Files of the state
    directory that the backup does not have stay as they are. Raises `Conflict` while a daemon runs, `InvalidInput` and
    `InvalidConfig` for a backup that is damaged, too new or does not fit, `StorageFull`."""
    manifest = read_manifest(path)
    if (refused := refusal(manifest, known_schemas())) is not None:
        raise refused
    with contextlib.ExitStack() as stack:
        if not dry_run:
            stack.enter_context(_no_daemon(state_dir))
        staging = stack.enter_context(_staging(None if dry_run else state_dir))
        extract(path, manifest, staging, on_progress)
        _check_database(path, staging / DATABASE, manifest)
        new = {staging / item.name: state_dir / item.name for item in manifest.files if item.name != CONFIG}
        config = None
        if (staging / CONFIG).exists() and not keep_config:
            config = _config(staging / CONFIG, config_path)
        warnings = tuple(missing_secrets(manifest, _digests(state_dir, manifest)))
        put = (*new.values(), *([config_path] if config is not None else []))
        if dry_run:
            return Restored(manifest=manifest, put=put, aside=(), warnings=warnings)
        swap = _Swap(state_dir, config_path.resolve())
        with writing_to(state_dir):
            swap.run(new, config)
        return Restored(manifest=manifest, put=put, aside=swap.kept(), warnings=warnings)


@contextlib.contextmanager
def _no_daemon(state_dir: Path) -> Iterator[None]:
    """Keep every daemon from this state directory. Raises `Conflict` when one runs already."""
    lock = state_dir / LOCK_FILE
    with writing_to(state_dir):
        _make_folder(state_dir, state_dir)
        _make_folder(lock.parent, state_dir)
        descriptor = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        _give(lock, state_dir)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(
                f"A daemon runs on the state directory {state_dir}.",
                fix="Stop it first: modelgrid service stop, or Ctrl-C where it runs. Engines run on.",
                path=str(state_dir),
            ) from None
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _staging(parent: Path | None) -> Iterator[Path]:
    """Give a folder: below `parent`, so that what is in it can be renamed into place, else for temporary files."""
    with writing_to(parent or Path(tempfile.gettempdir())):
        folder = Path(tempfile.mkdtemp(prefix=".restore-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _check_database(backup: Path, database: Path, manifest: BackupManifest) -> None:
    if manifest.schema is None:
        return
    try:
        check_whole(database)
        schema = schema_of(database)
    except StoreUnavailable as error:
        raise InvalidInput(f"The database in {backup} is damaged.", fix="Take another backup.") from error
    if schema != manifest.schema:
        raise InvalidInput(
            f"The database in {backup} has schema {schema}, and its manifest says {manifest.schema}.",
            fix="Take another backup.",
        )


def _config(staged: Path, present: Path) -> str:
    """Return the text to write: secrets that the backup left out are those of the present file."""
    text = read_text(staged)
    keep = "Restore without it: --keep-config leaves the present config.json as it is."
    try:
        document = json.loads(text)
        before: Any = json.loads(read_text(present))
        kept = keep_secrets(document, before if isinstance(before, dict) else {})
        if kept != document:
            text = dump(kept)
        parse_config(text, source="The backup's config.json")
    except ModelGridError as error:
        left_out = "anew" in error.fix
        raise InvalidConfig(
            f"The backup was made without secrets, and {present} has none to put there: {error.message}"
            if left_out
            else error.message,
            fix=f"Take a backup that was made --with-secrets. {keep}" if left_out else keep,
            **error.details,
        ) from error
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidConfig(f"The backup's or the present config.json is not usable: {error}.", fix=keep) from error
    return text


def _digests(state_dir: Path, manifest: BackupManifest) -> dict[str, str]:
    found = {}
    for name in manifest.left_out:
        with contextlib.suppress(OSError):
            found[name] = hashlib.sha256((state_dir / name).read_bytes()).hexdigest()
    return found


def _make_folder(folder: Path, state_dir: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True)
        _give(folder, state_dir)


def _give(path: Path, state_dir: Path) -> None:
    """Make the owner of the state directory the owner of `path`: root restores for the daemon's user, too."""
    owner, own = state_dir.stat(), path.stat()
    if (owner.st_uid, owner.st_gid) != (own.st_uid, own.st_gid) and os.geteuid() == 0:
        os.chown(path, owner.st_uid, owner.st_gid)


class _Swap:
    """Replaces files one after the other, each at once, so that there is never none; undoes it all when one fails."""

    def __init__(self, state_dir: Path, config_path: Path) -> None:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self._state_dir = state_dir
        self._config = config_path
        self._folder = _unused(state_dir / f"before-restore-{stamp}")
        self._old_config = _unused(config_path.with_name(f"{config_path.name}.before-restore-{stamp}"))
        self._done: list[tuple[Path, Path | None]] = []

    def kept(self) -> tuple[Path, ...]:
        return tuple(item for item in (self._folder, self._old_config) if item.exists())

    def run(self, new: dict[Path, Path], config: str | None) -> None:
        """Put each key of `new` at its value, the database last, and `config` at its place. Raises `OSError`."""
        try:
            if config is not None:
                self._put_config(config)
            for staged, target in sorted(new.items(), key=lambda item: item[1].name == DATABASE):
                _make_folder(target.parent, self._state_dir)
                _give(staged, self._state_dir)
                if target.name == DATABASE:
                    self._put_logs_aside(target)
                self._keep(target, self._folder / target.relative_to(self._state_dir))
                staged.replace(target)
            for folder in {target.parent for target in new.values()} | {self._state_dir}:
                sync(folder)
        except BaseException:
            self._undo()
            raise

    def _put_config(self, text: str) -> None:
        """The file keeps its mode and owner; a new one is the daemon's."""
        before = self._config.stat() if self._config.exists() else None
        self._config.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self._config.parent, prefix=f".{self._config.name}.")
        draft = Path(name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            owner = before or self._state_dir.stat()
            if os.geteuid() == 0:
                os.chown(draft, owner.st_uid, owner.st_gid)
            draft.chmod(stat.S_IMODE(before.st_mode) if before else 0o600)
            self._keep(self._config, self._old_config)
            draft.replace(self._config)
        finally:
            draft.unlink(missing_ok=True)
        sync(self._config.parent)

    def _put_logs_aside(self, database: Path) -> None:
        """Empty the log of the present database into it. The log of one that is damaged is kept beside it: left in
        place it would be taken for the new database's."""
        if database.exists():
            with contextlib.suppress(ModelGridError):
                settle(database)
        logs = [self._state_dir / name for name in _LOGS]
        tables = sorted((self._state_dir / "run").glob("routing-*"))  # the gateways' last, of the state that goes
        for item in (*logs, *tables):
            if item.exists():
                kept = self._folder / item.relative_to(self._state_dir)
                self._make_room(kept)
                item.rename(kept)
                self._done.append((item, kept))

    def _keep(self, target: Path, kept: Path) -> None:
        """Note that `target` is replaced, and keep what is there as `kept`. A link, so that it never is not there."""
        if not target.exists():
            self._done.append((target, None))
            return
        self._make_room(kept)
        try:
            os.link(target, kept)
        except OSError:  # no links on this file system, or not allowed to
            shutil.copy2(target, kept)
        self._done.append((target, kept))

    def _make_room(self, kept: Path) -> None:
        if kept.is_relative_to(self._folder):
            _make_folder(self._folder, self._state_dir)
            _make_folder(kept.parent, self._state_dir)

    def _undo(self) -> None:
        for target, kept in reversed(self._done):
            if kept is None:
                target.unlink(missing_ok=True)
            else:
                kept.replace(target)
                kept.unlink(missing_ok=True)  # a rename between two links of one file does nothing
        if self._folder.exists():
            shutil.rmtree(self._folder)


def _unused(path: Path) -> Path:
    """Return `path`, or with a number when a restore within the same second took it."""
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate
