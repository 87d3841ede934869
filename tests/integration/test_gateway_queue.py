"""Requests that wait: for a model which is on its way, or for a replica that has a place."""

import asyncio
import time
from pathlib import Path
from statistics import median

from gateway_kit import PATIENCE, Gateway, Peer, Response, Seen, Upstream, answers, gateway, model, request, until

from modelgrid.domain.routing import LATENCY_BUCKETS_SECONDS, ModelState


async def test_requests_wait_in_order_until_a_replica_is_ready(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path) as grid:
        waiting = []
        for number in range(5):
            body = {"model": "m", "n": number}
            waiting.append(asyncio.create_task(grid.ask("POST", "/v1/chat/completions", body)))
            await grid.wait_for_metric('modelgrid_queue_length{model="m"}', number + 1)
        await grid.serve(upstream.replica())
        assert [answer.status for answer in await asyncio.gather(*waiting)] == [200] * 5
        assert [seen.body for seen in upstream.seen] == [b'{"model": "m", "n": %d}' % number for number in range(5)]
        await grid.idle()


async def test_the_queue_is_bounded_in_number_and_time(tmp_path: Path) -> None:
    async with gateway(tmp_path, queue_limit=2, queue_seconds=1.0) as grid:
        await grid.publish(model("m", retry_after_seconds=33))
        started = time.monotonic()
        waiting = [asyncio.create_task(grid.chat()) for _ in range(2)]
        await grid.wait_for_metric('modelgrid_queue_length{model="m"}', 2)
        full = await grid.chat()
        assert time.monotonic() - started < 1.0
        assert (full.status, full.code, full.header("retry-after")) == (503, "queue_full", "33")
        for answer in await asyncio.gather(*waiting):
            assert (answer.status, answer.code, answer.header("retry-after")) == (503, "queue_timeout", "33")
        assert time.monotonic() - started >= 1.0 - 0.25  # deadlines are coarse by one tick of the sweep
        await grid.idle()


async def test_a_shorter_line_lets_those_who_wait_stay(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path) as grid:
        waiting = [asyncio.create_task(grid.chat()) for _ in range(2)]
        await grid.wait_for_metric('modelgrid_queue_length{model="m"}', 2)
        await grid.change(queue_limit=1)
        assert (await grid.chat()).code == "queue_full"
        await grid.change(queue_limit=3)
        waiting.append(asyncio.create_task(grid.chat()))
        await grid.wait_for_metric('modelgrid_queue_length{model="m"}', 3)
        await grid.serve(upstream.replica())
        assert [answer.status for answer in await asyncio.gather(*waiting)] == [200] * 3
        await grid.idle()


async def test_what_waits_and_what_is_refused_is_counted(tmp_path: Path) -> None:
    service, waits = 0.1, 0.2

    async def slow(seen: Seen, peer: Peer) -> None:
        await asyncio.sleep(service)
        await answers(seen, peer)

    async with Upstream(slow) as upstream, gateway(tmp_path, queue_limit=1) as grid:
        started = time.monotonic()
        waiting = asyncio.create_task(grid.chat())
        await grid.wait_for_metric('modelgrid_queue_length{model="m"}', 1)
        assert (await grid.chat()).code == "queue_full"
        await asyncio.sleep(waits)
        await grid.serve(upstream.replica("r"))
        assert (await waiting).status == 200
        took = time.monotonic() - started
        assert (await grid.chat()).status == 200  # this one does not wait
        all_took = time.monotonic() - started
        await grid.idle()
        figures = await grid.metrics()

    assert {name: value for name, value in figures.items() if "_shed_total" in name} == {
        'modelgrid_shed_total{model="m",reason="queue_full"}': 1
    }
    assert figures['modelgrid_queue_wait_seconds_count{model="m"}'] == 1
    waited = figures['modelgrid_queue_wait_seconds_sum{model="m"}']
    assert waits <= waited <= took - service
    assert figures['modelgrid_gateway_overhead_seconds_count{model="m"}'] == 2
    assert 0 < figures['modelgrid_gateway_overhead_seconds_sum{model="m"}'] <= all_took - waited - 2 * service
    good = 'model="m",replica="r",key="tests",status="2xx"'
    assert figures[f"modelgrid_time_to_first_byte_seconds_count{{{good}}}"] == 2
    first_bytes = figures[f"modelgrid_time_to_first_byte_seconds_sum{{{good}}}"]
    assert waited + 2 * service <= first_bytes <= figures[f"modelgrid_request_duration_seconds_sum{{{good}}}"]
    tokens = 'gen_ai_provider_name="vllm",gen_ai_request_model="m"'
    assert figures[f"gen_ai_server_time_to_first_token_seconds_count{{{tokens}}}"] == 2


