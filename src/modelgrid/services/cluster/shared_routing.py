"""What every gateway of the cluster has to know: made from each table of the control plane's own gateways."""

import asyncio
from collections.abc import Callable
from urllib.parse import urlsplit

from modelgrid.domain.cluster import SharedRouting
from modelgrid.domain.routing import Peer, RoutingTable
from modelgrid.services.cluster.members import Members


class SharedRoutingService:
    """`own` returns the control plane's own gateway as its peers see it. `epoch` is this control plane's start."""

    def __init__(self, members: Members, own: Callable[[], Peer], epoch: int) -> None:
        self._members = members
        self._own = own
        self._present = SharedRouting(epoch=epoch, generation=0)
        self._changed = asyncio.Event()

    @property
    def present(self) -> SharedRouting:
        return self._present

    def peers(self) -> tuple[Peer, ...]:
        """Return the gateways of all members, this one's included."""
        others = []
        for member in self._members.all():
            address = urlsplit(member.peer_url)
            digests = (member.digest, *([member.next_digest] if member.next_digest else []))
            others += [
                Peer(
                    node=member.name,
                    host=address.hostname or "",
                    port=address.port or 443,
                    certificate=member.certificate,
                    digest=digest,
                )
                for digest in digests
            ]
        return (self._own(), *others)

    def take(self, table: RoutingTable) -> None:
        """The control plane's gateways have a new table: tell the others, if it says anything new to them."""
        present = self._present
        new = SharedRouting(
            epoch=present.epoch,
            generation=present.generation,
            models=table.models,
            keys=table.keys,
            peers=table.peers,
            requests_per_minute=table.settings.requests_per_minute,
        )
        if new == present:
            return
        self._present = SharedRouting(
            epoch=new.epoch,
            generation=present.generation + 1,
            models=new.models,
            keys=new.keys,
            peers=new.peers,
            requests_per_minute=new.requests_per_minute,
        )
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def newer(self, epoch: int, generation: int, *, wait_seconds: float) -> SharedRouting | None:
        """Return the routing as soon as it is newer than what is known; `None` when nothing came in time."""
        try:
            async with asyncio.timeout(wait_seconds):
                while (self._present.epoch, self._present.generation) == (epoch, generation):
                    await self._changed.wait()
        except TimeoutError:
            return None
        return self._present
