"""The tar file: `manifest.json` first, then the files that it names. Blocking.

Plain tar, so that everybody can look into it; what has no place in a backup is never taken out of one."""

import contextlib
import hashlib
import io
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

import msgspec

from modelgrid.domain.backup import BackupFile, BackupManifest
from modelgrid.domain.errors import Conflict, InvalidInput, ModelGridError, StorageFull
from modelgrid.domain.units import MIB

MANIFEST = "manifest.json"
_LARGEST_MANIFEST = MIB
_CHUNK = MIB

Progress = Callable[[str, int, int], None]
"""Told what is done, how many bytes of how many."""


def described(name: str, source: bytes | Path) -> BackupFile:
    """Return what a manifest says of a file."""
    if isinstance(source, bytes):
        return BackupFile(name=name, bytes=len(source), sha256=hashlib.sha256(source).hexdigest())
    with source.open("rb") as file:
        return BackupFile(
            name=name, bytes=source.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest()
        )


def write(path: Path, manifest: BackupManifest, sources: Mapping[str, bytes | Path], on_progress: Progress) -> None:
    """Write a backup to the new file `path`, mode 0600, whole or not at all.

    Raises `Conflict` when there is a file of that name, `StorageFull`, `InvalidInput` where nothing can be written."""
    with writing_to(path.parent):
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        draft = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                _fill(file, manifest, sources, on_progress)
                file.flush()
                os.fsync(file.fileno())
            _name(draft, path)
        finally:
            draft.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def exists_already(path: Path) -> Conflict:
    return Conflict(f"{path} exists already.", fix="Name another file; a backup never overwrites one.", path=str(path))


@contextlib.contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Raise what the file system's errors mean to whoever named the folder."""
    try:
        yield
    except OSError as error:
        if error.errno in {28, 122}:  # ENOSPC, EDQUOT
            raise StorageFull(
                f"The disk of {folder} is full.",
                fix="Free space there, or name a file on another disk.",
                path=str(folder),
            ) from error
        raise InvalidInput(
            f"{error.filename or folder} cannot be used: {error.strerror}.",
            fix="Name another file, or run this as the user who may (for example with sudo).",
            path=str(folder),
        ) from error


def _name(draft: Path, path: Path) -> None:
    """Give the finished file its name. A link never replaces a file that came meanwhile; a rename would."""
    try:
        os.link(draft, path)
    except FileExistsError:
        raise exists_already(path) from None
    except OSError:  # a file system without links (FAT, some network shares)
        if path.exists():
            raise exists_already(path) from None
        draft.rename(path)


def _fill(
    file: IO[bytes], manifest: BackupManifest, sources: Mapping[str, bytes | Path], on_progress: Progress
) -> None:
    in_all, done = sum(item.bytes for item in manifest.files), 0
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        text = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
        tar.addfile(_header(MANIFEST, len(text), manifest.made_at), io.BytesIO(text))
        for item in manifest.files:
            source = sources[item.name]
            header = _header(item.name, item.bytes, manifest.made_at)
            with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as content:
                tar.addfile(header, content)
            done += item.bytes
            on_progress("Writing", done, in_all)


def _header(name: str, size: int, at: float) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size, header.mode, header.mtime = size, 0o600, int(at)
    return header


def read_manifest(path: Path) -> BackupManifest:
    """Return what a backup says of itself. Raises `InvalidInput` when it is none."""
    with _members(path) as members:
        first, content = next(members, (None, None))
        if first is None or content is None or first.name != MANIFEST or first.size > _LARGEST_MANIFEST:
            raise _no_backup(path, f"it does not begin with {MANIFEST}")
        try:
            return msgspec.json.decode(content.read(), type=BackupManifest)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _no_backup(path, f"its {MANIFEST} cannot be read ({error})") from error


def extract(path: Path, manifest: BackupManifest, folder: Path, on_progress: Progress) -> None:
    """Write the files that `manifest` names below `folder`, each with its checksum verified.

    Raises `InvalidInput` when the backup is damaged or has anything else in it, `StorageFull`."""
    wanted = {item.name: item for item in manifest.files}
    in_all, done = sum(item.bytes for item in manifest.files), 0
    with _members(path) as members:
        next(members)
        for header, content in members:
            item = wanted.pop(header.name, None)
            if item is None:
                raise _damaged(path, f"{header.name!r} is not in its manifest")
            target = folder / item.name
            with writing_to(folder):
                target.parent.mkdir(mode=0o700, exist_ok=True)
                digest, size = _copy(content, target)
            if (digest, size) != (item.sha256, item.bytes):
                raise _damaged(path, f"{item.name} does not have the checksum it had when the backup was made")
            done += size
            on_progress("Checking", done, in_all)
    if wanted:
        raise _damaged(path, f"{sorted(wanted)[0]} is missing")


def _copy(content: IO[bytes], target: Path) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest(), size


@contextlib.contextmanager
def _members(path: Path) -> Iterator[Iterator[tuple[tarfile.TarInfo, IO[bytes]]]]:
    """Give the plain files of a tar one after the other; anything else in it is refused."""

    def plain(tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
        for header in tar:
            content = tar.extractfile(header) if header.isreg() else None
            if content is None:
                raise _damaged(path, f"{header.name!r} is not a plain file")
            yield header, content

    try:
        with tarfile.open(path, mode="r:") as tar:
            yield plain(tar)
    except tarfile.TarError as error:
        raise _no_backup(path, f"it is no whole tar file ({error})") from error
    except OSError as error:
        raise InvalidInput(
            f"{path} cannot be read: {error.strerror or error}.", fix="Check its name, owner and mode.", path=str(path)
        ) from error


def _no_backup(path: Path, why: str) -> ModelGridError:
    return InvalidInput(
        f"{path} is not a backup of ModelGrid: {why}.", fix="Name a file that `modelgrid backup` made.", path=str(path)
    )


def _damaged(path: Path, what: str) -> ModelGridError:
    return InvalidInput(f"The backup {path} is damaged: {what}.", fix="Take another backup.", path=str(path))
