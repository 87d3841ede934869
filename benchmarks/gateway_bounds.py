"""What the gateway is held to, beside nginx, Envoy, vllm-router and no gateway at all; see docs/benchmarks.md."""

from collections.abc import Mapping, Sequence
from statistics import median

from benchmarks.table import Row, pairs
from benchmarks.verdicts import Figure

LEAST_REQUESTS: Mapping[str, float] = {"nginx": 0.45, "envoy": 1.0, "vllm-router": 1.5}
"""Times the requests per second of each, with bodies of 240 bytes on one core."""
MOST_STREAM_CPU = 1.4
"""Times the processor time that nginx takes for a chunk of a stream."""
MOST_OVER_DIRECT_US, MOST_LARGE_OVER_DIRECT_US = 120.0, 2_000.0
MOST_IDLE_STREAM_KB, MOST_START_MB = 40.0, 60.0


def held(ours: Row, peers: Sequence[Row], direct: Row) -> list[Figure]:
    """Return each figure that has a bound and was measured. Ratios and differences are those within one round."""
    found: list[Figure] = []

    def note(
        name: str, values: Sequence[float], unit: str, *, most: float | None = None, least: float | None = None
    ) -> None:
        if values:
            found.append(Figure(name, median(values), unit, most=most, least=least))

    for peer in peers:
        if least := LEAST_REQUESTS.get(peer.name):
            both = pairs(ours, peer, "requests_per_second")
            note("requests per second", [a / b for a, b in both if b], f"× {peer.name}", least=least)
        if peer.name == "nginx":
            both = pairs(ours, peer, "stream_cpu_us_per_chunk")
            note("processor time of a stream's chunk", [a / b for a, b in both if b], "× nginx", most=MOST_STREAM_CPU)
    both = pairs(ours, direct, "one_connection_p50_us")
    note("one connection, p50, over direct", [a - b for a, b in both], "µs", most=MOST_OVER_DIRECT_US)
    both = pairs(ours, direct, "large_p50_us")
    note("a body of 1 MB, over direct", [a - b for a, b in both], "µs", most=MOST_LARGE_OVER_DIRECT_US)
    for figure, name, unit, most in (
        ("idle_stream_kb", "an idle stream", "KB", MOST_IDLE_STREAM_KB),
        ("rss_start_mb", "resident at the start", "MB", MOST_START_MB),
    ):
        note(name, [values[figure] for values in ours.rounds if figure in values], unit, most=most)
    return found
