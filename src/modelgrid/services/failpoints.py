"""Places where a test may kill the daemon: between an effect and the record of it.

`MODELGRID_FAILPOINT_FILE` names a file that holds the name of a failpoint: the process that comes to it ends there as
`kill -9` would, and takes the file with it, so that the next one gets past. Unset, a failpoint costs one comparison.
"""

import os
from pathlib import Path

_FILE = os.environ.get("MODELGRID_FAILPOINT_FILE", "")
EXIT_CODE = 70


def failpoint(name: str) -> None:
    """End the process at once when the failpoint `name` is armed."""
    if _FILE and _is_armed(Path(_FILE), name):
        os._exit(EXIT_CODE)


def _is_armed(file: Path, name: str) -> bool:
    try:
        if file.read_text().strip() != name:
            return False
        file.unlink()
    except FileNotFoundError:
        return False
    return True
