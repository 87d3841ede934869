"""Series in bounded memory, and what reports and scrapes become."""

import math
import tracemalloc
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from set_clock import SetClock

from modelgrid.domain.gpu import Gpu, GpuInventory, GpuVendor
from modelgrid.domain.ids import GpuId, NodeName
from modelgrid.domain.metric import METRIC
from modelgrid.domain.node import Node
from modelgrid.domain.routing import LATENCY_BUCKETS_SECONDS, GatewayReport, Series
from modelgrid.services.metrics import series as series_module
from modelgrid.services.metrics.engine import EngineFigures, Histogram, Reading, parse
from modelgrid.services.metrics.lane import Lane
from modelgrid.services.metrics.ring import COARSE_SECONDS, FINE_SECONDS, Ring
from modelgrid.services.metrics.scraper import Scraper
from modelgrid.services.metrics.series import SeriesStore, times_for
from modelgrid.services.metrics.service import MetricsService
from modelgrid.services.metrics.traffic import FLEET, Traffic
from modelgrid.services.registry import DeploymentRegistry
from modelgrid.simulator.metrics import EngineMetrics
from modelgrid.simulator.settings import parse_settings

T = 1_800_000_000


def test_seconds_then_tens() -> None:
    ring = Ring()
    for second in range(T, T + 2_000):
        ring.put(second, float(second - T))
    newest = T + 1_999
    assert ring.values(range(newest - 2, newest + 3), 1) == [1997.0, 1998.0, 1999.0, None, None]
    assert ring.values([newest - FINE_SECONDS], 1) == [None], "seconds are kept for 15 minutes"
    assert ring.values([T, T + 1_000], 10) == [pytest.approx(4.5, rel=1e-3), pytest.approx(1004.5, rel=1e-3)]
    assert ring.values([T + 1_990], 10) == [pytest.approx(1994.5)], "the last ten, as far as they are known"
    assert ring.values([T, T + 60], 60) == [pytest.approx(29.5, rel=1e-3), pytest.approx(89.5, rel=1e-3)]


def test_gaps_stay_gaps() -> None:
    ring = Ring()
    for second in (T, T + 1, T + 5, T + 700, T + 3_000):
        ring.put(second, 1.0)
    assert ring.values(range(T + 2_998, T + 3_002), 1) == [None, None, 1.0, None]
    assert ring.values(range(T + 2_101, T + 2_998), 1) == [None] * 897, "what stood there an age ago is gone"
    assert ring.values([T, T + 10, T + 700], 10) == [1.0, None, 1.0]
    ring.put(T + 2_999, 5.0)
    ring.put(T + 3_001, math.nan)
    assert ring.values(range(T + 2_999, T + 3_002), 1) == [None, 1.0, None], "late and senseless values are left out"


def test_a_day_is_kept_and_bounded() -> None:
    ring = Ring()
    for second in range(T, T + 3 * COARSE_SECONDS, 10):
        ring.put(second, 1.0)
    end = T + 3 * COARSE_SECONDS
    kept = ring.values(range(end - COARSE_SECONDS, end, 10), 10)
    assert kept == [1.0] * 8_640
    assert ring.size <= 22_000
    assert ring.values([end - COARSE_SECONDS - 7_300], 10) == [None]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gpu_vram_used_bytes", 85_899_345_920.0),
        ("requests_per_second", 0.3),
        ("output_tokens_per_second", 1_500_000.0),
        ("latency_p99_seconds", 320.0),
    ],
)
def test_sixteen_bits_are_enough(name: str, value: float) -> None:
    ring = Ring(METRIC[name].scale)
    for second in range(T, T + 1_000, 10):
        ring.put(second, value)
    assert ring.values([T], 10) == [pytest.approx(value, rel=1e-3)]


FLEET_LABELS: dict[tuple[str, ...], list[tuple[str, ...]]] = {
    (): [()],
    ("model",): [(f"m-{number}",) for number in range(200)],
    ("deployment", "model"): [(f"d-{number}", f"m-{number}") for number in range(200)],
    ("node", "gpu"): [(f"node-{node}", f"nvidia-{gpu}") for node in range(20) for gpu in range(8)],
}
"""20 nodes × 8 GPUs × 200 deployments of 200 models."""
EVERY = [(name, labels) for name, metric in METRIC.items() for labels in FLEET_LABELS[metric.labels]]


@pytest.mark.parametrize(("busy", "step", "most"), [(0, 1, 12e6), (1, 90, 48e6)])
def test_memory_of_a_fleet(busy: int, step: int, most: float) -> None:
    """Idle, and 15 minutes of it with every figure of every deployment changing all the time."""
    tracemalloc.start()
    store = SeriesStore()
    for second in range(T, T + 11 * step, step):
        for name, labels in EVERY:
            store.put(name, labels, second, float(busy * (second % 97)))
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    store.forget_old(T + 3_600)
    print(f"\n{len(store)} series, {'busy' if busy else 'idle'}: {used / 1e6:.1f} MB")
    assert len(store) == len(EVERY) < series_module.MOST_SERIES
    assert used < most
    assert store.size() < series_module.MOST_BYTES
    assert store.left_out(T + 3_600) == 0


