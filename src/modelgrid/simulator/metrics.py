"""vLLM's metrics, by vLLM's names, in Prometheus text.

Names, help texts and bucket bounds: `vllm/v1/metrics/{loggers,buckets}.py` of vLLM 0.32. What a simulated
engine never does (preemption, external caches, multi-modal input) is there and stays 0.
"""

import os
import time
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path

from modelgrid.simulator.settings import BLOCK_TOKENS, EngineSettings

_SECONDS = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0,
            960.0, 1920.0, 7680.0)  # fmt: skip
_FIRST_TOKEN = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
                40.0, 80.0, 160.0, 640.0, 2560.0)  # fmt: skip
_INTER_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
                80.0)  # fmt: skip
_PARAMS_N = (1, 2, 5, 10, 20)
_PREEMPTIONS = (1, 2, 3, 4, 5, 10, 20)
_REASONS = ("stop", "length", "abort", "error", "repetition")


class Histogram:
    """Counts per bucket, not cumulative until they are shown."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        if value:
            self.counts[bisect_left(self.bounds, value)] += times
            self.total += value * times
        else:
            self.counts[0] += times


def _one_two_five(most: int) -> tuple[int, ...]:
    bounds = [m * 10**power for power in range(len(str(most))) for m in (1, 2, 5)]
    return tuple(bound for bound in bounds if bound <= most)


class EngineMetrics:
    """What one engine counted since it started. Gauges are handed in when the text is made."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._labels = f'engine="0",model_name="{_escape(settings.served_names[0])}"'
        self.started_at = time.time()
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.generation_tokens = 0
        self.success = dict.fromkeys(_REASONS, 0)
        self.http: dict[tuple[str, str, str], int] = {}
        """Requests by (path, method, status class), without /health, /metrics, /version, /ping and /load."""
        tokens = _one_two_five(settings.context)
        self.request_prompt_tokens = Histogram(tokens)
        self.request_generation_tokens = Histogram(tokens)
        self.max_generation_tokens = Histogram(tokens)
        self.params_max_tokens = Histogram(tokens)
        self.prefill_computed = Histogram(tokens)
        self.preemptions = Histogram(_PREEMPTIONS)
        self.params_n = Histogram(_PARAMS_N)
        self.first_token = Histogram(_FIRST_TOKEN)
        self.inter_token = Histogram(_INTER_TOKEN)
        self.time_per_token = Histogram(_INTER_TOKEN)
        self.e2e = Histogram(_SECONDS)
        self.queue = Histogram(_SECONDS)
        self.inference = Histogram(_SECONDS)
        self.prefill = Histogram(_SECONDS)
        self.decode = Histogram(_SECONDS)

    def text(self, *, running: int, waiting: int, cache_usage: float, queries: int, hits: int) -> bytes:
        """Return the exposition (version 0.0.4)."""
        page = _Page(self._labels)
        gauge, counter, histogram = page.gauge, page.counter, page.histogram
        gauge("vllm:num_requests_running", "Number of requests in model execution batches.", running)
        gauge("vllm:num_requests_waiting", "Number of requests waiting to be processed.", waiting)
        page.head("vllm:num_requests_waiting_by_reason", "Number of waiting requests by reason.", "gauge")
        page.line("vllm:num_requests_waiting_by_reason", waiting, 'reason="capacity"')
        page.line("vllm:num_requests_waiting_by_reason", 0, 'reason="deferred"')
        gauge("vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", cache_usage)
        page.head("vllm:engine_sleep_state", "Engine sleep state; awake = 1 means engine is awake.", "gauge")
        for state, value in (("awake", 1), ("weights_offloaded", 0), ("discard_all", 0)):
            page.line("vllm:engine_sleep_state", value, f'sleep_state="{state}"')
        counter("vllm:prefix_cache_queries", "Prefix cache queries, in terms of number of queried tokens.", queries)
        counter("vllm:prefix_cache_hits", "Prefix cache hits, in terms of number of cached tokens.", hits)
        for source, shown in (("external_prefix", "External prefix"), ("mm", "Multi-modal")):
            counter(f"vllm:{source}_cache_queries", f"{shown} cache queries.", 0)
            counter(f"vllm:{source}_cache_hits", f"{shown} cache hits.", 0)
        counter("vllm:num_preemptions", "Cumulative number of preemption from the engine.", 0)
        counter("vllm:prompt_tokens", "Number of prefill tokens processed.", self.prompt_tokens)
        counter("vllm:prompt_tokens_cached", "Number of cached prompt tokens (local + external).", self.cached_tokens)
        counter("vllm:generation_tokens", "Number of generation tokens processed.", self.generation_tokens)
        page.head("vllm:prompt_tokens_by_source_total", "Number of prompt tokens by source.", "counter")
        computed = self.prompt_tokens - self.cached_tokens
        for source, count in (
            ("local_compute", computed),
            ("local_cache_hit", self.cached_tokens),
            ("external_kv_transfer", 0),
        ):
            page.line("vllm:prompt_tokens_by_source_total", count, f'source="{source}"')
        page.head("vllm:request_success_total", "Count of successfully processed requests.", "counter")
        for reason, count in self.success.items():
            page.line("vllm:request_success_total", count, f'finished_reason="{reason}"')
        histogram("vllm:request_prompt_tokens", "Number of prefill tokens processed.", self.request_prompt_tokens)
        histogram(
            "vllm:request_generation_tokens", "Number of generation tokens processed.", self.request_generation_tokens
        )
        histogram(
            "vllm:request_max_num_generation_tokens",
            "Histogram of maximum number of requested generation tokens.",
            self.max_generation_tokens,
        )
        histogram("vllm:request_params_n", "Histogram of the n request parameter.", self.params_n)
        histogram(
            "vllm:request_params_max_tokens", "Histogram of the max_tokens request parameter.", self.params_max_tokens
        )
        histogram("vllm:time_to_first_token_seconds", "Histogram of time to first token in seconds.", self.first_token)
        histogram("vllm:inter_token_latency_seconds", "Histogram of inter-token latency in seconds.", self.inter_token)
        histogram(
            "vllm:request_time_per_output_token_seconds",
            "Histogram of time_per_output_token_seconds per request.",
            self.time_per_token,
        )
        histogram("vllm:e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.", self.e2e)
        for name, phase, values in (
            ("queue", "WAITING", self.queue),
            ("inference", "RUNNING", self.inference),
            ("prefill", "PREFILL", self.prefill),
            ("decode", "DECODE", self.decode),
        ):
            histogram(
                f"vllm:request_{name}_time_seconds", f"Histogram of time spent in {phase} phase for request.", values
            )
        histogram(
            "vllm:request_num_preemptions",
            "Histogram of the number of times a request was preempted.",
            self.preemptions,
        )
        histogram(
            "vllm:request_prefill_kv_computed_tokens",
            "Histogram of new KV tokens computed during prefill (excluding cached tokens).",
            self.prefill_computed,
        )
        page.head("vllm:cache_config_info", "Information of the LLMEngine CacheConfig", "gauge")
        page.raw(f"vllm:cache_config_info{{{self._cache_config()}}} 1.0")
        page.head("http_requests_total", "Total number of requests by method, status and handler.", "counter")
        for (path, method, status), count in self.http.items():
            page.raw(f'http_requests_total{{handler="{path}",method="{method}",status="{status}"}} {float(count)}')
        page.head("process_resident_memory_bytes", "Resident memory size in bytes.", "gauge")
        page.raw(f"process_resident_memory_bytes {float(_resident_bytes())}")
        page.head("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", "counter")
        page.raw(f"process_cpu_seconds_total {time.process_time()}")
        page.head("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", "gauge")
        page.raw(f"process_start_time_seconds {self.started_at}")
        page.head("modelgrid_simulated_engine", "1: this engine is simulated, its answers are made up.", "gauge")
        page.line("modelgrid_simulated_engine", 1)
        return page.done()

    def _cache_config(self) -> str:
        settings = self._settings
        values = {
            "block_size": BLOCK_TOKENS,
            "cache_dtype": "auto",
            "enable_prefix_caching": settings.prefix_caching,
            "engine": 0,
            "gpu_memory_utilization": settings.gpu_memory_utilization,
            "kv_cache_max_concurrency": settings.kv_cache_tokens / settings.context,
            "kv_cache_size_tokens": settings.kv_cache_tokens,
            "num_cpu_blocks": None,
            "num_gpu_blocks": settings.cache_blocks,
            "num_gpu_blocks_override": None,
            "prefix_caching_hash_algo": "sha256",
            "sliding_window": None,
            "user_specified_block_size": False,
        }
        return ",".join(f'{name}="{value}"' for name, value in values.items())


