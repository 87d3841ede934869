"""The log archive: segment files of one JSON object per line."""

from modelgrid.adapters.log_files.archive import LogFiles

__all__ = ["LogFiles"]