def test_what_is_too_much_goes_from_the_far_end_of_all_series(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series_module, "MOST_BYTES", 20_000)
    store = SeriesStore()
    for second in range(T, T + 12 * 3_600, 10):
        store.put("queued", (), second, float(second % 90))
        store.put("in_flight", (), second, float(second % 70))
        if second % 600 == 0:
            store.forget_old(second)
    newest = T + 12 * 3_600 - 10
    store.forget_old(newest)
    hours = store.long_range // 3_600
    assert 1 < hours < 12
    assert store.size() <= 20_000
    for name in ("queued", "in_flight"):
        (kept,) = store.find(name, {}, range(newest - store.long_range, newest, 10))
        assert None not in kept.values
        (gone,) = store.find(name, {}, range(T, newest - store.long_range - 3_600, 10))
        assert set(gone.values) == {None}
    monkeypatch.setattr(series_module, "MOST_BYTES", 200_000)
    store.forget_old(newest)
    assert store.long_range == (hours + 1) * 3_600, "with room again, the long range grows again"


@given(
    st.lists(st.tuples(st.integers(1, 9), st.sampled_from([0.0, 0.0, 0.0, 1.0, 2.0])), max_size=20),
    st.integers(0, 40),
)
def test_a_lane_is_a_row_of_numbers(puts: list[tuple[int, float]], begin: int) -> None:
    """Whatever is kept as one number: reading gives what was put, for as long as it says."""
    lane, known, step = Lane("f", width=4, blocks=3, blank=-1.0), {}, begin
    for distance, number in puts:
        lane.put(step, number)
        known[step] = number
        for at in range(begin - 5, step + 3):
            kept = at // 4 > step // 4 - 3
            assert lane.get(at) == (known.get(at, -1.0) if kept else -1.0)
        assert 0 <= lane.size <= 3 * (64 + 16)
        step += distance
    if known:
        newest = max(known)
        lane.forget(newest)
        for at in range(begin - 5, newest + 3):
            assert lane.get(at) == (known.get(at, -1.0) if at // 4 == newest // 4 else -1.0)


def test_the_number_of_series_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series_module, "MOST_SERIES", 10)
    store = SeriesStore()
    for number in range(20):
        store.put("model_queued", (f"m-{number}",), T, 1.0)
    assert len(store) == 10
    assert store.left_out(T) == 10
    assert store.left_out(T + 10) == 0
    store.put("model_queued", ("m-new",), T + FINE_SECONDS + 1, 1.0)
    assert [dict(found.labels) for found in store.find("model_queued", {}, range(T, T + 1))] == [{"model": "m-new"}]


def test_room_is_looked_for_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series_module, "MOST_SERIES", 1)
    store, looked = SeriesStore(), []
    monkeypatch.setattr(store, "_drop", looked.append)
    for number in range(5):
        store.put("model_queued", (f"m-{number}",), T, 1.0)
    assert len(looked) == 1
    store.put("model_queued", ("m-5",), T + 1, 1.0)
    assert len(looked) == 2


@pytest.mark.parametrize(
    ("since", "step", "expected"),
    [(T - 60, None, 1), (T - 900, None, 2), (T - 3_600, None, 10), (T - 86_400, None, 150), (T - 3_600, 1, 10),
     (T - 60, 7, 7), (T - 60, 15, 20)],
)  # fmt: skip
def test_steps(since: float, step: int | None, expected: int) -> None:
    times = times_for(since, T, step, T)
    assert times.step == expected
    assert all(time % expected == 0 for time in times)
    assert times[0] <= since
    assert len(times) <= 602


def test_a_second_that_the_sampler_missed_is_no_gap_and_one_that_nobody_measured_is() -> None:
    clock, gpu = SetClock(float(T)), Gpu(
        id=GpuId("nvidia-0"), vendor=GpuVendor.NVIDIA, index=0, uuid="GPU-1", name="H100",
        vram_total_bytes=80, vram_used_bytes=8, vram_free_bytes=72, temperature_celsius=50.0,
    )  # fmt: skip
    nodes = [Node(name=NodeName("a"), inventory=GpuInventory(taken_at=T, gpus=(gpu,)))]
    nobody = cast("Scraper", SimpleNamespace(figures={}))
    registry = cast("DeploymentRegistry", SimpleNamespace(all=tuple))
    metrics = MetricsService(registry, lambda: nodes, nobody, clock)
    for second in (0, 1, 3, 4, 14):
        clock.at = T + second + 0.02
        metrics.sample()
    (kept,) = metrics.series.find("gpu_temperature_celsius", {}, range(T, T + 15))
    assert kept.values == (50.0,) * 5 + (None,) * 9 + (50.0,), "late by ten seconds is too late"
    assert metrics.series.find("gpu_power_watts", {}, range(T, T + 5)) == []


