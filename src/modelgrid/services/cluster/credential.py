"""How a worker changes its credential while its gateways answer: nobody shows one that the others do not know yet."""

import asyncio
from collections.abc import Callable

from modelgrid.domain.cluster import SharedRouting
from modelgrid.domain.join_format import digest_of
from modelgrid.ports.clock import Clock

SETTLE_SECONDS = 5.0
"""The routing reaches every node in half a second, and one that asks for it anew in little more than one. Two of these
pass before a new credential is shown to the control plane, which makes one anew that is not used for a minute."""


class NodeCredential:
    """The control plane holds both credentials good until the new one is shown to it: so its gateways change first, and
    not before the others can have heard of it. One that is lost by a restart meanwhile is made anew.

    `to_gateways` is called when `of_gateways` changed, `use` with what is to be kept and shown from then on."""

    def __init__(
        self, node: str, present: str, clock: Clock, *, to_gateways: Callable[[], None], use: Callable[[str], None]
    ) -> None:
        self.of_gateways = present
        """What this node's gateways show to others."""
        self._node = node
        self._clock = clock
        self._to_gateways = to_gateways
        self._use = use
        self._offered = ""
        self._told: frozenset[str] = frozenset()
        """Digests that the other nodes are told to know this one by."""
        self._changed = asyncio.Event()

    def offer(self, credential: str) -> None:
        """Change to `credential` when that can be done. A later offer voids one that is not in use yet."""
        self._offered = credential
        self._changed.set()

    def hear(self, routing: SharedRouting) -> None:
        """Note by which credentials the others know this node."""
        self._told = frozenset(peer.digest for peer in routing.peers if peer.node == self._node)
        self._changed.set()

    async def run(self) -> None:
        """Change over whenever there is an offer, until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            offered = self._offered
            if offered and digest_of(offered) in self._told:
                await self._change(offered)

    async def _change(self, offered: str) -> None:
        await self._clock.sleep(SETTLE_SECONDS)
        if not self._is_good(offered):
            return
        self.of_gateways = offered
        self._to_gateways()
        await self._clock.sleep(SETTLE_SECONDS)
        if self._is_good(offered):
            self._offered = ""
            self._use(offered)

    def _is_good(self, offered: str) -> bool:
        return self._offered == offered and digest_of(offered) in self._told
