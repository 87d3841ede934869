"""Samples the present once a second into the series, and answers what is asked of one deployment."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from modelgrid.domain.deployment import Deployment
from modelgrid.domain.gpu import Gpu
from modelgrid.domain.ids import DeploymentId
from modelgrid.domain.metric import QUANTILES
from modelgrid.domain.node import Node
from modelgrid.domain.routing import GatewayReport
from modelgrid.ports.clock import Clock
from modelgrid.services.metrics.engine import RECENT_SECONDS, WINDOW_SECONDS, EngineFigures, Histogram, Reading
from modelgrid.services.metrics.scraper import Scraper
from modelgrid.services.metrics.series import Labels, SeriesStore
from modelgrid.services.metrics.traffic import FLEET, FRESH_SECONDS, Flow, Scope, Traffic
from modelgrid.services.registry import DeploymentRegistry

FLOWS_FRESH_SECONDS = 1.0
"""Reports come once a second: what was computed of them holds as long."""
TOLD_EVERY_SECONDS = 600
CLOCK_WENT_BACK_SECONDS = 5
LATE_SECONDS = 5
"""A sample that is so late stands for the seconds before it, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentFigures:
    """The present of one deployment."""

    at: float
    flow: Flow
    """Through the gateways."""
    in_flight: int
    reading: Reading | None
    """Of its engine; `None` while it gives none."""
    not_read_because: str
    input_tokens_per_second: float | None
    output_tokens_per_second: float | None
    first_token: Histogram
    latency: Histogram
    window_seconds: float
    """Of the two histograms."""
    vram_used_bytes: int | None
    vram_total_bytes: int | None
    """Of its GPUs; `None` when it has none or they were not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetFigures:
    """The present of the whole fleet; `None` where it is not known."""

    flow: Flow | None
    """Through the gateways; `None` while none reports."""
    in_flight: int | None
    queued: int | None
    gpu_utilization_percent: float | None
    """Mean of the GPUs that say."""
    vram_used_bytes: int
    vram_total_bytes: int
    """Of the GPUs whose readings are fresh."""


class MetricsService:
    """`run` samples; everything else reads. One event loop."""

    def __init__(
        self,
        registry: DeploymentRegistry,
        nodes: Callable[[], Sequence[Node]],
        scraper: Scraper,
        clock: Clock,
    ) -> None:
        self._registry = registry
        self._nodes = nodes
        self._clock = clock
        self._second = 0
        self._flows: tuple[float, Mapping[Scope, Flow], tuple[GatewayReport, ...]] | None = None
        self.scraper = scraper
        self.series = SeriesStore()
        self.traffic = Traffic()
        self._listeners: list[Callable[[], None]] = []

    def on_sample(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each sample, on the event loop. It must neither block nor raise."""
        self._listeners.append(listener)

    def take_report(self, report: GatewayReport, *, fresh_seconds: float = FRESH_SECONDS) -> None:
        """A gateway reported. It is counted on for `fresh_seconds` without another report."""
        self._flows = None
        self.traffic.take(report, self._clock.monotonic(), fresh_seconds)

    def kv_blocks(self, deployment: DeploymentId) -> int | None:
        """Return how many KV cache blocks a deployment's engine has; `None` while it is not known."""
        figures = self.scraper.figures.get(deployment)
        return figures.latest.kv_blocks if figures is not None and figures.latest is not None else None

    async def run(self) -> None:
        """Sample at each whole second until cancelled."""
        while True:
            now = self._clock.now()
            await self._clock.sleep(1.02 - now % 1.0)
            self.sample()

    def sample(self) -> None:
        """Put one value of everything into the series."""
        second = int(self._clock.now())
        if second < self._second - CLOCK_WENT_BACK_SECONDS:
            self.series = SeriesStore()  # the clock was set back: there is no honest order with what was before
        # A second that was missed because this process was busy is no gap: nobody was silent.
        begin = self._second + 1 if second - self._second <= LATE_SECONDS else second
        self._second = second
        for name, labels, value in self._present():
            for at in range(begin, second + 1):
                self.series.put(name, labels, at, value)
        if second % TOLD_EVERY_SECONDS == 0:
            self.series.forget_old(second)
        for listener in self._listeners:
            listener()

    def of(self, deployment: Deployment) -> DeploymentFigures:
        """Return the present of one deployment."""
        flows, reports = self._traffic()
        figures = self.scraper.figures.get(deployment.id, EngineFigures())
        rates = figures.rates()
        first_token, latency, window = figures.window(WINDOW_SECONDS)
        gpus = _gpus_of(deployment, self._gpus())
        return DeploymentFigures(
            at=self._clock.now(),
            flow=flows.get(("deployment", deployment.id), Flow()),
            in_flight=_in_flight(reports).get(deployment.id, 0),
            reading=figures.latest,
            not_read_because=figures.failed,
            input_tokens_per_second=rates[0],
            output_tokens_per_second=rates[1],
            first_token=first_token,
            latency=latency,
            window_seconds=window,
            vram_used_bytes=sum(gpu.vram_used_bytes for gpu in gpus) if gpus else None,
            vram_total_bytes=sum(gpu.vram_total_bytes for gpu in gpus) if gpus else None,
        )

    def fleet(self) -> FleetFigures:
        """Return the present of the whole fleet."""
        flows, reports = self._traffic()
        gpus = self._gpus().values()
        loads = [gpu.utilization_percent for gpu in gpus if gpu.utilization_percent is not None]
        return FleetFigures(
            flow=flows[FLEET] if reports else None,
            in_flight=sum(_in_flight(reports).values()) if reports else None,
            queued=sum(sum(report.queued.values()) for report in reports) if reports else None,
            gpu_utilization_percent=sum(loads) / len(loads) if loads else None,
            vram_used_bytes=sum(gpu.vram_used_bytes for gpu in gpus),
            vram_total_bytes=sum(gpu.vram_total_bytes for gpu in gpus),
        )

    def flow_of(self, deployment: DeploymentId) -> Flow | None:
        """Return what the gateways have sent through a deployment at present; `None` while none reports."""
        flows, reports = self._traffic()
        return flows.get(("deployment", deployment), Flow()) if reports else None

    def _traffic(self) -> tuple[Mapping[Scope, Flow], tuple[GatewayReport, ...]]:
        """Return the flows and the fresh reports, computed once between two reports."""
        now = self._clock.monotonic()
        if self._flows is None or not 0.0 <= now - self._flows[0] < FLOWS_FRESH_SECONDS:
            self._flows = (now, self.traffic.flows(now), self.traffic.reports(now))
        return self._flows[1:]

    def _present(self) -> Iterator[tuple[str, Labels, float | None]]:
        flows, reports = self._traffic()
        if reports:  # else it is not known
            yield from ((name, (), value) for name, value in flows[FLEET].figures())
            yield "in_flight", (), sum(_in_flight(reports).values())
            yield "queued", (), sum(sum(report.queued.values()) for report in reports)
            yield "connections", (), sum(report.connections for report in reports)
        yield from self._of_models(flows, reports)
        gpus = self._gpus()
        yield from self._of_deployments(flows, reports, gpus)
        for labels, gpu in gpus.items():
            if not self.series.takes("gpu_vram_used_bytes", labels, self._second):
                continue
            yield "gpu_utilization_percent", labels, gpu.utilization_percent
            yield "gpu_vram_used_bytes", labels, gpu.vram_used_bytes
            yield "gpu_temperature_celsius", labels, gpu.temperature_celsius
            yield "gpu_power_watts", labels, gpu.power_watts

    def _of_models(
        self, flows: Mapping[Scope, Flow], reports: tuple[GatewayReport, ...]
    ) -> Iterator[tuple[str, Labels, float | None]]:
        deployed = {str(item.model) for item in self._registry.all() if item.ready_at is not None}
        for model in deployed | {name for kind, name in flows if kind == "model"} if reports else ():
            for name, value in flows.get(("model", model), Flow()).figures():
                yield f"model_{name}", (model,), value
            yield "model_queued", (model,), sum(report.queued.get(model, 0) for report in reports)

    def _of_deployments(
        self, flows: Mapping[Scope, Flow], reports: tuple[GatewayReport, ...], measured: "_Gpus"
    ) -> Iterator[tuple[str, Labels, float | None]]:
        in_flight = _in_flight(reports)
        for item in self._registry.all():
            labels = (str(item.id), str(item.model))
            if item.ready_at is None or not self.series.takes("deployment_in_flight", labels, self._second):
                continue
            flow = flows.get(("deployment", item.id), Flow())
            values = dict(flow.figures()) if reports else {}
            values["in_flight"] = in_flight.get(item.id, 0) if reports else None
            values.update(_of_engine(self.scraper.figures.get(item.id)))
            gpus = _gpus_of(item, measured)
            values["vram_used_bytes"] = sum(gpu.vram_used_bytes for gpu in gpus) if gpus else None
            yield from ((f"deployment_{name}", labels, value) for name, value in values.items())

    def _gpus(self) -> "_Gpus":
        """Return the GPUs whose readings are fresh, by node and id."""
        fresh = [node for node in self._nodes() if not node.inventory.stale]
        return {(str(node.name), str(gpu.id)): gpu for node in fresh for gpu in node.inventory.gpus}


