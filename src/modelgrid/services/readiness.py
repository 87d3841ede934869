"""Whether an engine serves: its health endpoint, and one real token."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from modelgrid.adapters.egress import Egress
from modelgrid.domain.model import Capability

HEALTH_TIMEOUT_SECONDS = 5.0
TOKEN_TIMEOUT_SECONDS = 120.0
"""The first token of a cold engine compiles kernels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    ok: bool
    detail: str = ""
    """What was wrong, in a few words."""


class ReadinessProbe:
    """Asks engines over HTTP on loopback. One shared client; `close` it at the end."""

    def __init__(self) -> None:
        # Engines speak plain HTTP: loading certificates would be a slow start for nothing.
        transport = Egress(verify=False, limits=httpx.Limits(max_keepalive_connections=0))
        self._client = httpx.AsyncClient(transport=transport)

    async def close(self) -> None:
        await self._client.aclose()

    async def health(self, url: str) -> Answer:
        """Ask `GET /health`. Not answering is an answer, never an exception."""
        try:
            response = await self._client.get(f"{url}/health", timeout=HEALTH_TIMEOUT_SECONDS)
        except httpx.HTTPError as error:
            return Answer(ok=False, detail=_words(error))
        if response.status_code == httpx.codes.OK:
            return Answer(ok=True)
        return Answer(ok=False, detail=f"/health answers {response.status_code}")

    async def one_token(self, url: str, model: str, capabilities: Sequence[Capability]) -> Answer:
        """Have the engine do the smallest real piece of work for `model`: one token, one vector or one score."""
        path, body = _smallest_request(model, capabilities)
        try:
            response = await self._client.post(f"{url}{path}", json=body, timeout=TOKEN_TIMEOUT_SECONDS)
        except httpx.HTTPError as error:
            return Answer(ok=False, detail=_words(error))
        if response.status_code == httpx.codes.OK:
            return Answer(ok=True)
        return Answer(ok=False, detail=f"{path} answers {response.status_code}: {response.text[:300]}")

    async def served_models(self, url: str) -> tuple[str, ...]:
        """Return the names the engine serves; empty when it does not say."""
        try:
            response = await self._client.get(f"{url}/v1/models", timeout=HEALTH_TIMEOUT_SECONDS)
            items = response.json()["data"]
            return tuple(str(item["id"]) for item in items)
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return ()


def _smallest_request(model: str, capabilities: Sequence[Capability]) -> tuple[str, dict[str, Any]]:
    """Return path and body; generation is asked for unless the model only embeds or ranks."""
    if Capability.CHAT in capabilities or Capability.COMPLETIONS in capabilities or not capabilities:
        return "/v1/completions", {"model": model, "prompt": "1", "max_tokens": 1, "temperature": 0}
    if Capability.EMBEDDINGS in capabilities:
        return "/v1/embeddings", {"model": model, "input": "1"}
    return "/v1/rerank", {"model": model, "query": "1", "documents": ["1"]}


def _words(error: httpx.HTTPError) -> str:
    """Say what went wrong as an operator would; while an engine loads, a closed port is the usual thing."""
    if isinstance(error, httpx.ConnectError):
        return "it does not listen on its port yet"
    if isinstance(error, httpx.TimeoutException):
        return "it does not answer in time"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
