"""Backups of the state directory and config.json: one tar file with a manifest and checksums."""

from modelgrid.adapters.backup_tar.make import Made, back_up
from modelgrid.adapters.backup_tar.restore import Restored, restore

__all__ = ["Made", "Restored", "back_up", "restore"]
