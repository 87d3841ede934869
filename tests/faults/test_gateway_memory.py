"""Bodies that fill memory (row S22): refused as soon as a bound is passed, and gone afterwards."""

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path

from gateway_kit import KEY, Client, Upstream, answers, gateway, model, request

from modelgrid.domain.routing import ModelState

MIB = 1024**2
CHAT = "/v1/chat/completions"
HEAD = f"POST {CHAT} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\nContent-Type: application/json\r\n"


async def send_until_answered(client: Client, piece: bytes, times: int) -> int:
    """Send `piece` up to so many times, and stop when an answer is there; return the bytes sent."""
    sent = 0
    answered = asyncio.create_task(client.reader.readuntil(b"\r\n\r\n"))
    for _ in range(times):
        if answered.done():
            break
        try:
            await client.send(piece)
        except ConnectionError:
            break
        sent += len(piece)
    head = (await asyncio.wait_for(answered, 20)).decode()
    assert head.startswith("HTTP/1.1 413 "), head
    return sent


async def test_a_body_of_a_gigabyte_is_refused_before_it_is_sent_and_while_it_is(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica(), max_body_bytes=8 * MIB) as grid:
        assert (await grid.chat()).status == 200
        before = grid.rss()
        async with grid.client() as client:
            await client.send(f"{HEAD}Content-Length: {1024 * MIB}\r\n\r\n".encode())
            assert (await client.response()).status == 413
        piece = b"%x\r\n%b\r\n" % (MIB, b" " * MIB)
        async with grid.client() as client:
            await client.send(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode())
            sent = await send_until_answered(client, piece, 1024)
        grown = grid.rss() - before
        print(f"S22: 413 after {sent / MIB:.0f} MiB of 1024; the gateway grew by {grown / MIB:.1f} MiB")
        assert sent <= 32 * MIB, "the limit, and what the kernel holds"
        assert grown <= 20 * MIB
        assert (await grid.chat()).status == 200


async def test_deep_json_and_huge_numbers_are_an_answer_and_no_more(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, upstream.replica()) as grid:
        before = grid.rss()
        deep = b'{"model":"m","messages":' + b"[" * 4 * MIB + b"]" * 4 * MIB + b"}"
        started = time.monotonic()
        answer = await grid.ask("POST", CHAT, deep)
        assert answer.status in {200, 400}, "passed on as it is, or refused: never followed down"
        huge = b'{"model":"m","n":1' + b"0" * 4000 + b',"max_tokens":9' + b"9" * 4000 + b"}"
        assert (await grid.ask("POST", CHAT, huge)).status in {200, 400}
        print(f"S22: {time.monotonic() - started:.2f} s, the gateway grew by {(grid.rss() - before) / MIB:.1f} MiB")
        assert grid.rss() - before <= 20 * MIB
        assert (await grid.chat()).status == 200


async def test_bodies_that_arrive_slowly_take_no_more_than_their_bound_together(tmp_path: Path) -> None:
    async with (
        Upstream(answers) as upstream,
        gateway(tmp_path, upstream.replica(), max_held_bytes=32 * MIB) as grid,
        AsyncExitStack() as stack,
    ):
        assert (await grid.chat()).status == 200
        before = grid.rss()
        clients = [await stack.enter_async_context(grid.client()) for _ in range(64)]
        head = f"{HEAD}Content-Length: {4 * MIB}\r\n\r\n".encode()
        await asyncio.gather(*(client.send(head + b" " * 2 * MIB) for client in clients), return_exceptions=True)
        refused = [client for client, answer in zip(clients, await heads(clients), strict=True) if answer == 503]
        grown = grid.rss() - before
        print(f"S22: {len(refused)} of 64 refused, the gateway grew by {grown / MIB:.1f} MiB")
        assert len(refused) == 64 - 8, "whole bodies are counted, so that those let in can be sent to their end"
        assert grown <= (32 + 20) * MIB
        rest = [client for client in clients if client not in refused]
        body = b'{"model":"m"}'
        for client in rest:
            await client.send(b" " * (2 * MIB - len(body)) + body)
            assert (await client.response()).status == 200, "who was let in is served"
        assert (await grid.ask("POST", CHAT, b" " * 4 * MIB + body)).status == 200, "there is room again"
        await grid.idle()


async def heads(clients: list[Client]) -> list[int | None]:
    """The status of each answer that is there within a second, None without one."""

    async def status(client: Client) -> int | None:
        try:
            async with asyncio.timeout(1):
                return (await client.head()).status
        except TimeoutError:
            return None

    return await asyncio.gather(*(status(client) for client in clients))


async def test_bodies_that_wait_for_a_replica_are_counted(tmp_path: Path) -> None:
    async with Upstream(answers) as upstream, gateway(tmp_path, max_held_bytes=MIB) as grid:
        await grid.publish(model("m", state=ModelState.STARTING))
        body = b'{"model":"m","padding":"' + b"x" * 60_000 + b'"}'
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(grid.client()) for _ in range(40)]
            for client in clients:
                await client.send(request("POST", CHAT, body))
            statuses = await heads(clients)
            waiting = statuses.count(None)
            print(f"{waiting} of 40 wait")
            assert waiting == MIB // len(body)
            assert set(statuses) == {None, 503}
            await grid.serve(upstream.replica())
            served = [client for client, status in zip(clients, statuses, strict=True) if status is None]
            assert {(await client.response()).status for client in served} == {200}
        assert (await grid.ask("POST", CHAT, body)).status == 200
        await grid.idle()
