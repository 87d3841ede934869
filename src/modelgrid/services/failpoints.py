"""Places where a test may kill the daemon: between an effect and the record of it.

`MODELGRID_FAILPOINT=<name>` ends the process there as `kill -9` would. Unset, a failpoint costs one comparison.
"""

import os

_ARMED = os.environ.get("MODELGRID_FAILPOINT", "")
EXIT_CODE = 70


def failpoint(name: str) -> None:
    """End the process at once when the failpoint `name` is armed."""
    if name == _ARMED:
        os._exit(EXIT_CODE)
