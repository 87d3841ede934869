"""The whole in one answer: `modelgrid status`; and `modelgrid doctor`."""

from fastapi import APIRouter
from pydantic import BaseModel

from modelgrid import __version__
from modelgrid.api.context import Context, Services
from modelgrid.decide.classify import classify
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
    needs: list[str] = []
    for item in services.registry.all():
        classified = classify(item, now)
        counts[classified.state.value] = counts.get(classified.state.value, 0) + 1
        if classified.state.value in {"failed", "restarting", "pending"}:
            needs.append(f"{item.id} is {classified.state.value}: {classified.reason}")
    needs.sort(key=lambda text: (" is failed" not in text, " is restarting" not in text, text))
    needs += [f"{node.name}: {node.inventory.problem}" for node in nodes if node.inventory.problem]
    needs += list(services.problems())
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
        needs=needs,
    )


@router.get("/overview")
async def overview(services: Context) -> Overview:
    """Return the whole in one answer: what runs here, and what needs somebody."""
    return overview_view(services)


@router.get("/doctor")
async def doctor(services: Context) -> Checks:
    """Make every check an operator would make, with the fix for what fails."""
    return Checks(items=list(await services.doctor.checks()))
