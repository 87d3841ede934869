"""What every gateway of the cluster has to know: made from each table of the control plane's own gateways."""

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import dropwhile
from urllib.parse import urlsplit

from modelgrid.decide.routing_change import change_between, merged, with_change
from modelgrid.domain.cluster import SharedRouting
from modelgrid.domain.routing import Peer, RoutingTable
from modelgrid.services.cluster.members import Members

MOST_CHANGES = 64
"""Kept for nodes that are behind. Who is further behind gets all."""


class SharedRoutingService:
    """`own` returns the control plane's own gateway as its peers see it. `epoch` is this control plane's start."""

    def __init__(self, members: Members, own: Callable[[], Peer], epoch: int) -> None:
        self._members = members
        self._own = own
        self._present = SharedRouting(epoch=epoch, generation=0)
        self._changes: deque[SharedRouting] = deque(maxlen=MOST_CHANGES)
        """From each generation to the next."""
        self._since: dict[int, SharedRouting] = {}
        """What was made of them for the present generation: the same for all nodes that are as far."""
        self._changed = asyncio.Event()
        self._closed = False

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
            generation=present.generation + 1,
            models=table.models,
            keys=table.keys,
            peers=table.peers,
            requests_per_minute=table.settings.requests_per_minute,
        )
        change = change_between(present, new)
        if change is None:
            return
        self._present = with_change(present, change)
        self._changes.append(change)
        self._since.clear()
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def newer(
        self, epoch: int, generation: int, *, wait_seconds: float, changes: bool = False
    ) -> SharedRouting | None:
        """Return the routing as soon as it is newer than what is known; `None` when nothing came in time.

        `changes`: who asks understands what says only how it differs from what is known."""
        try:
            async with asyncio.timeout(wait_seconds):
                while not self._closed and (self._present.epoch, self._present.generation) == (epoch, generation):
                    await self._changed.wait()
        except TimeoutError:
            return None
        if self._closed:
            return None
        if not changes or epoch != self._present.epoch:
            return self._present
        if generation not in self._since:
            self._since[generation] = self._what_is_new(generation)
        return self._since[generation]

    def close(self) -> None:
        """Let those go who wait: nothing comes any more."""
        self._closed = True
        self._changed.set()

    def _what_is_new(self, generation: int) -> SharedRouting:
        newer = list(dropwhile(lambda change: change.since < generation, self._changes))
        return merged(newer) if newer and newer[0].since == generation else self._present
