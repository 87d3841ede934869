"""Requests that wait for a model which is on its way."""

import asyncio
import time
from pathlib import Path

from gateway_kit import Upstream, answers, gateway, model, request

from modelgrid.domain.routing import ModelState


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
