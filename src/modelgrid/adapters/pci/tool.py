"""Running a vendor's command-line tool for the little that sysfs does not say."""

import json
import subprocess
from pathlib import Path
from typing import Any

TIMEOUT_SECONDS = 3.0
"""Below the reader's own limit: a tool that hangs costs its readings, not the whole inventory."""


def run_json(binary: Path | None, *arguments: str) -> Any:
    """Return the tool's JSON output, or None when it is missing, fails, hangs or prints something else.

    Blocking for up to `TIMEOUT_SECONDS`. A tool stuck in the kernel blocks longer; the reader kills the group then.
    """
    if binary is None:
        return None
    try:
        done = subprocess.run(
            [str(binary), *arguments],
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return json.loads(done.stdout) if done.returncode == 0 else None
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return None
