"""`ports.control_plane.ControlPlaneLink` over HTTPS with kept connections."""

from typing import TypeVar

import httpx
import msgspec

from modelgrid.adapters.control_plane_http.calls import call
from modelgrid.adapters.control_plane_http.pinning import pinned_to
from modelgrid.domain.cluster import Orders, Report, SharedRouting
from modelgrid.domain.errors import ControlPlaneUnreachable

T = TypeVar("T")

CALL_SECONDS = 10.0
KEPT_SECONDS = 90.0
"""How long a connection is kept without a word on it: above the longest interval of heartbeats, below what the control
plane allows."""
HELD_SECONDS = 25.0
"""How long the control plane holds a question that it has no news for."""


class HttpControlPlane:
    """Implements `ControlPlaneLink`."""

    def __init__(self, url: str, certificate: str, credential: str) -> None:
        limits = httpx.Limits(keepalive_expiry=KEPT_SECONDS)
        self._client = httpx.AsyncClient(base_url=url, verify=pinned_to(certificate), trust_env=False, limits=limits)
        self.use(credential)

    def use(self, credential: str) -> None:
        """Show this credential from the next call on."""
        self._client.headers["Authorization"] = f"Bearer {credential}"

    async def heartbeat(self, report: Report, within: float) -> Orders:
        body = msgspec.json.encode(report)
        return _decoded(await call(self._client, "POST", "/heartbeat", body=body, timeout=within), Orders)

    async def orders(self, epoch: int, sequence: int) -> Orders | None:
        path = f"/orders?epoch={epoch}&sequence={sequence}"
        answer = await call(self._client, "GET", path, body=None, timeout=HELD_SECONDS + CALL_SECONDS)
        return _decoded(answer, Orders) if answer else None

    async def routing(self, epoch: int, generation: int) -> SharedRouting | None:
        path = f"/routing?epoch={epoch}&generation={generation}&changes=1"
        answer = await call(self._client, "GET", path, body=None, timeout=HELD_SECONDS + CALL_SECONDS)
        return _decoded(answer, SharedRouting) if answer else None

    async def leave(self) -> None:
        await call(self._client, "POST", "/leave", body=None, timeout=CALL_SECONDS)

    async def close(self) -> None:
        await self._client.aclose()


def _decoded(answer: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer, type=kind)
    except msgspec.MsgspecError as error:
        raise ControlPlaneUnreachable(
            f"The control plane's answer cannot be read: {error}.", fix="Do both run versions that go together?"
        ) from error
