"""What the resources work with, and who calls them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request

from modelgrid.config.model import Config
from modelgrid.decide.platform import Platform
from modelgrid.domain.node import Node
from modelgrid.domain.routing import GatewayReport
from modelgrid.ports.clock import Clock
from modelgrid.ports.store import Store
from modelgrid.services.accounts import AccountService
from modelgrid.services.actions import DeploymentActions
from modelgrid.services.api_keys import ApiKeyService
from modelgrid.services.catalog import CatalogService
from modelgrid.services.doctor import Doctor
from modelgrid.services.drivers import DriverService
from modelgrid.services.engine_logs import EngineLogs
from modelgrid.services.live import LiveFacts
from modelgrid.services.node_status import NodeStatusService
from modelgrid.services.preview import PreviewService
from modelgrid.services.registry import DeploymentRegistry
from modelgrid.services.targets import TargetService


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    config: Config
    config_path: Path
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
    catalog: CatalogService
    logs: EngineLogs
    live: LiveFacts
    nodes: Callable[[], Sequence[Node]]
    node_status: NodeStatusService
    drivers: DriverService
    doctor: Doctor
    gateways: Callable[[], Sequence[GatewayReport]]
    problems: Callable[[], Sequence[str]]
    """What the configuration or the environment asks for and cannot be had, in sentences."""
    started_at: float


def services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


def caller_of(request: Request) -> str:
    """Return who is calling, as the audit names them; set by the authentication middleware."""
    return str(request.scope["modelgrid.caller"])


Context = Annotated[Services, Depends(services_of)]
Caller = Annotated[str, Depends(caller_of)]
