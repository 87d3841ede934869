"""The other nodes of the cluster: who may come here, and how to get there."""

import logging
import ssl
from collections.abc import Iterable, Mapping
from hashlib import sha256

from modelgrid.domain.routing import KeyGrant, Peer
from modelgrid.gateway.keys import Grant

log = logging.getLogger(__name__)

PREFIX = b"x-modelgrid-"
"""Of headers between gateways. From clients and engines they are dropped, towards them as well."""
DEPLOYMENT = b"x-modelgrid-deployment"
"""The engine that the calling gateway has chosen."""
WAIT = b"x-modelgrid-wait"
"""The calling gateway has nobody else to ask: the request may stand in line."""
REFUSAL = b"X-ModelGrid-Refusal"
"""Code of an error that is the answering gateway's own."""


class PeerRing:
    """The nodes whose gateways may come here, by the SHA-256 of their credentials."""

    def __init__(self, peers: Iterable[Peer] = (), own: str = "") -> None:
        """`own`: this node, which need not call itself. Raises ValueError for a digest that is not hexadecimal."""
        self._grants = {
            bytes.fromhex(peer.digest): Grant(
                KeyGrant(id=f"peer:{peer.node}", label=peer.node, digest=peer.digest), None
            )
            for peer in peers
            if peer.node != own and peer.digest
        }

    def find(self, secret: bytes) -> Grant | None:
        """Return the grant of the node with this credential."""
        return self._grants.get(sha256(secret).digest())


class Way:
    """The way to one peer's gateway. Another address or certificate makes another way."""

    def __init__(self, peer: Peer) -> None:
        """Raises ValueError when the peer has no usable certificate."""
        self.peer = peer
        self.context = context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        """Trusts this peer's certificate alone. A name proves nothing here, so none is looked at."""
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False
        if not peer.certificate.isascii():
            raise ValueError("it is not PEM")
        try:
            context.load_verify_locations(cadata=peer.certificate)
        except ssl.SSLError as error:
            raise ValueError(error.reason or str(error)) from error

    def leads_to(self, peer: Peer) -> bool:
        """Whether it is still the way to `peer`."""
        old = self.peer
        return (old.host, old.port, old.certificate) == (peer.host, peer.port, peer.certificate)


def ways_to(peers: Iterable[Peer], own: str, before: Mapping[str, Way]) -> dict[str, Way]:
    """Return the ways to all peers but `own`; those of `before` that still lead there are kept, connections and all."""
    ways: dict[str, Way] = {}
    for peer in peers:
        if peer.node == own:
            continue
        known = before.get(peer.node)
        try:
            ways[peer.node] = known if known is not None and known.leads_to(peer) else Way(peer)
        except ValueError as error:
            log.warning("no way to node %s: its certificate is not usable (%s)", peer.node, error)
    return ways
