"""Figures of several processes: added up, kept past the end of a process, printed as Prometheus reads them."""

import asyncio
import os
import shutil
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from modelgrid.domain.routing import LATENCY_BUCKETS_SECONDS
from modelgrid.gateway.board import Board
from modelgrid.gateway.core import Core
from modelgrid.gateway.figures import Figures
from modelgrid.gateway.metrics import sheet_of
from modelgrid.gateway.sheet import FAMILIES, OF_A_PROCESS, Kind, Sheet, add, lasting, text_of


def busy(core: Core, requests: int = 3) -> None:
    """Let every metric have something to say."""
    counters = core.counters
    for key, status in (("a", "2xx"), ('quo"ted\\', "cancelled")):
        cell = counters.cell("org/m", "m-1", key, status)
        cell.requests += requests
        cell.input_tokens += 10 * requests
        cell.output_tokens += requests
        for _ in range(requests):
            cell.duration.observe(0.3)
            cell.first_byte.observe(0.02)
    counters.answered_here("", 401, 0.001)
    for counter in (counters.failovers, counters.resends):
        counter["m-1"] += 1
    counters.upstream_failures["m-1", "connect"] += 1
    counters.refused["queue_full"] += 1
    counters.shed["org/m", "queue_full"] += 1
    counters.queue_waits["org/m"].observe(1.5)
    counters.overheads["org/m"].observe(0.00004)
    counters.token_usage["org/m"][0].observe(10)
    core.peer_counters.cell("org/m", "m-1", 'no"de', "2xx").count(0.3, 0.02)


async def test_a_page_is_what_prometheus_reads() -> None:
    core = Core(asyncio.get_running_loop(), 0)
    busy(core)
    read = {family.name: family for family in text_string_to_metric_families(text_of(core.figures.total()))}
    (requests,) = (s for s in read["modelgrid_requests"].samples if s.labels["key"] == 'quo"ted\\')
    assert (requests.value, requests.labels["status"]) == (3, "cancelled")
    first = read["gen_ai_server_time_to_first_token_seconds"].samples
    assert next(s.value for s in first if s.name.endswith("_count")) == 3, "answers that were cancelled do not count"
    errors = {s.labels.get("error_type") for s in read["gen_ai_server_request_duration_seconds"].samples}
    assert errors == {None, "cancelled"}
    usage = read["gen_ai_client_token_usage"].samples
    assert {s.labels["gen_ai_token_type"] for s in usage} == {"input", "output"}
    usage = [s for s in usage if s.labels["gen_ai_token_type"] == "input"]
    buckets = {s.labels["le"]: s.value for s in usage if s.name.endswith("_bucket")}
    assert (buckets["4.0" if "4.0" in buckets else "4"], buckets["16.0" if "16.0" in buckets else "16"]) == (0, 1)


async def test_promtool_has_nothing_to_say() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not here (Debian's package prometheus)")
    core = Core(asyncio.get_running_loop(), 0)
    busy(core)
    text = text_of(core.figures.total())
    missing = [name for name in FAMILIES if f"# TYPE {name} " not in text]
    assert set(missing) <= {
        "modelgrid_replica_in_flight", "modelgrid_queue_length", "modelgrid_upstream_idle_connections",
    }, "of the routing table, which is empty here"  # fmt: skip
    checked = subprocess.run([promtool, "check", "metrics"], input=text.encode(), capture_output=True, check=False)  # noqa: ASYNC221
    assert (checked.returncode, checked.stderr) == (0, b""), checked.stderr.decode()


def test_what_is_added_up_and_what_is_not() -> None:
    one: Sheet = {
        "modelgrid_refused_total": {'code="a"': 1.0},
        "modelgrid_queue_wait_seconds": {'model="m"': [0.5] + [1.0] * (len(LATENCY_BUCKETS_SECONDS) + 1)},
        "modelgrid_routing_generation": {'gateway="0"': 7.0},
        "modelgrid_requests_in_flight": {"": 2.0},
    }
    total: Sheet = {}
    add(total, one)
    add(total, one)
    add(total, {"modelgrid_queue_wait_seconds": {'model="m"': [9.0, 9.0]}})  # of a version with other buckets
    assert total["modelgrid_refused_total"] == {'code="a"': 2.0}
    assert total["modelgrid_queue_wait_seconds"]['model="m"'] == [1.0] + [2.0] * (len(LATENCY_BUCKETS_SECONDS) + 1)
    assert total["modelgrid_routing_generation"] == {'gateway="0"': 7.0}
    assert one["modelgrid_refused_total"] == {'code="a"': 1.0}, "what is added is left as it was"
    assert set(lasting(total)) == {"modelgrid_refused_total", "modelgrid_queue_wait_seconds"}
    assert all(FAMILIES[name].kind is not Kind.HISTOGRAM for name in OF_A_PROCESS)


async def test_what_a_process_counted_outlives_it_once() -> None:
    """One process here takes a slot after the other; the rest is in the tests of several workers."""
    descriptor = os.memfd_create("board")
    loop = asyncio.get_running_loop()
    try:
        first = Core(loop, 0, Board(descriptor, 1))
        busy(first)
        assert refused(first) == 1
        first.figures.close()
        first.board.leave()
        second = Core(loop, 0, Board(descriptor, 1))
        assert refused(second) == 1
        second.counters.refused["queue_full"] += 1
        assert refused(second) == 2
        kept = Figures(second)
        kept._publish()
        for _ in range(2):
            assert kept._bury(second.board.slot)
            kept._publish()  # as if the process had died after it was added and before its slot was cleared
        assert kept._read(second.board.ended_slot) is not None
        ended = kept._read(second.board.ended_slot)
        assert ended is not None
        assert ended.sheet["modelgrid_refused_total"] == {'code="queue_full"': 2.0}
        assert "modelgrid_requests_in_flight" not in ended.sheet
        assert "modelgrid_requests_in_flight" in sheet_of(second)
    finally:
        os.close(descriptor)


def refused(core: Core) -> float:
    value = core.figures.total()["modelgrid_refused_total"]['code="queue_full"']
    assert not isinstance(value, list)
    return value


async def test_a_half_written_area_is_the_one_before() -> None:
    core = Core(asyncio.get_running_loop(), 0)
    core.counters.refused["a"] += 1
    figures = core.figures
    figures._publish()
    number = figures._head(core.board.slot)[0]
    half = figures._at(core.board.slot) + 4096 + (number + 1) % 2 * (16 * 1024 * 1024)
    os.pwrite(core.board.descriptor, b"\xff" * 100, half)  # a write begins, and its process dies
    kept = figures._read(core.board.slot)
    assert kept is not None
    assert kept.sheet["modelgrid_refused_total"] == {'code="a"': 1.0}
