"""Image pulls: progress per layer, the registry's words, and the operator's registry credentials."""

import asyncio
import base64
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelgrid.adapters.runtime_docker.engine_api import ApiError
from modelgrid.domain.engine import LayerProgress, PullProgress

REPORT_SECONDS = 0.1
"""At most ten reports a second (`ports.runtime`)."""
_DOWNLOADED = {"Verifying Checksum", "Download complete", "Extracting", "Pull complete"}
_NOT_A_LAYER = ("Pulling from ", "Pulling repository ")


class PullMeter:
    """Adds up an engine's progress messages and reports them at a bounded rate."""

    def __init__(self, image: str, report: Callable[[PullProgress], None]) -> None:
        self._image = image
        self._report = report
        self._layers: dict[str, LayerProgress] = {}
        self._reported_at = 0.0
        self._untold = asyncio.Event()

    def message(self, message: dict[str, Any]) -> None:
        """Take one message of the stream and report when the last report is long enough ago.

        Raises `ApiError` with the registry's words when that is what the message says."""
        if "error" in message or "errorDetail" in message:
            words = message.get("errorDetail") or {}
            raise ApiError(0, str(words.get("message") or message.get("error")))
        layer, status = message.get("id"), message.get("status")
        if not isinstance(layer, str) or not isinstance(status, str) or status.startswith(_NOT_A_LAYER):
            return
        known = self._layers.get(layer) or LayerProgress(id=layer, status=status)
        detail = message.get("progressDetail") or {}
        done, total = known.done_bytes, known.total_bytes
        if status == "Downloading":
            done, total = detail.get("current") or done, detail.get("total") or total
        elif status in _DOWNLOADED:
            # While a layer is extracted the engine counts from zero again; the download stays complete.
            done = total or done
        self._layers[layer] = LayerProgress(id=layer, status=status, done_bytes=done, total_bytes=total)
        self._untold.set()
        if self.due_in() <= 0:
            self.report()

    async def report_the_rest(self) -> None:
        """Report, as soon as it is allowed, what came too soon after a report. For ever: a line to the registry that
        falls silent would leave it untold."""
        while True:
            await self._untold.wait()
            await asyncio.sleep(max(0.0, self.due_in()))
            if self._untold.is_set():
                self.report()

    def due_in(self) -> float:
        """Return the seconds until the next report is allowed."""
        return self._reported_at + REPORT_SECONDS - time.monotonic()

    def report(self) -> None:
        self._reported_at = time.monotonic()
        self._untold.clear()
        self._report(PullProgress(image=self._image, layers=tuple(self._layers.values())))


def registry_credentials(image: str, config: Path | None = None) -> dict[str, str]:
    """Return the header that carries what `docker login` stored for the image's registry; empty without.

    Reads `auths` of `$DOCKER_CONFIG/config.json` (default `~/.docker`). Credential helpers are programs and
    are not run. Blocks on the disk."""
    path = config or Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    try:
        stored = json.loads(path.read_bytes())["auths"]
        first, slash, _ = image.partition("/")
        is_host = bool(slash) and ("." in first or ":" in first or first == "localhost")
        host = first if is_host and first != "docker.io" else "https://index.docker.io/v1/"
        user, _, password = base64.b64decode(stored[host]["auth"], validate=True).decode().partition(":")
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    value = json.dumps({"username": user, "password": password, "serveraddress": host}).encode()
    return {"X-Registry-Auth": base64.urlsafe_b64encode(value).decode()}
