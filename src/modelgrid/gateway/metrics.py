"""The Prometheus text of `/metrics`: this process's own figures, then control's."""

import resource
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from modelgrid.domain.routing import LATENCY_BUCKETS_SECONDS
from modelgrid.gateway.counters import Cell, Histogram

if TYPE_CHECKING:
    from modelgrid.gateway.core import Core

_BOUNDS = (*(f"{bound:g}" for bound in LATENCY_BUCKETS_SECONDS), "+Inf")
_PAGE = resource.getpagesize()


def escape(value: str) -> str:
    """Return `value` as it stands between the quotes of a label."""
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _labels(**labels: str) -> str:
    return ",".join(f'{name}="{escape(value)}"' for name, value in labels.items())


class _Page:
    """Lines in the making; every sample carries the label of this gateway process."""

    def __init__(self, index: int) -> None:
        self.lines: list[str] = []
        self._own = f'gateway="{index}"'

    def family(self, name: str, kind: str, text: str, samples: Iterable[tuple[str, float]]) -> None:
        """Add one metric with its (labels, value) samples."""
        self.lines += (f"# HELP {name} {text}", f"# TYPE {name} {kind}")
        self.lines += (f"{name}{{{self._join(labels)}}} {value:.15g}" for labels, value in samples)

    def histogram(self, name: str, text: str, samples: Iterable[tuple[str, Histogram]]) -> None:
        """Add one histogram in seconds."""
        self.lines += (f"# HELP {name} {text}", f"# TYPE {name} histogram")
        for labels, histogram in samples:
            own = self._join(labels)
            total = 0
            for bound, bucket in zip(_BOUNDS, histogram.buckets, strict=True):
                total += bucket
                self.lines.append(f'{name}_bucket{{{own},le="{bound}"}} {total}')
            self.lines.append(f"{name}_sum{{{own}}} {histogram.sum:.9g}")
            self.lines.append(f"{name}_count{{{own}}} {total}")

    def _join(self, labels: str) -> str:
        return f"{self._own},{labels}" if labels else self._own


def exposition(core: "Core") -> bytes:
    """Return the whole page."""
    page = _Page(core.index)
    counters = core.counters
    cells = [
        (_labels(model=model, replica=replica, key=key, status=status), cell)
        for (model, replica, key, status), cell in counters.cells.items()
    ]
    _requests(page, cells)
    replicas = list(core.fleet.replicas())
    page.family("modelgrid_requests_in_flight", "gauge", "Requests being served.", [("", len(core.exchanges))])
    page.family(
        "modelgrid_replica_in_flight", "gauge", "Requests given to a replica and not yet over.",
        [(_labels(replica=replica.id), replica.outstanding) for replica in replicas],
    )  # fmt: skip
    page.family(
        "modelgrid_queue_length", "gauge", "Requests that wait for a replica.",
        [(_labels(model=model.route.id), len(model.line)) for model in core.fleet.models()],
    )  # fmt: skip
    page.family("modelgrid_client_connections", "gauge", "Open client connections.", [("", len(core.connections))])
    page.family(
        "modelgrid_upstream_idle_connections", "gauge", "Connections to a replica that wait for a request.",
        [(_labels(replica=replica.id), len(replica.pool)) for replica in replicas],
    )  # fmt: skip
    _failures(page, core)
    page.family("modelgrid_routing_generation", "gauge", "Generation of the routing table in use.",
                [("", core.table.generation if core.table is not None else 0)])  # fmt: skip
    usage = resource.getrusage(resource.RUSAGE_SELF)
    page.family("modelgrid_gateway_cpu_seconds_total", "counter", "Processor time of the gateway process.",
                [("", usage.ru_utime + usage.ru_stime)])  # fmt: skip
    page.family("modelgrid_gateway_resident_bytes", "gauge", "Resident memory of the gateway process.",
                [("", _resident_bytes())])  # fmt: skip
    page.family("modelgrid_gateway_start_time_seconds", "gauge", "Unix time of the gateway's start.",
                [("", core.started_at)])  # fmt: skip
    text = "\n".join(page.lines) + "\n"
    if core.table is not None and core.table.control_metrics:
        text += core.table.control_metrics
        if not text.endswith("\n"):
            text += "\n"
    return text.encode()


def _requests(page: _Page, cells: list[tuple[str, Cell]]) -> None:
    page.family("modelgrid_requests_total", "counter", "Requests by outcome; replica is empty where none was reached.",
                [(labels, cell.requests) for labels, cell in cells])  # fmt: skip
    page.family("modelgrid_input_tokens_total", "counter", "Tokens that were read, as replicas reported them.",
                [(labels, cell.input_tokens) for labels, cell in cells])  # fmt: skip
    page.family("modelgrid_output_tokens_total", "counter", "Tokens that were generated, as replicas reported them.",
                [(labels, cell.output_tokens) for labels, cell in cells])  # fmt: skip
    page.histogram("modelgrid_request_duration_seconds", "First byte of the request to the last of the answer.",
                   [(labels, cell.duration) for labels, cell in cells])  # fmt: skip
    page.histogram("modelgrid_time_to_first_byte_seconds", "First byte of the request to the first of the payload.",
                   [(labels, cell.first_byte) for labels, cell in cells])  # fmt: skip


def _failures(page: _Page, core: "Core") -> None:
    counters = core.counters
    page.family("modelgrid_failovers_total", "counter", "Requests that left a replica which could not be reached.",
                _by_replica(counters.failovers))  # fmt: skip
    page.family("modelgrid_resends_total", "counter", "Requests sent again: the pooled connection was closed.",
                _by_replica(counters.resends))  # fmt: skip
    page.family(
        "modelgrid_upstream_failures_total", "counter", "Transport failures of replicas.",
        [(_labels(replica=replica, kind=kind), value) for (replica, kind), value in counters.upstream_failures.items()],
    )  # fmt: skip
    page.family("modelgrid_refused_total", "counter", "Requests the gateway answered with an error of its own.",
                [(_labels(code=code), value) for code, value in counters.refused.items()])  # fmt: skip


def _by_replica(figures: Mapping[str, int]) -> list[tuple[str, float]]:
    return [(_labels(replica=replica), value) for replica, value in figures.items()]


def _resident_bytes() -> int:
    with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123 (pathlib is not imported in this process)
        return int(statm.read().split()[1]) * _PAGE
