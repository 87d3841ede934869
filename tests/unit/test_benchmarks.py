"""The arithmetic of `make bench`; what it runs is seen when it runs."""

from benchmarks.bench_scale import MOST_MS, missed
from benchmarks.gateway_bounds import held
from benchmarks.profile import summary
from benchmarks.table import BASE, Row, document, markdown
from benchmarks.verdicts import Figure
from benchmarks.verdicts import markdown as verdicts
from benchmarks.workers import Turn, text


def _rows() -> tuple[Row, Row, Row]:
    direct = Row("direct", "", rounds=[{"one_connection_p50_us": 10.0}])
    nginx = Row(BASE, "proxies", rounds=[{"requests_per_second": 100.0}, {"requests_per_second": 10.0}])
    ours = Row("modelgrid", "all", rounds=[{"requests_per_second": 50.0}, {"requests_per_second": 8.0}])
    ours.rounds[0] = {**ours.rounds[0], "one_connection_p50_us": 110.0}
    return direct, nginx, ours


def test_ratios_are_taken_within_a_round() -> None:
    direct, nginx, ours = _rows()
    made = document([nginx, ours], direct, {"cpu": "x"})
    gateways = made["gateways"]
    assert isinstance(gateways, list)
    assert gateways[2]["ratio_to_nginx"]["requests_per_second"] == (0.5 + 0.8) / 2
    assert gateways[2]["median"]["requests_per_second"] == 29.0


def test_the_table_shows_what_is_missing_and_what_was_wrong() -> None:
    direct, nginx, ours = _rows()
    gone = Row("envoy", "proxies", unavailable="no network")
    ours.wrong["streams"] = "3 of 200 streams were not whole"
    text = markdown([nginx, gone, ours], direct)
    assert "not available: no network" in text
    assert "Wrong: modelgrid: streams: 3 of 200 streams were not whole." in text
    assert "×0.65" in text
    assert "| 110 | 100 |" in text, "one connection, and over direct"
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert len(widths) == 1


def test_a_profile_sums_frames() -> None:
    text = summary("main;a;b 3\nmain;a 1\n")
    assert "  75.0%  b" in text
    assert " 100.0%  main" in text


def test_a_figure_is_held_to_its_bound() -> None:
    assert [Figure("x", value, "ms", most=10).kept for value in (9.9, 10, 10.1)] == [True, True, False]
    assert [Figure("x", value, "per s", least=10).kept for value in (9.9, 10, 10.1)] == [False, True, True]
    assert Figure("x", 1, "ms").kept is None
    assert "| x | 1,234 | ms | ≤ 1,000 | missed |" in verdicts([Figure("x", 1_234.4, "ms", most=1_000)])


def test_two_workers_are_compared_within_a_turn() -> None:
    turns = [Turn(100.0, 190.0, 10.0, 11.0), Turn(10.0, 18.0, 20.0, 20.0)]
    assert "×1.85 the requests of one, at ×1.05 the CPU time" in text(turns, (0, 2))
    assert "two free cores would give up to ×1.90" in text(turns, (0, 0))


def test_deciding_is_held_to_its_times_and_to_growing_no_faster_than_its_cluster() -> None:
    small = dict.fromkeys(MOST_MS, 0.2)
    assert missed(1_000, dict.fromkeys(MOST_MS, 20.0), MOST_MS, 10, small) == []
    slow = missed(1_000, dict.fromkeys(MOST_MS, 20.0) | {"one more": 20.1}, MOST_MS, 10, small)
    assert slow == ["one more with 1,000 nodes: 20.1 ms, at most 20 ms"]
    (steep,) = missed(1_000, dict.fromkeys(MOST_MS, 20.0) | {"all at once": 26.0}, MOST_MS, 10, small)
    assert steep == "all at once costs 1.30 times as much per node as with 10 nodes"
    assert missed(100, dict.fromkeys(MOST_MS, 9_999.0), MOST_MS, 10, small) == [], "they are those of large clusters"


def test_the_gateway_is_held_to_its_bounds_within_a_round() -> None:
    direct = Row("direct", "", rounds=[{"one_connection_p50_us": 50.0}, {"one_connection_p50_us": 10.0}])
    nginx = Row(BASE, "", rounds=[{"requests_per_second": 100.0}, {"requests_per_second": 10.0}])
    envoy = Row("envoy", "", rounds=[{"requests_per_second": 60.0}, {"requests_per_second": 6.0}])
    gone = Row("vllm-router", "", unavailable="no network")
    ours = Row("modelgrid", "", rounds=[
        {"requests_per_second": 50.0, "one_connection_p50_us": 180.0, "rss_start_mb": 33.0},
        {"requests_per_second": 5.0, "one_connection_p50_us": 110.0, "rss_start_mb": 61.0},
    ])  # fmt: skip
    found = {figure.unit: (figure.value, figure.kept) for figure in held(ours, [nginx, envoy, gone], direct)}
    assert found == {
        "× nginx": (0.5, True),
        "× envoy": ((50 / 60 + 5 / 6) / 2, False),
        "µs": (115.0, True),
        "MB": (47.0, True),
    }
