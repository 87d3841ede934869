"""Figures over time, the present of one deployment, and what Prometheus and Grafana need."""

from importlib.resources import files
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.responses import PlainTextResponse, Response

from modelgrid.api.context import Context
from modelgrid.config.model import ApiConfig
from modelgrid.config.urls import reachable
from modelgrid.domain.errors import InvalidInput
from modelgrid.domain.metric import METRIC, METRICS, QUANTILES
from modelgrid.services.metrics.engine import Histogram
from modelgrid.services.metrics.series import times_for

router = APIRouter(tags=["metrics"])

DEFAULT_SECONDS = 900.0
MOST_SERIES = 1_000
"""In one answer."""
_NAMES = ", ".join(f"`{metric.name}`" for metric in METRICS)

Moment = Annotated[float | None, Query(ge=0, le=1e11, description="Unix seconds.")]


class SeriesView(BaseModel):
    name: str
    unit: str
    labels: dict[str, str]
    points: list[tuple[float, float | None]]
    """Unix time and the mean of the step that begins there; null where nothing was measured."""


class SeriesList(BaseModel):
    items: list[SeriesView]
    step: int
    """Seconds between two points."""
    long_range: int
    """Seconds that the 10 s values reach back: a day, or less of it where a large fleet leaves no room for more."""
    left_out: int
    """Of how many GPUs, deployments and models there is no room for series. 0 but in fleets of thousands of GPUs."""


class BucketView(BaseModel):
    le: float | None
    """Upper bound in seconds; null for what is above the last."""
    count: float
    """In this bucket alone."""


class HistogramView(BaseModel):
    buckets: list[BucketView]
    count: float
    sum: float
    """Seconds."""
    p50: float | None
    p95: float | None
    p99: float | None


class DeploymentMetrics(BaseModel):
    at: float
    requests_per_second: float
    errors_per_second: float
    in_flight: int
    running: float | None
    """In the engine's batch."""
    waiting: float | None
    kv_cache_ratio: float | None
    kv_cache_blocks: int | None
    kv_cache_block_tokens: int | None
    input_tokens_per_second: float | None
    output_tokens_per_second: float | None
    time_to_first_token: HistogramView
    latency: HistogramView
    window_seconds: float
    """Of the two histograms."""
    vram_used_bytes: int | None
    vram_total_bytes: int | None
    engine_problem: str
    """Why the engine's own figures are not known; empty when they are."""


@router.get("/metrics/series")
async def metrics_series(
    services: Context,
    name: Annotated[list[str], Query(max_length=64, description=f"Repeatable. One of {_NAMES}.")],
    since: Moment = None,
    until: Moment = None,
    step: Annotated[int | None, Query(ge=1, le=86_400, description="Seconds; default: about 600 points.")] = None,
    model: str | None = None,
    deployment: str | None = None,
    node: str | None = None,
    gpu: str | None = None,
) -> SeriesList:
    """Return series: by default of the last 15 minutes, every second of them; the last day is kept every 10 s.

    Names without a prefix are of the whole fleet; `model_`, `deployment_` and `gpu_` ones have labels to filter by."""
    unknown = [item for item in name if item not in METRIC]
    if unknown:
        raise InvalidInput(
            f"There is no metric {unknown[0][:100]!r}.",
            fix="GET metrics/names lists those that are kept.",
            path="name",
        )
    now = services.clock.now()
    end = min(until if until is not None else now, now)
    begin = since if since is not None else end - DEFAULT_SECONDS
    if begin > end:
        raise InvalidInput("`since` is after `until`, or in the future.", path="since")
    times = times_for(max(begin, now - 2 * 86_400), end, step, now)
    asked = {"model": model, "deployment": deployment, "node": node, "gpu": gpu}
    wanted = {label: value for label, value in asked.items() if value is not None}
    found = [series for item in dict.fromkeys(name) for series in services.metrics.series.find(item, wanted, times)]
    if len(found) * len(times) > MOST_SERIES * 600:
        raise InvalidInput(
            f"{len(found)} series of {len(times)} points are too much for one answer.",
            fix="Ask for fewer names, filter by a label, or take a longer step.",
        )
    items = [
        SeriesView(
            name=series.metric.name,
            unit=series.metric.unit,
            labels=dict(series.labels),
            points=list(zip(map(float, times), series.values, strict=True)),
        )
        for series in found
    ]
    store = services.metrics.series
    return SeriesList(
        items=items, step=times.step, long_range=store.long_range, left_out=store.left_out(int(services.clock.now()))
    )


