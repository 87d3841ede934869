"""What every command needs: where the daemon is, and its paths."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from modelgrid.config.file import default_config_path, default_state_dir
from modelgrid.domain.errors import InvalidInput

if TYPE_CHECKING:
    from modelgrid.client.http import ModelGridClient


@dataclass(frozen=True, slots=True)
class Session:
    """The options that stand before the command, and what follows from them."""

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

    def client(self) -> "ModelGridClient":
        """Return a client of the daemon: the one at --url, else the local one. Raises `DaemonUnreachable`."""
        from modelgrid.client.http import ModelGridClient, local_client  # noqa: PLC0415  costs 0.1 s

        if self.url is None:
            return local_client(self.state)
        if self.token is None:
            raise InvalidInput("--url needs a credential.", fix="Give --token, or set MODELGRID_TOKEN.")
        return ModelGridClient(self.url, self.token)


def session_of(context: typer.Context) -> Session:
    session: Session = context.obj
    return session
