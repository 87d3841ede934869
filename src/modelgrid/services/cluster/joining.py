"""How this node comes into a cluster and out of it: who it is to the others, and what its config.json says of it."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from modelgrid import __version__
from modelgrid.adapters.cluster_files import ClusterFiles, Membership
from modelgrid.adapters.control_plane_http import HttpControlPlane, JoinAnswer, address_in, join, join_introduced
from modelgrid.adapters.node_certificate import FOLDER, ensure_certificate
from modelgrid.config.model import Config
from modelgrid.domain.cluster import JoinRequest
from modelgrid.domain.errors import Conflict, ModelGridError
from modelgrid.domain.ids import NodeName
from modelgrid.domain.node import NodeRole
from modelgrid.ports.clock import Clock
from modelgrid.services.registry import DeploymentRegistry
from modelgrid.services.targets import TargetService

log = structlog.get_logger()


class JoinService:
    """`configure` merges a patch into config.json and `restart` has them hold; both on behalf of somebody."""

    def __init__(
        self,
        *,
        config: Config,
        state_dir: Path,
        name: NodeName,
        clock: Clock,
        registry: DeploymentRegistry,
        targets: TargetService,
        host_towards: Callable[[str], str],
        configure: Callable[[dict[str, object], str], Awaitable[None]],
        restart: Callable[[str], Awaitable[None]],
    ) -> None:
        self._config = config
        self._folder = state_dir / FOLDER
        self._name = name
        self._clock = clock
        self._registry = registry
        self._targets = targets
        self._host_towards = host_towards
        self._configure = configure
        self._restart = restart

    async def join(self, url: str, token: str, *, by: str) -> Membership:
        """Join the control plane at `url`; the daemon restarts as its worker. Deployments and requests go on, and what
        was desired here is desired of the control plane from then on.

        Raises `Conflict` for a control plane, and for a worker of another one, and what `join` raises."""
        role = self._config.cluster.role
        files = ClusterFiles(self._folder)
        if role is NodeRole.CONTROL_PLANE:
            raise Conflict(
                f"{self._name} is a control plane itself.",
                fix="Set cluster.role to standalone first; its workers have to leave before that.",
            )
        present = files.membership() if role is NodeRole.WORKER else None
        if present is not None and present.url != url.rstrip("/"):
            raise Conflict(
                f"{self._name} belongs to the control plane {present.control_plane} already.",
                fix="Leave it first with `modelgrid cluster leave`.",
            )
        membership = await join_as(self._config, self._folder, self._name, self._clock, self._host_towards, url, token)
        files.keep_membership(membership)
        await self._configure({"cluster": {"role": "worker", "controlPlaneUrl": membership.url}}, by)
        await self._restart(by)
        return membership

    async def leave(self, *, by: str) -> None:
        """Leave the cluster; the daemon restarts standalone. Its engines run on, desired here from then on.

        Raises `Conflict` for a node that is no worker. A control plane that does not answer is no reason to stay."""
        files = ClusterFiles(self._folder)
        membership = files.membership()
        if self._config.cluster.role is not NodeRole.WORKER or membership is None:
            raise Conflict(
                f"{self._name} is no worker of any cluster.", fix="`modelgrid cluster status` tells its role."
            )
        link = HttpControlPlane(membership.url, membership.certificate, membership.credential)
        try:
            await link.leave()
        except ModelGridError as error:
            log.warning("the control plane was not told", reason=str(error))
        finally:
            await link.close()
        await self._targets.take_back(self._registry.all())
        files.forget_membership()
        await self._configure({"cluster": {"role": "standalone", "controlPlaneUrl": None}}, by)
        await self._restart(by)


async def introduce(
    config: Config, folder: Path, name: NodeName, clock: Clock, host_towards: Callable[[str], str]
) -> Membership:
    """Join the control plane that config.json names by the secret that it shares. Raises as `join_introduced` does."""
    url, secret = str(config.cluster.control_plane_url or ""), config.cluster.shared_secret or ""
    request = _request(config, folder, name, clock, host_towards, url)
    return _membership(url, await join_introduced(url.rstrip("/"), secret, request))


async def join_as(
    config: Config,
    folder: Path,
    name: NodeName,
    clock: Clock,
    host_towards: Callable[[str], str],
    url: str,
    token: str,
) -> Membership:
    """Join without a daemon's help: what the command line does on a machine where none runs yet."""
    request = _request(config, folder, name, clock, host_towards, url)
    return _membership(url, await join(url.rstrip("/"), token, request))


def _membership(url: str, answer: JoinAnswer) -> Membership:
    return Membership(
        control_plane=answer.control_plane,
        url=url.rstrip("/"),
        certificate=answer.certificate,
        credential=answer.credential,
    )


def _request(
    config: Config, folder: Path, name: NodeName, clock: Clock, host_towards: Callable[[str], str], url: str
) -> JoinRequest:
    address_in(url)
    certificate = ensure_certificate(folder, name)
    host, ports = host_towards(url), config.cluster
    return JoinRequest(
        name=name,
        version=__version__,
        at=clock.now(),
        peer_url=f"https://{host}:{ports.peer_port}",
        cluster_url=f"https://{host}:{ports.port}",
        certificate=certificate.pem,
    )
