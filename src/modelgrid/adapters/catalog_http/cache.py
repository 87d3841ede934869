"""The last good copy of a downloaded catalog, on disk.

The body is kept byte for byte as it came, so that its signature can be checked later. Body and facts are two files,
each replaced atomically; the facts carry the body's digest, so a crash between the two is seen and costs one
conditional request, never a wrong catalog.
"""

import hashlib
import os
import tempfile
from pathlib import Path

import msgspec

from modelgrid.decide.catalog import MAX_CATALOG_BYTES


class CopyFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Where and when the copy was fetched. `etag` and `last_modified` are the server's own words."""

    url: str
    fetched_at: float
    sha256: str
    etag: str = ""
    last_modified: str = ""


class CatalogCache:
    """Blocking; one instance per source. Raises `OSError` as the file system does."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._body = folder / f"catalog-{name}.json"
        self._facts = folder / f"catalog-{name}.meta.json"

    def read(self, url: str) -> tuple[bytes, CopyFacts] | None:
        """Return the copy of `url`, or `None` when there is none, or it is damaged or of another URL."""
        try:
            facts = msgspec.json.decode(self._facts.read_bytes(), type=CopyFacts)
            with self._body.open("rb") as file:
                body = file.read(MAX_CATALOG_BYTES + 1)
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            return None
        if facts.url != url or hashlib.sha256(body).hexdigest() != facts.sha256:
            return None
        return body, facts

    def write(self, body: bytes, facts: CopyFacts) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _replace(self._body, body)
        self.write_facts(facts)

    def write_facts(self, facts: CopyFacts) -> None:
        _replace(self._facts, msgspec.json.encode(facts))


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _replace(path: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)  # noqa: PTH105 - pairs with mkstemp
    except BaseException:
        os.unlink(name)  # noqa: PTH108
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
