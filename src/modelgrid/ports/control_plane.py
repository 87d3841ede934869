from typing import Protocol

from modelgrid.domain.cluster import Orders, Report, SharedRouting


class ControlPlaneLink(Protocol):
    """A node's way to its control plane. It speaks only to the one whose certificate the node has pinned.

    Every call raises `ControlPlaneUnreachable` when there is no answer in time (with `details["refused"]` when the
    host answered that nobody listens there), `Unauthenticated` when the node does not belong to the cluster any more,
    `Conflict` when it may not go on as it does."""

    async def heartbeat(self, report: Report, within: float) -> Orders:
        """Say all; return what is to be done. Bounded by `within` seconds."""
        ...

    async def orders(self, epoch: int, sequence: int) -> Orders | None:
        """Return orders that are newer than (epoch, sequence) as soon as there are some; `None` after some 25 s."""
        ...

    async def routing(self, epoch: int, generation: int) -> SharedRouting | None:
        """Return the shared routing as soon as it is newer, or how it differs from that generation; `None` after some
        25 s."""
        ...

    async def leave(self) -> None:
        """Leave the cluster."""
        ...

    async def close(self) -> None: ...
