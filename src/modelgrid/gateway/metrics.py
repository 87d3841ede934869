"""This process's figures as a sheet, and the page that a scrape sees: all processes of the daemon, then control's."""

import asyncio
import resource
from typing import TYPE_CHECKING

from modelgrid.gateway.control_part import control_part
from modelgrid.gateway.counters import CANCELLED, Cell, Histogram
from modelgrid.gateway.sheet import Sheet, Value, labels, text_of

if TYPE_CHECKING:
    from modelgrid.gateway.core import Core

_PAGE = resource.getpagesize()


def exposition(core: "Core") -> bytes:
    """Return the whole page."""
    return (text_of(core.figures.total()) + control_part(core)).encode()


def sheet_of(core: "Core") -> Sheet:
    """Return the figures of this process alone."""
    counters, replicas = core.counters, list(core.fleet.replicas())
    usage = resource.getrusage(resource.RUSAGE_SELF)
    own = labels(gateway=str(core.index))
    sheet: Sheet = {
        "modelgrid_queue_wait_seconds": {labels(model=m): _value(h) for m, h in counters.queue_waits.items()},
        "modelgrid_gateway_overhead_seconds": {labels(model=m): _value(h) for m, h in counters.overheads.items()},
        "gen_ai_client_token_usage": {
            _gen_ai(model, gen_ai_token_type=kind): _value(histogram)
            for model, histograms in counters.token_usage.items()
            for kind, histogram in zip(("input", "output"), histograms, strict=True)
        },
        "modelgrid_requests_in_flight": {"": len(core.exchanges) - core.peer_exchanges},
        "modelgrid_replica_in_flight": {labels(replica=r.id): r.outstanding for r in replicas},
        "modelgrid_queue_length": {labels(model=m.route.id): len(m.line) for m in core.fleet.models()},
        "modelgrid_client_connections": {"": len(core.connections) - core.peer_connections},
        "modelgrid_upstream_idle_connections": {labels(replica=r.id): len(r.pool) for r in replicas},
        "modelgrid_failovers_total": {labels(replica=r): n for r, n in counters.failovers.items()},
        "modelgrid_resends_total": {labels(replica=r): n for r, n in counters.resends.items()},
        "modelgrid_upstream_failures_total": {
            labels(replica=replica, kind=kind): number for (replica, kind), number in counters.upstream_failures.items()
        },
        "modelgrid_refused_total": {labels(code=code): number for code, number in counters.refused.items()},
        "modelgrid_shed_total": {
            labels(model=model, reason=reason): number for (model, reason), number in counters.shed.items()
        },
        "modelgrid_routing_generation": {own: core.table.generation if core.table is not None else 0},
        "modelgrid_gateway_cpu_seconds_total": {own: usage.ru_utime + usage.ru_stime},
        "modelgrid_gateway_resident_bytes": {own: _resident_bytes()},
        "modelgrid_gateway_tasks": {own: len(asyncio.all_tasks(core.loop))},
        "modelgrid_gateway_start_time_seconds": {own: core.started_at},
    }
    _requests(sheet, core)
    if core.ways or core.peer_counters.cells:
        _peers(sheet, core)
    return sheet


def _peers(sheet: Sheet, core: "Core") -> None:
    """Add what came from other nodes' gateways: families of its own, as it is counted there, too."""
    cells = [
        (labels(peer=node, model=model, replica=replica, status=status), cell)
        for (model, replica, node, status), cell in core.peer_counters.cells.items()
    ]
    sheet |= {
        "modelgrid_peer_requests_total": {own: cell.requests for own, cell in cells},
        "modelgrid_peer_request_duration_seconds": {own: _value(cell.duration) for own, cell in cells},
        "modelgrid_peer_requests_in_flight": {"": core.peer_exchanges},
        "modelgrid_peer_connections": {"": core.peer_connections},
    }


def _requests(sheet: Sheet, core: "Core") -> None:
    durations: dict[str, Histogram] = {}
    first: dict[str, Histogram] = {}
    tables: dict[str, dict[str, Value]] = {
        name: {}
        for name in (
            "modelgrid_requests_total", "modelgrid_input_tokens_total", "modelgrid_output_tokens_total",
            "modelgrid_request_duration_seconds", "modelgrid_time_to_first_byte_seconds",
        )
    }  # fmt: skip
    requests, into, out, duration, first_byte = tables.values()
    for (model, replica, key, status), cell in core.counters.cells.items():
        own = labels(model=model, replica=replica, key=key, status=status)
        requests[own] = cell.requests
        into[own], out[own] = cell.input_tokens, cell.output_tokens
        duration[own], first_byte[own] = _value(cell.duration), _value(cell.first_byte)
        if replica:
            _gen_ai_cell(model, status, cell, durations, first)
    sheet |= tables
    sheet["gen_ai_server_request_duration_seconds"] = {key: _value(item) for key, item in durations.items()}
    sheet["gen_ai_server_time_to_first_token_seconds"] = {key: _value(item) for key, item in first.items()}


def _gen_ai_cell(
    model: str, status: str, cell: Cell, durations: dict[str, Histogram], first: dict[str, Histogram]
) -> None:
    """Add a cell to the figures in OpenTelemetry's names, which know neither replicas nor keys."""
    error = {} if status == "2xx" else {"error_type": "cancelled" if status == CANCELLED else status}
    durations.setdefault(_gen_ai(model, **error), Histogram()).add(cell.duration)
    if status == "2xx":
        first.setdefault(_gen_ai(model), Histogram()).add(cell.first_byte)


def _gen_ai(model: str, **more: str) -> str:
    return labels(gen_ai_provider_name="vllm", gen_ai_request_model=model, **more)


def _value(histogram: Histogram) -> Value:
    return [histogram.sum, *histogram.buckets]


def _resident_bytes() -> int:
    with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123 (pathlib is not imported in this process)
        return int(statm.read().split()[1]) * _PAGE
