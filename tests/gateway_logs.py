"""What gateway processes wrote to the logs that a test session leaves."""

from pathlib import Path


def gateway_exceptions(folder: Path) -> list[str]:
    """Return the lines of exceptions that gateway processes wrote to logs below `folder`.

    A gateway writes an exception as one line with its own number; a daemon passes the line on as it is."""
    found = []
    for path in folder.rglob("*.log"):
        if path.is_file() and not path.is_symlink():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            found += [f"{path}: {line}" for line in lines if "Traceback" in line and "gateway=" in line]
    return found
