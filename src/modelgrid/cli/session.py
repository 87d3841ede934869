"""Where the daemon is, and its paths."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelgrid.config.paths import LOCK_FILE, default_config_path, default_state_dir
from modelgrid.domain.errors import InvalidInput

if TYPE_CHECKING:
    from modelgrid.client.http import ModelGridClient

CALL_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Session:
    """What `--config`, `--state-dir`, `--url` and `--token` say; `None` where nothing was said."""

    config_path: Path | None = None
    state_dir: Path | None = None
    url: str | None = None
    token: str | None = None

    @property
    def config(self) -> Path:
        return self.config_path or default_config_path()

    @property
    def state(self) -> Path:
        return self.state_dir or default_state_dir()

    def runs(self) -> bool:
        """Tell whether a daemon of this machine holds the lock of this state directory, without a try to take it, which
        would end the start of a daemon at that moment."""
        try:
            inode = (self.state / LOCK_FILE).stat().st_ino
            locks = Path("/proc/locks").read_text()
        except OSError:
            return False
        return any(line.split()[1] == "FLOCK" and f":{inode} " in line for line in locks.splitlines())

    def client(self, timeout_seconds: float = CALL_SECONDS) -> "ModelGridClient":
        """Return a client of the daemon: the one at --url, else the local one.

        Raises `DaemonUnreachable`, or `InvalidInput` when --url or --token cannot be used."""
        from modelgrid.client.http import ModelGridClient, local_client  # noqa: PLC0415  costs 0.1 s

        if self.url is None:
            return local_client(self.state, timeout_seconds=timeout_seconds)
        if not self.url.startswith(("http://", "https://")):
            raise InvalidInput(
                f"--url is {self.url!r}; expected http:// or https://.", fix="For example: --url http://gpu-1:8081"
            )
        if not self.token:
            raise InvalidInput(
                "--url needs a credential.",
                fix="Give --token, or set MODELGRID_TOKEN; it is in the file `token` of that daemon's state directory.",
            )
        return ModelGridClient(self.url, self.token, timeout_seconds=timeout_seconds)