class _Page:
    """Lines of an exposition whose series all carry the engine's labels."""

    def __init__(self, labels: str) -> None:
        self._labels = labels
        self._lines: list[str] = []

    def head(self, name: str, text: str, kind: str) -> None:
        self._lines.append(f"# HELP {name} {text}\n# TYPE {name} {kind}")

    def raw(self, line: str) -> None:
        self._lines.append(line)

    def line(self, name: str, value: float, label: str = "") -> None:
        labels = f"{self._labels},{label}" if label else self._labels
        self._lines.append(f"{name}{{{labels}}} {float(value)}")

    def gauge(self, name: str, text: str, value: float) -> None:
        self.head(name, text, "gauge")
        self.line(name, value)

    def counter(self, name: str, text: str, value: float) -> None:
        self.head(f"{name}_total", text, "counter")
        self.line(f"{name}_total", value)

    def histogram(self, name: str, text: str, values: Histogram) -> None:
        self.head(name, text, "histogram")
        reached = 0
        for bound, count in zip((*values.bounds, float("inf")), values.counts, strict=True):
            reached += count
            shown = "+Inf" if bound == float("inf") else float(bound)
            self.line(f"{name}_bucket", reached, f'le="{shown}"')
        self.line(f"{name}_count", reached)
        self.line(f"{name}_sum", values.total)

    def done(self) -> bytes:
        return ("\n".join(self._lines) + "\n").encode()


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
