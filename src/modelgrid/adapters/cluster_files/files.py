"""Two files below `<state>/cluster`: how the node belongs to its cluster, and the routing it heard last."""

from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog

from modelgrid.config.file import write_atomically
from modelgrid.domain.cluster import SharedRouting
from modelgrid.domain.errors import StoreUnavailable

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """By which a node is known to its control plane, and knows it."""

    control_plane: str
    """The control plane's node name."""
    url: str
    certificate: str
    """PEM of the control plane's certificate: nobody else is spoken to."""
    credential: str = field(repr=False)


class ClusterFiles:
    """`folder` exists, with mode 0700. Blocking, a few KiB each."""

    def __init__(self, folder: Path) -> None:
        self._membership = folder / "membership.json"
        self._routing = folder / "routing.json"

    def membership(self) -> Membership | None:
        """Return how this node belongs to a cluster; `None` when it does not. Raises `StoreUnavailable`."""
        try:
            return msgspec.json.decode(self._membership.read_bytes(), type=Membership)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            raise StoreUnavailable(
                f"{self._membership} cannot be read: {error}.", fix="Join the cluster again with an invitation."
            ) from error

    def keep_membership(self, membership: Membership) -> None:
        write_atomically(self._membership, msgspec.json.encode(membership).decode() + "\n")

    def forget_membership(self) -> None:
        self._membership.unlink(missing_ok=True)
        self._routing.unlink(missing_ok=True)

    def routing(self) -> SharedRouting | None:
        """Return the routing that was heard last, for a start without the control plane; `None` when there is none."""
        try:
            return msgspec.json.decode(self._routing.read_bytes(), type=SharedRouting)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:  # it is only a copy: the next one replaces it
            log.warning("the saved routing is not usable", error=str(error))
            return None

    def keep_routing(self, routing: SharedRouting) -> None:
        write_atomically(self._routing, msgspec.json.encode(routing).decode())
