"""Where configuration and state are when nobody says otherwise. Standard library only: every command asks for it."""

import os
from pathlib import Path

SYSTEM_CONFIG = Path("/etc/modelgrid/config.json")
SYSTEM_STATE = Path("/var/lib/modelgrid")

ENDPOINT_FILE = "run/endpoint.json"
"""Below the state directory: where the daemon answers, written by it at start."""
INITIAL_PASSWORD_FILE = "initial-password"  # noqa: S105  a file name
"""Below the state directory: the one-time password of `admin`, until it is changed."""
LOCK_FILE = "run/daemon.lock"
"""Below the state directory: held by the daemon for as long as it runs."""
STATE_URL = "MODELGRID_STATE_URL"
"""The variable that names the database to the daemon's processes: the URL may hold a password, and every user of a
machine can read the command lines of its processes."""
TOKEN_FILE = "token"  # noqa: S105  a file name
"""Below the state directory: the local operator's credential, readable by the daemon's user only."""


def default_config_path() -> Path:
    """Return `$MODELGRID_CONFIG`, else the usual file."""
    if named := os.environ.get("MODELGRID_CONFIG"):
        return Path(named)
    return usual_config_path()


def usual_config_path() -> Path:
    """Return the system file for root, else the one in the user's config folder: whatever a shell says."""
    if os.geteuid() == 0:
        return SYSTEM_CONFIG
    return Path(os.environ.get("XDG_CONFIG_HOME", str(Path.home() / ".config"))) / "modelgrid" / "config.json"


def default_state_dir() -> Path:
    """Return `$MODELGRID_STATE_DIR`, else the system folder for root, else the one in the user's data folder."""
    if named := os.environ.get("MODELGRID_STATE_DIR"):
        return Path(named)
    if os.geteuid() == 0:
        return SYSTEM_STATE
    return Path(os.environ.get("XDG_DATA_HOME", str(Path.home() / ".local" / "share"))) / "modelgrid"
