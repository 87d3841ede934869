"""Figures of one or several gateway processes as plain numbers: added up, and written as Prometheus text.

A sheet maps a metric's name to its samples, and a sample's labels (as they are printed) to its value: a number, or for
a histogram its sum followed by the count of each bucket.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from modelgrid.domain.routing import LATENCY_BUCKETS_SECONDS

Value = float | list[float]
Sheet = dict[str, dict[str, Value]]

OVERHEAD_BUCKETS_SECONDS = (
    0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1.0,
)  # fmt: skip
TOKEN_BUCKETS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576)
"""OpenTelemetry's bounds for `gen_ai.client.token.usage`, as far as contexts go."""


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric."""

    kind: Kind
    text: str
    bounds: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets; one more counts what is above."""


_C, _G, _H, _SECONDS = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM, LATENCY_BUCKETS_SECONDS

FAMILIES: Mapping[str, Family] = {
    "modelgrid_requests_total": Family(_C, "Requests by outcome; replica is empty where none was reached."),
    "modelgrid_input_tokens_total": Family(_C, "Tokens that were read, as replicas reported them."),
    "modelgrid_output_tokens_total": Family(_C, "Tokens that were generated, as replicas reported them."),
    "modelgrid_request_duration_seconds": Family(_H, "First byte of the request to the last of the answer.", _SECONDS),
    "modelgrid_time_to_first_byte_seconds": Family(
        _H, "First byte of the request to the first of the payload.", _SECONDS
    ),
    "modelgrid_queue_wait_seconds": Family(_H, "Time in line, of requests that had to wait for a replica.", _SECONDS),
    "modelgrid_gateway_overhead_seconds": Family(
        _H, "The gateway's own time on a request, from its last byte to a replica, without waiting in line.",
        OVERHEAD_BUCKETS_SECONDS,
    ),
    "gen_ai_server_request_duration_seconds": Family(_H, "Duration of requests that reached a replica.", _SECONDS),
    "gen_ai_server_time_to_first_token_seconds": Family(_H, "Time to the first token of good answers.", _SECONDS),
    "gen_ai_client_token_usage": Family(_H, "Tokens of a request, read and generated.", TOKEN_BUCKETS),
    "modelgrid_requests_in_flight": Family(_G, "Requests being served."),
    "modelgrid_replica_in_flight": Family(_G, "Requests given to a replica and not yet over."),
    "modelgrid_queue_length": Family(_G, "Requests that wait for a replica."),
    "modelgrid_client_connections": Family(_G, "Open client connections."),
    "modelgrid_upstream_idle_connections": Family(_G, "Connections to a replica that wait for a request."),
    "modelgrid_failovers_total": Family(_C, "Requests that left a replica: not reached, or too busy."),
    "modelgrid_resends_total": Family(_C, "Requests sent again: the pooled connection was closed."),
    "modelgrid_upstream_failures_total": Family(_C, "Transport failures of replicas."),
    "modelgrid_peer_requests_total": Family(_C, "Requests of other nodes' gateways; these count them for clients."),
    "modelgrid_peer_request_duration_seconds": Family(_H, "Duration of requests of other nodes' gateways.", _SECONDS),
    "modelgrid_peer_requests_in_flight": Family(_G, "Requests of other nodes' gateways being served."),
    "modelgrid_peer_connections": Family(_G, "Open connections of other nodes' gateways."),
    "modelgrid_refused_total": Family(_C, "Requests the gateway answered with an error of its own."),
    "modelgrid_shed_total": Family(_C, "Requests for a model that were refused or cut short for now, by reason."),
    "modelgrid_routing_generation": Family(_G, "Generation of the routing table in use."),
    "modelgrid_gateway_cpu_seconds_total": Family(_C, "Processor time of the gateway process."),
    "modelgrid_gateway_resident_bytes": Family(_G, "Resident memory of the gateway process."),
    "modelgrid_gateway_tasks": Family(_G, "Tasks of the gateway's event loop."),
    "modelgrid_gateway_start_time_seconds": Family(_G, "Unix time of the gateway's start."),
}  # fmt: skip
"""In the order of the page."""

OF_A_PROCESS = frozenset(name for name in FAMILIES if name.startswith("modelgrid_gateway_")) - {
    "modelgrid_gateway_overhead_seconds"
} | {"modelgrid_routing_generation"}
"""Not added up: each gateway process has its own, labelled `gateway`."""


def escape(value: str) -> str:
    """Return `value` as it stands between the quotes of a label."""
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def labels(**names: str) -> str:
    """Return labels as they are printed."""
    return ",".join(f'{name}="{escape(value)}"' for name, value in names.items())


def add(total: Sheet, other: Sheet) -> None:
    """Add `other` to `total`. A histogram with other buckets (of another version) is left out."""
    for name, samples in other.items():
        into = total.setdefault(name, {})
        for key, value in samples.items():
            present = into.get(key)
            if present is None or name in OF_A_PROCESS:  # while it is replaced there are two: the new one counts
                into[key] = list(value) if isinstance(value, list) else value
            elif isinstance(present, list) and isinstance(value, list):
                if len(present) == len(value):
                    into[key] = [one + more for one, more in zip(present, value, strict=True)]
            elif not isinstance(present, list) and not isinstance(value, list):
                into[key] = present + value


def lasting(sheet: Sheet) -> Sheet:
    """Return what of a sheet stays true when its process has ended: what was counted."""
    return {
        name: samples
        for name, samples in sheet.items()
        if name in FAMILIES and FAMILIES[name].kind is not Kind.GAUGE and name not in OF_A_PROCESS
    }


def text_of(sheet: Sheet) -> str:
    """Return the page."""
    lines: list[str] = []
    for name, family in FAMILIES.items():
        samples = sheet.get(name)
        if not samples:
            continue
        lines += (f"# HELP {name} {family.text}", f"# TYPE {name} {family.kind}")
        for key, value in samples.items():
            if isinstance(value, list):
                if len(value) == len(family.bounds) + 2:
                    lines += _histogram(name, key, value, family.bounds)
            else:
                lines.append(f"{name}{{{key}}} {value:.15g}" if key else f"{name} {value:.15g}")
    return "\n".join(lines) + "\n"


def _histogram(name: str, key: str, value: list[float], bounds: Iterable[float]) -> Iterable[str]:
    own = f"{key}," if key else ""
    total = 0.0
    for bound, count in zip((*(f"{bound:.12g}" for bound in bounds), "+Inf"), value[1:], strict=True):
        total += count
        yield f'{name}_bucket{{{own}le="{bound}"}} {total:.15g}'
    yield f"{name}_sum{{{key}}} {value[0]:.9g}"
    yield f"{name}_count{{{key}}} {total:.15g}"