async def test_models_have_queues_of_their_own(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, queue_limit=1) as grid:
        await grid.publish(model("a"), model("b"))
        waiting = [asyncio.create_task(grid.chat(name)) for name in ("a", "b")]
        for name in ("a", "b"):
            await grid.wait_for_metric(f'modelgrid_queue_length{{model="{name}"}}', 1)
        await grid.publish(model("a", (upstream.replica(),)), model("b"))
        assert (await waiting[0]).status == 200
        await grid.publish(model("a"), model("b", state=ModelState.STOPPED))
        assert (await waiting[1]).code == "model_not_running"
        await grid.idle()


async def test_a_model_that_is_removed_answers_those_who_wait(tmp_path: Path) -> None:
    async with gateway(tmp_path) as grid:
        waiting = asyncio.create_task(grid.chat())
        await grid.wait_for_metric('modelgrid_queue_length{model="m"}', 1)
        await grid.publish()
        answer = await waiting
        assert (answer.status, answer.code) == (503, "model_removed")
        await grid.idle()


async def test_who_waits_for_a_model_that_is_stopped_does_not_bring_it_back(tmp_path: Path) -> None:
    """Though a request that comes later would: what was removed stays away until it is asked for again."""
    async with Upstream(answers) as upstream, gateway(tmp_path) as grid:
        before = asyncio.create_task(grid.chat())
        await grid.wait_for_metric('modelgrid_queue_length{model="m"}', 1)
        on_request = model("m", state=ModelState.ON_REQUEST, reason="running requests finish")
        await grid.publish(on_request)
        answer = await before
        assert (answer.status, answer.code) == (503, "model_not_running")
        assert answer.json()["error"]["message"].endswith("is not running: running requests finish.")
        after = asyncio.create_task(grid.chat())
        await grid.wait_for_metric('modelgrid_queue_length{model="m"}', 1)
        await grid.publish(on_request)
        await grid.serve(upstream.replica())
        assert (await after).status == 200
        await grid.idle()


async def test_a_client_that_leaves_the_queue_is_not_served(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path) as grid:
        async with grid.client() as client:
            await client.send(request("POST", "/v1/chat/completions", {"model": "m"}))
            await grid.wait_for_metric('modelgrid_queue_length{model="m"}', 1)
        await grid.idle()
        await grid.serve(upstream.replica())
        assert (await grid.chat()).status == 200
        assert len(upstream.seen) == 1


async def test_the_queue_is_in_the_report(tmp_path: Path) -> None:
    async with gateway(tmp_path) as grid:
        waiting = asyncio.create_task(grid.chat())
        while not any(report.queued == {"m": 1} and "m" in report.wanted_models for report in grid.reports):
            await asyncio.wait_for(asyncio.sleep(0.01), 10)
        await grid.publish()
        await waiting


async def test_new_tables_do_not_make_anybody_wait_longer(tmp_path: Path) -> None:
    async with gateway(tmp_path, queue_seconds=1.0) as grid:
        waiting = asyncio.create_task(grid.chat())
        await grid.wait_for_metric('modelgrid_queue_length{model="m"}', 1)
        while not waiting.done():
            await grid.publish(*grid.models)
        assert waiting.result().code == "queue_timeout"


