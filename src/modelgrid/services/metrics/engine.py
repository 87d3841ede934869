"""What an engine's `/metrics` says, and what follows from two of them."""

from collections import deque
from dataclasses import dataclass
from itertools import pairwise

from prometheus_client.parser import text_string_to_metric_families

from modelgrid.decide.quantile import histogram_quantile
from modelgrid.domain.metric import QUANTILES

WINDOW_SECONDS = 300.0
"""Of the histograms that are shown for one deployment."""
RECENT_SECONDS = 10.0
"""Of the quantiles that are kept as series."""

RUNNING, WAITING = "vllm:num_requests_running", "vllm:num_requests_waiting"
KV_CACHE = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
"""The name of vLLM's engine V1, and the one before it."""
INPUT_TOKENS, OUTPUT_TOKENS = "vllm:prompt_tokens_total", "vllm:generation_tokens_total"
FIRST_TOKEN, LATENCY = "vllm:time_to_first_token_seconds", "vllm:e2e_request_latency_seconds"
CACHE_CONFIG = "vllm:cache_config_info"
_WANTED = tuple(
    f"{name}{end}"
    for name in (RUNNING, WAITING, *KV_CACHE, INPUT_TOKENS, OUTPUT_TOKENS, CACHE_CONFIG)
    for end in ("{", " ")
) + tuple(f"{name}_{part}" for name in (FIRST_TOKEN, LATENCY) for part in ("bucket", "sum"))


@dataclass(frozen=True, slots=True)
class Histogram:
    """Cumulative since the engine's start: counts per bucket, one more than bounds."""

    bounds: tuple[float, ...] = ()
    counts: tuple[float, ...] = ()
    sum: float = 0.0

    def since(self, before: "Histogram") -> "Histogram":
        """Return what came after `before`; all of it when the engine was started anew in between."""
        if self.bounds != before.bounds or sum(self.counts) < sum(before.counts):
            return self
        counts = tuple(new - old for new, old in zip(self.counts, before.counts, strict=True))
        return Histogram(self.bounds, counts, self.sum - before.sum)

    def quantiles(self) -> tuple[float | None, ...]:
        if not self.bounds:
            return (None,) * len(QUANTILES)
        return tuple(histogram_quantile(q, self.bounds, self.counts) for _, q in QUANTILES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One scrape. Figures that an engine does not give are `None`; several engines of one process are summed."""

    running: float | None = None
    waiting: float | None = None
    kv_cache_ratio: float | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None
    first_token: Histogram = Histogram()
    latency: Histogram = Histogram()
    kv_blocks: int | None = None
    kv_block_tokens: int | None = None


def parse(text: str) -> Reading:
    """Return what is wanted of a page in Prometheus' text format. Raises `ValueError` for what is none.

    Only the lines that are wanted are parsed: vLLM's page has a thousand, and parsing takes some 10 µs a line."""
    lines = [line for line in text.splitlines() if line.startswith(_WANTED)]
    sums: dict[str, float] = {}
    ratios: list[float] = []
    buckets: dict[str, dict[float, float]] = {FIRST_TOKEN: {}, LATENCY: {}}
    info: dict[str, str] = {}
    for family in text_string_to_metric_families("\n".join([*lines, ""])):
        for sample in family.samples:
            name = sample.name
            if name.endswith("_bucket"):
                bounds, bound = buckets[name.removesuffix("_bucket")], float(sample.labels["le"])
                bounds[bound] = bounds.get(bound, 0.0) + sample.value
            elif name in KV_CACHE:
                ratios.append(sample.value)
            elif name == CACHE_CONFIG:
                info = sample.labels
            else:
                sums[name] = sums.get(name, 0.0) + sample.value
    return Reading(
        running=sums.get(RUNNING),
        waiting=sums.get(WAITING),
        kv_cache_ratio=sum(ratios) / len(ratios) if ratios else None,
        input_tokens=sums.get(INPUT_TOKENS),
        output_tokens=sums.get(OUTPUT_TOKENS),
        first_token=_histogram(buckets[FIRST_TOKEN], sums.get(f"{FIRST_TOKEN}_sum", 0.0)),
        latency=_histogram(buckets[LATENCY], sums.get(f"{LATENCY}_sum", 0.0)),
        kv_blocks=_number(info.get("num_gpu_blocks")),
        kv_block_tokens=_number(info.get("block_size")),
    )


def _histogram(cumulative: dict[float, float], total: float) -> Histogram:
    bounds = sorted(bound for bound in cumulative if bound != float("inf"))
    reached = [cumulative[bound] for bound in bounds] + [cumulative.get(float("inf"), 0.0)]
    if not bounds or any(later < earlier for earlier, later in pairwise(reached)):
        return Histogram()
    counts = (reached[0], *(later - earlier for earlier, later in pairwise(reached)))
    return Histogram(tuple(bounds), counts, total)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


class EngineFigures:
    """The readings of one engine over the last minutes."""

    def __init__(self) -> None:
        self._readings: deque[tuple[float, Reading]] = deque()
        self.failed = ""
        """Why the last scrape gave nothing; empty when it gave something."""

    def take(self, reading: Reading, now: float) -> None:
        """Take in a scrape made at monotonic time `now`. Of those that are older than the recent ones, one in ten
        seconds is kept."""
        self.failed = ""
        readings = self._readings
        readings.append((now, reading))
        while readings[0][0] < now - WINDOW_SECONDS:
            readings.popleft()
        recent = [item for item in readings if item[0] >= now - 2 * RECENT_SECONDS]
        sparse: list[tuple[float, Reading]] = []
        for item in readings:
            if item[0] < now - 2 * RECENT_SECONDS and (not sparse or item[0] - sparse[-1][0] >= RECENT_SECONDS):
                sparse.append(item)
        self._readings = deque([*sparse, *recent])

    @property
    def latest(self) -> Reading | None:
        return self._readings[-1][1] if self._readings and not self.failed else None

    def rates(self) -> tuple[float | None, float | None]:
        """Return tokens read and generated per second between the last two scrapes."""
        if self.failed or len(self._readings) < 2:
            return None, None
        (before_at, before), (at, now) = self._readings[-2], self._readings[-1]
        return (
            _rate(before.input_tokens, now.input_tokens, at - before_at),
            _rate(before.output_tokens, now.output_tokens, at - before_at),
        )

    def window(self, seconds: float) -> tuple[Histogram, Histogram, float]:
        """Return time to first token and latency of the last `seconds`, and how many those are really."""
        if not self._readings:
            return Histogram(), Histogram(), 0.0
        at, now = self._readings[-1]
        first_at, first = next(item for item in self._readings if item[0] >= at - seconds - 1.0)
        return now.first_token.since(first.first_token), now.latency.since(first.latency), at - first_at


def _rate(before: float | None, now: float | None, seconds: float) -> float | None:
    """Return the rise per second; what fell began anew at 0, as Prometheus has it."""
    if before is None or now is None or seconds <= 0:
        return None
    return (now - before if now >= before else now) / seconds
