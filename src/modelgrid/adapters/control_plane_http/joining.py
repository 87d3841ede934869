"""How a node joins: it makes sure who it speaks to, then says who it is."""

import asyncio
from dataclasses import dataclass, field
from secrets import token_hex

import httpx
import msgspec

from modelgrid.adapters.control_plane_http.calls import call
from modelgrid.adapters.control_plane_http.pinning import certificate_at, fingerprint_of, pinned_to, seen_certificate
from modelgrid.adapters.egress import Egress
from modelgrid.domain.cluster import IntroducedCall, Introduction, JoinCall, JoinRequest, Welcome
from modelgrid.domain.errors import InvitationRefused
from modelgrid.domain.introduction import NONCE_BYTES, control_proof, node_proof, same, stretched
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
    async with httpx.AsyncClient(base_url=url, transport=Egress(verify=pinned_to(certificate))) as client:
        return _taken_in(await call(client, "POST", "/join", body=body, timeout=JOIN_SECONDS), certificate)


async def join_introduced(url: str, secret: str, request: JoinRequest) -> JoinAnswer:
    """Join the control plane at `url` by the secret that both know, and that neither says.

    Raises as `join` does; `InvitationRefused` also when the other does not know the secret, or is somebody in between.
    """
    certificate = await seen_certificate(url)
    key = await asyncio.to_thread(stretched, secret)
    nonce = token_hex(NONCE_BYTES)
    async with httpx.AsyncClient(base_url=url, transport=Egress(verify=pinned_to(certificate))) as client:
        asked = f"/introduction?nonce={nonce}"
        said = msgspec.json.decode(await call(client, "GET", asked, body=None, timeout=JOIN_SECONDS), type=Introduction)
        if not same(said.proof, control_proof(key, nonce, fingerprint_of(certificate))):
            raise InvitationRefused(
                f"Whoever answers at {url} does not know the shared secret, or is not the control plane itself.",
                fix="Nothing of this node was sent. Set the same `cluster.sharedSecret` on both, or use an invitation.",
            )
        proof = node_proof(key, said.nonce, request.name, request.certificate)
        body = msgspec.json.encode(IntroducedCall(nonce=said.nonce, proof=proof, request=request))
        return _taken_in(await call(client, "POST", "/introduced", body=body, timeout=JOIN_SECONDS), certificate)


def _taken_in(answer: bytes, certificate: str) -> JoinAnswer:
    welcome = msgspec.json.decode(answer, type=Welcome)
    return JoinAnswer(
        control_plane=welcome.control_plane,
        certificate=certificate,
        credential=welcome.credential,
        heartbeat_seconds=welcome.heartbeat_seconds,
    )
