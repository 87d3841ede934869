"""The key file: made once, readable by its owner alone, the same for every process of this state directory."""

import base64
import binascii
import contextlib
import os
import secrets
import stat
from pathlib import Path

from modelgrid.domain.errors import InvalidConfig

KEY_BYTES = 32
"""AES-256."""


def load_or_create(path: Path) -> bytes:
    """Return the key in `path`; make the file with a new random key when there is none.

    Safe to call from several processes at once: all of them return the same key. A crash leaves either no key
    file or a whole one. Blocking, one or two small files.

    Raises `InvalidConfig` when the file can be read by others, is damaged, or cannot be made."""
    try:
        key = _read(path)
        if key is None:
            _create(path)
            key = _read(path)
    except OSError as error:
        raise InvalidConfig(
            f"The secret key {path} cannot be used: {error.strerror}.",
            fix="Give the daemon's user read and write access to its state directory.",
            path=str(path),
        ) from error
    if key is None:
        raise InvalidConfig(
            f"The secret key {path} was removed while it was being made.", fix="Start again.", path=str(path)
        )
    return key


def _read(path: Path) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise InvalidConfig(
                f"The secret key {path} can be read by other users (mode {mode:04o}).",
                fix=f"Run `chmod 600 {path}`, and set the secrets it sealed anew if others may have read it.",
                path=str(path),
                mode=f"{mode:04o}",
            )
        text = file.read(4096)
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise InvalidConfig(
            f"The secret key {path} is damaged: expected {KEY_BYTES} bytes in base64.",
            fix="Restore it from a backup; without it the sealed values cannot be opened and must be set anew.",
            path=str(path),
        )
    return key


def _create(path: Path) -> None:
    """Write a whole key file aside, then `link` it into place: unlike `rename` that never replaces a key which
    another process made meanwhile, and unlike O_EXCL on the final name nobody can see half a key."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process was first; its key is the key
            os.link(draft, path)
    finally:
        draft.unlink()
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
