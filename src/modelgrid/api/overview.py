"""The whole in one answer: `modelgrid status`; and `modelgrid doctor`."""

from fastapi import APIRouter
from pydantic import BaseModel

from modelgrid import __version__
from modelgrid.api.context import Context, Services
from modelgrid.decide.catalog import Drift
from modelgrid.decide.classify import classify, serves
from modelgrid.decide.verdict import Reason, Word
from modelgrid.domain.deployment import DeploymentState
from modelgrid.services.doctor import Check

router = APIRouter(tags=["overview"])


class Health(BaseModel):
    status: str


class Quantiles(BaseModel):
    """Of the last 10 s; null without requests in it."""

    p50: float | None
    p95: float | None
    p99: float | None


class Vitals(BaseModel):
    """The present of the whole fleet; null where it is not known, as while no gateway reports."""

    requests_per_second: float | None
    error_ratio: float | None
    """Share of the requests that were answered with 5xx; null without requests."""
    latency_seconds: Quantiles
    time_to_first_token_seconds: Quantiles
    input_tokens_per_second: float | None
    output_tokens_per_second: float | None
    in_flight: int | None
    queued: int | None
    """Requests that wait for a replica."""
    gpu_utilization_percent: float | None
    """Mean of the GPUs that say."""
    vram_used_bytes: int
    vram_total_bytes: int
    """Of the GPUs whose readings are fresh."""
    daemon_memory_bytes: int
    """Resident memory of the control process."""
    daemon_cpu_percent: float
    """Of one core."""
    daemon_loop_lag_seconds: float
    """The longest that anything had to wait for the control process in the last minute, as far as it was seen."""
    streams: int
    """Consoles and scripts that read the stream."""


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
    vitals: Vitals
    catalog_drift: Drift
    """Ids that the sources of the catalog have added, changed or removed against what is in use."""


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
        state = (DeploymentState.RUNNING if serves(item) else classify(item, now).state).value
        counts[state] = counts.get(state, 0) + 1
    found = services.verdict.judge()
    reports = services.gateways()
    return Overview(
        node=nodes[0].name,
        role=nodes[0].role.value,
        version=__version__,
        started_at=services.started_at,
        api_url=f"{services.gateway_url}/v1",
        console_url=services.console_url,
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
        vitals=_vitals(services),
        catalog_drift=services.catalog.drift,
    )


def _vitals(services: Services) -> Vitals:
    figures = services.metrics.fleet()
    flow, daemon = figures.flow, services.vitals
    latency, first = (flow.latency, flow.ttft) if flow else ((None,) * 3, (None,) * 3)
    return Vitals(
        requests_per_second=flow.requests_per_second if flow else None,
        error_ratio=flow.error_ratio if flow else None,
        latency_seconds=Quantiles(p50=latency[0], p95=latency[1], p99=latency[2]),
        time_to_first_token_seconds=Quantiles(p50=first[0], p95=first[1], p99=first[2]),
        input_tokens_per_second=flow.input_tokens_per_second if flow else None,
        output_tokens_per_second=flow.output_tokens_per_second if flow else None,
        in_flight=figures.in_flight,
        queued=figures.queued,
        gpu_utilization_percent=figures.gpu_utilization_percent,
        vram_used_bytes=figures.vram_used_bytes,
        vram_total_bytes=figures.vram_total_bytes,
        daemon_memory_bytes=daemon.memory_bytes,
        daemon_cpu_percent=daemon.cpu_percent,
        daemon_loop_lag_seconds=daemon.loop_lag_seconds,
        streams=services.hub.streams,
    )


@router.get("/overview")
async def overview(services: Context) -> Overview:
    """Return the whole in one answer: what runs here, and what needs somebody."""
    return overview_view(services)


@router.get("/doctor")
async def doctor(services: Context) -> Checks:
    """Make every check an operator would make, with the fix for what fails."""
    return Checks(items=list(await services.doctor.checks()))
