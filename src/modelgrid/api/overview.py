"""The whole in one answer: `modelgrid status`; and `modelgrid doctor`."""

import shutil
from collections.abc import Sequence

from fastapi import APIRouter
from pydantic import BaseModel

from modelgrid import __version__
from modelgrid.api.context import Context, Services
from modelgrid.decide.classify import classify
from modelgrid.decide.verdict import FleetFacts, Reason, Severity, Word, judge
from modelgrid.domain.node import Node
from modelgrid.services.doctor import Check

router = APIRouter(tags=["overview"])


class Health(BaseModel):
    status: str


class Overview(BaseModel):
    node: str
    role: str
    version: str
    started_at: float
    api_url: str
    console_url: str
    platform: str
    """How engines are started here, and why."""
    simulated: bool
    nodes: int
    gpus: int
    gpus_stale: bool
    deployments: dict[str, int]
    """Count by state."""
    gateways: int
    """Gateways that report."""
    connections: int
    verdict: Word
    sentence: str
    """The verdict, in one sentence."""
    reasons: tuple[Reason, ...]
    """Why it is not healthy, and what is worth knowing; worst first."""
    needs: list[str]
    """What needs somebody, worst first: cause and where to look."""


class Checks(BaseModel):
    items: list[Check]


@router.get("/health")
async def health() -> Health:
    """Answer 200 without a credential once control serves."""
    return Health(status="ok")


def overview_view(services: Services) -> Overview:
    """Return the whole at a glance."""
    now = services.clock.now()
    nodes = services.nodes()
    counts: dict[str, int] = {}
    for item in services.registry.all():
        state = classify(item, now).state.value
        counts[state] = counts.get(state, 0) + 1
    found = judge(_facts(services, nodes), now)
    reports = services.gateways()
    api = services.config.api
    scheme = "https" if api.tls else "http"
    return Overview(
        node=nodes[0].name,
        role=nodes[0].role.value,
        version=__version__,
        started_at=services.started_at,
        api_url=f"http://{api.host}:{api.port}/v1",
        console_url=f"{scheme}://{api.ui_host}:{api.ui_port}",
        platform=services.platform.reason,
        simulated=services.platform.gpus_simulated or services.platform.runtime == "simulated",
        nodes=len(nodes),
        gpus=sum(len(node.inventory.gpus) for node in nodes),
        gpus_stale=any(node.inventory.stale for node in nodes),
        deployments=counts,
        gateways=len(reports),
        connections=sum(report.connections for report in reports),
        verdict=found.word,
        sentence=found.sentence,
        reasons=found.reasons,
        needs=[reason.cause for reason in found.reasons if reason.severity is not Severity.NOTE],
    )


def _facts(services: Services, nodes: Sequence[Node]) -> FleetFacts:
    disk = shutil.disk_usage(services.state_dir)
    return FleetFacts(
        nodes=tuple(nodes),
        targets=services.targets.all(),
        deployments=services.registry.all(),
        gateways=len(services.gateways()),
        gateways_wanted=services.config.api.workers,
        problems=tuple(services.problems()),
        log_problem=services.logs.problem,
        catalog_problems=tuple(f"{s.name}: {s.problem}" for s in services.catalog.sources if s.problem),
        disk_free_bytes=disk.free,
        disk_total_bytes=disk.total,
        started_at=services.started_at,
    )


@router.get("/overview")
async def overview(services: Context) -> Overview:
    """Return the whole in one answer: what runs here, and what needs somebody."""
    return overview_view(services)


@router.get("/doctor")
async def doctor(services: Context) -> Checks:
    """Make every check an operator would make, with the fix for what fails."""
    return Checks(items=list(await services.doctor.checks()))
