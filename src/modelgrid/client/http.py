"""The client itself: every operation of the console API, and what one wants beside them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelgrid.client.calls import Calls
from modelgrid.client.stream import Streaming
from modelgrid.config.paths import ENDPOINT_FILE, TOKEN_FILE
from modelgrid.domain.errors import DaemonUnreachable

if TYPE_CHECKING:
    from modelgrid.client.views import Level, LogRecordView


class ModelGridClient(Calls, Streaming):
    """One method per operation of the API, named as the document's `operationId`; answers are its JSON objects.

    Raises the `ModelGridError` that the daemon answered with, or `DaemonUnreachable`. Without a token only `health` and
    `login` are allowed; after `login` the session's cookie is the credential."""

    def export_logs(
        self,
        *,
        source: list[str] | None = None,
        level: "Level | None" = None,
        grep: str | None = None,
        since: float | None = None,
        until: float | None = None,
        after: int | None = None,
        before: int | None = None,
    ) -> "Iterator[LogRecordView]":
        """Yield every record of the log that is wanted, oldest first, as fast as they are taken (`format=ndjson`)."""
        query: dict[str, Any] = {
            "source": source, "level": level, "grep": grep, "since": since, "until": until, "after": after,
            "before": before, "format": "ndjson",
        }  # fmt: skip
        with self._streaming("/logs", query) as response:
            for line in response.iter_lines():
                record: LogRecordView = json.loads(line)
                yield record


def local_client(state_dir: Path, *, timeout_seconds: float = 60.0) -> ModelGridClient:
    """Return a client of the daemon that runs on this machine with `state_dir`.

    The daemon is at an address of this machine, which no certificate names: none is checked.
    Raises `DaemonUnreachable` when none has been started there, or its token cannot be read."""
    try:
        token = (state_dir / TOKEN_FILE).read_text().strip()
        url = json.loads((state_dir / ENDPOINT_FILE).read_text())["url"]
    except FileNotFoundError:
        raise DaemonUnreachable(
            f"No daemon has been started with the state directory {state_dir}.",
            fix="Start one with `modelgrid up` or `modelgrid service start`, or name another with --state-dir.",
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        if not isinstance(error, PermissionError):
            raise DaemonUnreachable(
                f"What a daemon wrote down in {state_dir} cannot be read: {error}.",
                fix="Restart it with this state directory, or name another with --state-dir.",
            ) from error
        raise DaemonUnreachable(
            f"The daemon's token in {state_dir} can be read by its own user only.",
            fix="Run this as that user, for example with sudo, or use --url and --token.",
        ) from None
    return ModelGridClient(url, token, timeout_seconds=timeout_seconds, verify=False)