class Held:
    """A replica that answers when it is told to."""

    def __init__(self) -> None:
        self.at_work = 0
        self._let_go = asyncio.Semaphore(0)

    async def __call__(self, seen: Seen, peer: Peer) -> None:
        self.at_work += 1
        await self._let_go.acquire()
        self.at_work -= 1
        await answers(seen, peer)

    def finish(self, number: int) -> None:
        for _ in range(number):
            self._let_go.release()


async def ask(grid: Gateway, number: int) -> Response:
    return await grid.ask("POST", "/v1/chat/completions", {"model": "m", "n": number})


async def test_a_full_replica_is_given_the_next_request_when_one_ends(tmp_path: Path) -> None:
    held = Held()
    async with Upstream(held) as upstream, gateway(tmp_path) as grid:
        await grid.serve(upstream.replica(places=2))
        asked = []
        for number in range(5):
            asked.append(asyncio.create_task(ask(grid, number)))
            await grid.wait_for_metric("modelgrid_requests_in_flight", number + 1)
        await grid.wait_for_metric('modelgrid_queue_length{model="m"}', 3)
        assert held.at_work == 2
        for ended in range(1, 4):
            held.finish(1)
            await until(lambda seen=ended + 2: len(upstream.seen) == seen, "the next one is sent")  # type: ignore[misc]
            assert held.at_work <= 2
        held.finish(2)
        assert [answer.status for answer in await asyncio.gather(*asked)] == [200] * 5
        assert [seen.body for seen in upstream.seen] == [b'{"model": "m", "n": %d}' % number for number in range(5)]
        await grid.idle()


async def test_a_client_that_leaves_makes_room_for_the_next(tmp_path: Path) -> None:
    held = Held()
    async with Upstream(held) as upstream, gateway(tmp_path) as grid:
        await grid.serve(upstream.replica(places=1))
        async with grid.client() as client:
            await client.send(request("POST", "/v1/chat/completions", {"model": "m"}))
            await until(lambda: held.at_work == 1, "the first is at work")
            second = asyncio.create_task(ask(grid, 2))
            await grid.wait_for_metric('modelgrid_queue_length{model="m"}', 1)
        held.finish(2)
        assert (await second).status == 200
        await grid.idle()


async def test_a_request_waits_for_another_replica_when_one_cannot_be_reached(tmp_path: Path) -> None:
    held = Held()
    async with Upstream(held) as upstream, Upstream(answers) as gone, gateway(tmp_path) as grid:
        await grid.serve(upstream.replica("good", places=1))
        first = asyncio.create_task(ask(grid, 1))
        await until(lambda: held.at_work == 1, "the first is at work")
        await gone.stop()
        await grid.serve(upstream.replica("good", places=1), gone.replica("gone"))
        second = asyncio.create_task(ask(grid, 2))
        await grid.wait_for_metric('modelgrid_queue_length{model="m"}', 1)
        held.finish(2)
        assert [(await first).status, (await second).status] == [200, 200]


async def test_who_cannot_be_served_in_time_is_told_at_once_how_long_it_takes(tmp_path: Path) -> None:
    async def slow(seen: Seen, peer: Peer) -> None:
        await asyncio.sleep(0.5)
        await answers(seen, peer)

    async with Upstream(slow) as upstream, gateway(tmp_path, queue_seconds=1.4) as grid:
        await grid.serve(upstream.replica(places=1))
        assert (await grid.chat()).status == 200  # the service time is known from now on: 0.5 s
        asked = []
        for number in range(3):
            asked.append(asyncio.create_task(ask(grid, number)))
            await grid.wait_for_metric("modelgrid_requests_in_flight", number + 1)
        started = time.monotonic()
        refused = await grid.chat()
        took = time.monotonic() - started
        assert (refused.status, refused.code) == (503, "queue_full")
        assert refused.header("retry-after") == "2"  # three before it, half a second each
        assert took < 0.5
        await asyncio.gather(*asked)


