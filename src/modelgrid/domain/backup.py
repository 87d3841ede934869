"""What a backup says of itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field

BACKUP_FORMAT = 1
"""Counts up when an older ModelGrid could no longer read what a newer one writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupFile:
    """`name` is relative to the state directory, but for `config.json`."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupManifest:
    format: int
    made_at: float
    version: str
    """Of the ModelGrid that made it."""
    node: str
    schema: str | None
    """Of the database; `None` where it is a PostgreSQL database, which is not in the backup."""
    with_secrets: bool
    files: tuple[BackupFile, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Files with secrets that were there, with their SHA-256: a restore tells by it whether those it finds will do."""
