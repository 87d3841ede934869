"""How a node joins: it makes sure who it speaks to, then says who it is."""

from dataclasses import dataclass, field

import httpx
import msgspec

from modelgrid.adapters.control_plane_http.calls import call
from modelgrid.adapters.control_plane_http.pinning import certificate_at, pinned_to
from modelgrid.domain.cluster import JoinCall, JoinRequest, Welcome
from modelgrid.domain.join_format import parse_invitation

JOIN_SECONDS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinAnswer:
    """What a node keeps of its join."""

    control_plane: str
    """The control plane's node name."""
    certificate: str
    credential: str = field(repr=False)
    heartbeat_seconds: float = 5.0


async def join(url: str, token: str, request: JoinRequest) -> JoinAnswer:
    """Join the control plane at `url`. The invitation's secret is sent to the one that made it, and to nobody else.

    Raises `InvalidInput`, `ControlPlaneUnreachable`, `InvitationRefused` (impostor; or the invitation is not good) and
    `Conflict` (the node cannot be taken in as it is)."""
    invitation = parse_invitation(token)
    certificate = await certificate_at(url, invitation.fingerprint)
    body = msgspec.json.encode(JoinCall(secret=invitation.secret, request=request))
    async with httpx.AsyncClient(base_url=url, verify=pinned_to(certificate), trust_env=False) as client:
        answer = await call(client, "POST", "/join", body=body, timeout=JOIN_SECONDS)
    welcome = msgspec.json.decode(answer, type=Welcome)
    return JoinAnswer(
        control_plane=welcome.control_plane,
        certificate=certificate,
        credential=welcome.credential,
        heartbeat_seconds=welcome.heartbeat_seconds,
    )