class MetricName(BaseModel):
    name: str
    unit: str
    text: str
    labels: tuple[str, ...]


class MetricNames(BaseModel):
    items: list[MetricName]


@router.get("/metrics/names")
async def metrics_names() -> MetricNames:
    """Return the metrics that are kept as series."""
    return MetricNames(items=[MetricName(name=m.name, unit=m.unit, text=m.text, labels=m.labels) for m in METRICS])


@router.get("/metrics/dashboard")
async def metrics_dashboard() -> Response:
    """Return a Grafana dashboard of what port 8080 gives Prometheus, to import as it is."""
    return Response(dashboard_text(), media_type="application/json")


@router.get("/metrics/scrape-config", response_class=PlainTextResponse)
async def metrics_scrape_config(services: Context) -> PlainTextResponse:
    """Return the entry of `scrape_configs` in prometheus.yml, as YAML; the key goes into the file it names."""
    return PlainTextResponse(scrape_config(services.config.api))


@router.get("/deployments/{deployment}/metrics")
async def deployment_metrics(services: Context, deployment: str) -> DeploymentMetrics:
    """Return the present of one deployment: traffic, what its engine says, and the last minutes' histograms."""
    return deployment_metrics_view(services, deployment)


def deployment_metrics_view(services: Context, deployment: str) -> DeploymentMetrics:
    figures = services.metrics.of(services.registry.resolve(deployment))
    reading = figures.reading
    return DeploymentMetrics(
        at=figures.at,
        requests_per_second=figures.flow.requests_per_second,
        errors_per_second=figures.flow.errors_per_second,
        in_flight=figures.in_flight,
        running=reading.running if reading else None,
        waiting=reading.waiting if reading else None,
        kv_cache_ratio=reading.kv_cache_ratio if reading else None,
        kv_cache_blocks=reading.kv_blocks if reading else None,
        kv_cache_block_tokens=reading.kv_block_tokens if reading else None,
        input_tokens_per_second=figures.input_tokens_per_second,
        output_tokens_per_second=figures.output_tokens_per_second,
        time_to_first_token=_histogram(figures.first_token),
        latency=_histogram(figures.latency),
        window_seconds=figures.window_seconds,
        vram_used_bytes=figures.vram_used_bytes,
        vram_total_bytes=figures.vram_total_bytes,
        engine_problem=figures.not_read_because,
    )


def dashboard_text() -> str:
    """Return the dashboard's JSON."""
    return files("modelgrid.api").joinpath("grafana_dashboard.json").read_text()


def scrape_config(api: ApiConfig) -> str:
    scheme = "  scheme: https  # put a name of the certificate in the place of the address\n" if api.tls else ""
    return f"""\
# Of scrape_configs in prometheus.yml. The key is any API key that is not bound to models:
#   modelgrid config apikey generate --label prometheus
# Put its secret into the file, readable by Prometheus only.
- job_name: modelgrid
  scrape_interval: 15s
{scheme}  authorization:
    credentials_file: /etc/prometheus/modelgrid.key
  static_configs:
    - targets: ["{reachable(api.host)}:{api.port}"]
"""


def _histogram(histogram: Histogram) -> HistogramView:
    quantiles = dict(zip((name for name, _ in QUANTILES), histogram.quantiles(), strict=True))
    bounds: list[float | None] = [*histogram.bounds, None] if histogram.bounds else []
    return HistogramView(
        buckets=[BucketView(le=le, count=count) for le, count in zip(bounds, histogram.counts, strict=True)],
        count=sum(histogram.counts),
        sum=histogram.sum,
        **quantiles,
    )
