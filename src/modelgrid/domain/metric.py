"""The series that are kept, by name: what each measures, in which unit, for what."""

from dataclasses import dataclass

QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))

GIB_SCALE = float(1024**3)
RATE_SCALE = 64.0
"""Values are kept with 16 bits for the long range: up to 65,504 times the scale, to 0.05 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """`labels`: the names of what one series is about; none: the whole fleet."""

    name: str
    unit: str
    text: str
    labels: tuple[str, ...] = ()
    scale: float = 1.0


def _traffic(prefix: str, of: str, labels: tuple[str, ...]) -> tuple[Metric, ...]:
    rates = (
        ("requests_per_second", "requests/s", f"requests answered{of}"),
        ("errors_per_second", "requests/s", f"requests answered with 5xx{of}"),
        ("input_tokens_per_second", "tokens/s", f"tokens read{of}"),
        ("output_tokens_per_second", "tokens/s", f"tokens generated{of}"),
    )
    times = (("latency", "first byte of the request to the last of the answer"), ("ttft", "time to first token"))
    return (
        *(Metric(name=prefix + n, unit=unit, text=text, labels=labels, scale=RATE_SCALE) for n, unit, text in rates),
        *(
            Metric(name=f"{prefix}{n}_{q}_seconds", unit="s", text=f"{text}, {q} of the last 10 s{of}", labels=labels)
            for n, text in times
            for q, _ in QUANTILES
        ),
    )


_MODEL, _DEPLOYMENT, _GPU = ("model",), ("deployment", "model"), ("node", "gpu")

METRICS: tuple[Metric, ...] = (
    *_traffic("", "", ()),
    Metric(name="in_flight", unit="requests", text="requests being served"),
    Metric(name="queued", unit="requests", text="requests that wait for a replica"),
    Metric(name="connections", unit="connections", text="open client connections"),
    *_traffic("model_", " for the model", _MODEL),
    Metric(name="model_queued", unit="requests", text="requests that wait for the model", labels=_MODEL),
    *_traffic("deployment_", " by the deployment", _DEPLOYMENT),
    Metric(name="deployment_in_flight", unit="requests", text="requests given to it and not over", labels=_DEPLOYMENT),
    Metric(name="deployment_running", unit="requests", text="requests in the engine's batch", labels=_DEPLOYMENT),
    Metric(name="deployment_waiting", unit="requests", text="requests that wait in the engine", labels=_DEPLOYMENT),
    Metric(name="deployment_kv_cache_ratio", unit="ratio", text="KV cache in use", labels=_DEPLOYMENT),
    Metric(
        name="deployment_vram_used_bytes", unit="bytes", text="memory in use on its GPUs", labels=_DEPLOYMENT,
        scale=GIB_SCALE,
    ),
    Metric(name="gpu_utilization_percent", unit="%", text="share of time with work", labels=_GPU),
    Metric(name="gpu_vram_used_bytes", unit="bytes", text="memory in use", labels=_GPU, scale=GIB_SCALE),
    Metric(name="gpu_temperature_celsius", unit="°C", text="temperature", labels=_GPU),
    Metric(name="gpu_power_watts", unit="W", text="power drawn", labels=_GPU),
)  # fmt: skip
METRIC: dict[str, Metric] = {metric.name: metric for metric in METRICS}