def report(requests: int, buckets: dict[int, int], **more: object) -> GatewayReport:
    counts = tuple(buckets.get(index, 0) for index in range(len(LATENCY_BUCKETS_SECONDS) + 1))
    cell = Series(
        model="m", replica="d", key="k", status="2xx", requests=requests, output_tokens=requests * 10,
        first_byte_buckets=counts, duration_buckets=counts,
    )  # fmt: skip
    broken = replace(cell, status="5xx", replica="", requests=requests // 10, output_tokens=0)
    return replace(
        GatewayReport(gateway="0", pid=1, started_at=1.0, epoch="e", generation=1, series=(cell, broken)), **more
    )


def test_rates_of_reports() -> None:
    traffic = Traffic()
    assert traffic.flows(0.0)[FLEET].requests_per_second == 0.0
    traffic.take(report(1_000, {3: 1_000}), 100.0)
    assert traffic.flows(100.1)[FLEET].requests_per_second == 0.0, "what was before this control is not of now"
    traffic.take(report(1_100, {3: 1_100}), 102.0)
    traffic.take(report(1_100, {3: 1_100}), 102.05)
    flows = traffic.flows(102.5)
    assert flows[FLEET].requests_per_second == pytest.approx(55.0)
    assert flows[FLEET].errors_per_second == pytest.approx(5.0)
    assert flows["model", "m"].output_tokens_per_second == pytest.approx(500.0)
    assert flows["deployment", "d"].requests_per_second == pytest.approx(50.0)
    assert flows["deployment", "d"].latency[0] == pytest.approx(0.0375)
    traffic.take(report(500, {5: 500}, pid=2), 102.6)
    traffic.take(report(520, {5: 520}, pid=2), 103.6)
    traffic.take(report(1_100, {3: 1_100}), 103.6)
    flows = traffic.flows(104.0)
    assert flows["deployment", "d"].requests_per_second == pytest.approx(20.0), "the other process is idle now"
    assert flows["deployment", "d"].latency[2] is not None
    assert traffic.flows(120.0)[FLEET].requests_per_second == 0.0
    assert traffic.reports(120.0) == ()


def test_a_gateway_of_another_node_holds_until_its_heartbeats_stop() -> None:
    traffic = Traffic()
    traffic.take(report(0, {}, gateway="worker-a/0"), 100.0, 15.0)
    traffic.take(report(100, {3: 100}, gateway="worker-a/0"), 105.0, 15.0)
    assert traffic.flows(109.9)["deployment", "d"].requests_per_second == pytest.approx(20.0)
    assert traffic.reports(119.9) != ()
    assert traffic.flows(120.1)[FLEET].requests_per_second == 0.0


def test_a_page_of_the_engine() -> None:
    engine = EngineMetrics(parse_settings(["serve", "some/model", "--max-model-len", "1024"])[0])
    for _ in range(3):
        engine.first_token.observe(0.05)
        engine.e2e.observe(0.9)
    engine.prompt_tokens, engine.generation_tokens = 30, 300
    text = engine.text(running=2, waiting=1, cache_usage=0.25, queries=0, hits=0).decode()
    reading = parse(text)
    assert (reading.running, reading.waiting, reading.kv_cache_ratio) == (2, 1, 0.25)
    assert (reading.input_tokens, reading.output_tokens) == (30, 300)
    assert sum(reading.first_token.counts) == sum(reading.latency.counts) == 3
    assert reading.latency.quantiles()[0] == pytest.approx(0.9, abs=0.1)
    assert reading.kv_blocks == 4 * 1024 // 16
    assert reading.kv_block_tokens == 16
    assert parse("nothing of ours 1\n") == Reading()
    with pytest.raises(ValueError, match=r".+"):
        parse('vllm:num_requests_running{engine="0" 1\n')


def test_figures_of_an_engine_that_is_started_anew() -> None:
    figures = EngineFigures()
    bounds = (1.0, 2.0)
    for second in range(400):
        counts = (float(second), 0.0, 0.0)
        figures.take(Reading(output_tokens=second * 5.0, latency=Histogram(bounds, counts)), float(second))
    assert figures.rates() == (None, 5.0)
    _, latency, window = figures.window(300.0)
    assert sum(latency.counts) == window
    assert 285 <= window <= 301
    assert 9 <= sum(figures.window(10.0)[1].counts) <= 11
    figures.take(Reading(output_tokens=3.0, latency=Histogram(bounds, (1.0, 0.0, 0.0))), 400.0)
    assert figures.rates() == (None, 3.0), "it fell: it began anew at 0"
    assert sum(figures.window(300.0)[1].counts) == 1.0