async def test_ten_times_too_much_is_refused_fast_and_what_is_let_in_is_served_well(tmp_path: Path) -> None:
    """Row R20. Times are the gateway's own: the machine may do much else, and so does this process."""
    service, places, enough = 0.1, 8, 80
    working: list[float] = []
    at_work = most_at_work = 0

    async def steady(seen: Seen, peer: Peer) -> None:
        nonlocal at_work, most_at_work
        started = time.monotonic()
        at_work += 1
        most_at_work = max(most_at_work, at_work)
        await asyncio.sleep(service)
        at_work -= 1
        await answers(seen, peer)
        working.append(time.monotonic() - started)

    async with Upstream(steady) as upstream, gateway(tmp_path, queue_limit=places // 2) as grid:
        await grid.serve(upstream.replica(places=places))
        took: dict[int, list[float]] = {200: [], 503: []}

        async def client() -> None:
            async with grid.client() as connection:
                while len(took[200]) < enough:
                    started = time.monotonic()
                    answer = await connection.ask("POST", "/v1/chat/completions", {"model": "m"})
                    took[answer.status].append(time.monotonic() - started)
                    if answer.status == 503:
                        assert int(answer.header("retry-after") or 0) >= 1
                        await asyncio.sleep(service / 2)

        await asyncio.wait_for(asyncio.gather(*(client() for _ in range(10 * places))), PATIENCE)
        await grid.idle()
        figures = await grid.metrics()

    alone = sorted(working)[int(len(working) * 0.99)]
    served, refused = p99(figures, "2xx", f"replica-{upstream.port}"), p99(figures, "5xx", "")
    print(
        f"served {len(took[200])} (median {median(took[200]):.3f} s, p99 in the gateway {served:g} s, at the replica "
        f"{alone:.3f} s), refused {len(took[503])} (median {median(took[503]):.3f} s, p99 in the gateway {refused:g} s)"
    )
    assert len(took[503]) > len(took[200])
    assert len(took[200]) == len(working)
    assert most_at_work == places, "the replica is kept busy, and no busier than it may be"
    assert refused <= 0.05
    assert served <= 5 * alone


def p99(figures: dict[str, float], status: str, replica: str) -> float:
    """Return the bound, in seconds, under which 99 of 100 requests were answered by the gateway's own clock."""
    labels = f'model="m",replica="{replica}",key="tests",status="{status}"'
    name = "modelgrid_request_duration_seconds"
    enough = 0.99 * figures[f"{name}_count{{{labels}}}"]
    return next(le for le in LATENCY_BUCKETS_SECONDS if figures[f'{name}_bucket{{{labels},le="{le:g}"}}'] >= enough)


async def test_the_first_request_brings_a_model_up_and_all_wait_for_it(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path) as grid:
        await grid.publish(model("m", state=ModelState.ON_REQUEST))
        asked = [asyncio.create_task(ask(grid, 1))]
        await until(lambda: "m" in grid.reports[-1].wanted_models, "control hears of it")
        asked.append(asyncio.create_task(ask(grid, 2)))
        await grid.wait_for_metric('modelgrid_queue_length{model="m"}', 2)
        await grid.publish(model("m", state=ModelState.STARTING))
        await grid.wait_for_metric('modelgrid_queue_length{model="m"}', 2)
        await grid.serve(upstream.replica())
        assert [answer.status for answer in await asyncio.gather(*asked)] == [200, 200]
        assert [seen.body for seen in upstream.seen] == [b'{"model": "m", "n": %d}' % number for number in (1, 2)]


async def test_a_load_that_fails_answers_all_who_wait_with_the_reason(tmp_path: Path) -> None:
    async with gateway(tmp_path) as grid:
        await grid.publish(model("m", state=ModelState.ON_REQUEST))
        asked = [asyncio.create_task(ask(grid, number)) for number in range(3)]
        await grid.wait_for_metric('modelgrid_queue_length{model="m"}', 3)
        await grid.publish(model("m", state=ModelState.STOPPED, reason="no GPU has the 17.6 GiB that it needs"))
        for answer in await asyncio.gather(*asked):
            assert (answer.status, answer.code) == (503, "model_not_running")
            assert "is not running: no GPU has the 17.6 GiB that it needs." in answer.json()["error"]["message"]
        await grid.idle()