_Gpus = Mapping[Labels, Gpu]


def _gpus_of(deployment: Deployment, gpus: _Gpus) -> list[Gpu]:
    place = deployment.placement
    if place is None:
        return []
    return [gpus[place.node, gpu] for gpu in place.gpus if (str(place.node), str(gpu)) in gpus]


def _of_engine(figures: EngineFigures | None) -> dict[str, float | None]:
    """Return what the engine itself says; that goes before what gateways saw of it."""
    if figures is None or figures.latest is None:
        return {}
    first_token, latency, _ = figures.window(RECENT_SECONDS)
    rates, latest = figures.rates(), figures.latest
    values = {
        "running": latest.running,
        "waiting": latest.waiting,
        "kv_cache_ratio": latest.kv_cache_ratio,
        "input_tokens_per_second": rates[0],
        "output_tokens_per_second": rates[1],
    }
    for name, histogram in (("ttft", first_token), ("latency", latency)):
        for (quantile, _), value in zip(QUANTILES, histogram.quantiles(), strict=True):
            values[f"{name}_{quantile}_seconds"] = value
    return values


def _in_flight(reports: tuple[GatewayReport, ...]) -> dict[str, int]:
    found: dict[str, int] = {}
    for report in reports:
        for outcome in report.outcomes:
            found[outcome.replica] = found.get(outcome.replica, 0) + outcome.in_flight - outcome.of_peers
    return found
