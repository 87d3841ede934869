"""What the resources work with, and who calls them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from modelgrid.config.model import Config
from modelgrid.decide.platform import Platform
from modelgrid.domain.access import Principal, Session
from modelgrid.domain.errors import Conflict, Forbidden
from modelgrid.domain.ids import NodeName
from modelgrid.domain.node import Node, NodeRole
from modelgrid.domain.routing import GatewayReport
from modelgrid.ports.clock import Clock
from modelgrid.ports.store import Store
from modelgrid.services.accounts import AccountService
from modelgrid.services.actions import DeploymentActions
from modelgrid.services.api_keys import ApiKeyService
from modelgrid.services.audit import AuditService
from modelgrid.services.catalog import CatalogService
from modelgrid.services.cluster.agent import Contact
from modelgrid.services.cluster.control_plane import ControlPlane
from modelgrid.services.cluster.joining import JoinService
from modelgrid.services.doctor import Doctor
from modelgrid.services.drivers import DriverService
from modelgrid.services.live import LiveFacts
from modelgrid.services.logs.store import LogStore
from modelgrid.services.metrics.service import MetricsService
from modelgrid.services.node_status import NodeStatusService
from modelgrid.services.preview import PreviewService
from modelgrid.services.registry import DeploymentRegistry
from modelgrid.services.restart import RestartService
from modelgrid.services.sessions import SessionService
from modelgrid.services.settings import SettingsService
from modelgrid.services.stream.hub import Hub
from modelgrid.services.targets import TargetService
from modelgrid.services.tokens import TokenService
from modelgrid.services.verdict import VerdictService
from modelgrid.services.vitals import DaemonVitals


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    config: Config
    """What the daemon was started with."""
    settings: SettingsService
    restart: RestartService
    state_dir: Path
    platform: Platform
    store: Store
    clock: Clock
    registry: DeploymentRegistry
    targets: TargetService
    preview: PreviewService
    actions: DeploymentActions
    keys: ApiKeyService
    accounts: AccountService
    audit: AuditService
    sessions: SessionService
    tokens: TokenService
    catalog: CatalogService
    logs: LogStore
    metrics: MetricsService
    live: LiveFacts
    nodes: Callable[[], Sequence[Node]]
    node_name: NodeName
    """This one's."""
    control: ControlPlane | None
    """On a control plane only."""
    contact: Callable[[], Contact | None]
    """On a worker: how it stands with its control plane."""
    node_credential: Callable[[], str]
    """What this node shows to others."""
    gateway_url: str
    """Under which clients reach this node's gateway."""
    console_url: str
    """Under which browsers reach this node's console."""
    cluster_url: str
    """Where this node's control process answers other nodes."""
    joining: JoinService
    node_status: NodeStatusService
    drivers: DriverService
    doctor: Doctor
    gateways: Callable[[], Sequence[GatewayReport]]
    verdict: VerdictService
    vitals: DaemonVitals
    hub: Hub
    """Where changes are published for the consoles that listen."""
    started_at: float

    def must_decide(self) -> None:
        """Raise `Conflict` on a worker: what is deployed where is its control plane's matter."""
        if self.config.cluster.role is NodeRole.WORKER:
            contact = self.contact()
            where = f" at {contact.url}" if contact else ""
            raise Conflict(
                f"{self.node_name} is a worker: its control plane{where} decides what runs here.",
                fix="Do this on the control plane, or take the node out with `modelgrid cluster leave`.",
                role=NodeRole.WORKER.value,
            )


# Dependencies are coroutines: FastAPI runs others in a thread, which costs more than all they do.


async def services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


PRINCIPAL = "modelgrid.principal"
SESSION = "modelgrid.session"
"""Keys of the scope, set by the authentication middleware."""
CLAIMED = "modelgrid.claimed"
"""Key of the scope: the user name that a login gave."""
ALLOWED = "modelgrid.allowed"
"""Key of the scope: what a call allowed that is off by default; the audit log names it."""


async def principal_of(request: Request) -> Principal:
    principal: Principal = request.scope[PRINCIPAL]
    return principal


async def caller_of(request: Request) -> str:
    """Return who is calling, as the audit names them."""
    return (await principal_of(request)).name


async def session_of(request: Request) -> Session:
    """Return the login session of the call. Raises `Forbidden` for a call with a token."""
    session: Session | None = request.scope[SESSION]
    if session is None:
        raise Forbidden("This is for login sessions; the call was made with a token.", fix="Log in first.")
    return session


async def source_of(request: Request) -> str:
    """Return the address that the connection comes from. What a proxy says about its own clients is not believed."""
    return request.client.host if request.client else ""


async def _must_decide(request: Request) -> None:
    (await services_of(request)).must_decide()


DECIDES = Depends(_must_decide)
"""For calls that change what is deployed where, or who may use it: not on a worker."""

Context = Annotated[Services, Depends(services_of)]
Caller = Annotated[str, Depends(caller_of)]
Who = Annotated[Principal, Depends(principal_of)]
OwnSession = Annotated[Session, Depends(session_of)]
Source = Annotated[str, Depends(source_of)]
