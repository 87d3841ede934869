"""The simulated engine as a process: loading, waiting, cancelling, ending, and its memory on simulated GPUs."""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import psutil
import pytest
from tests.ports import free_port

from modelgrid.domain.units import GIB
from modelgrid.simulator.gpu_state import write_foreign
from modelgrid.simulator.gpus import SimulatedGpuProbe, simulated_gpus
from modelgrid.simulator.spawn import SpawnedEngine, spawned

BODY = {"messages": [{"role": "user", "content": "hello"}]}


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = 10.0) -> None:
    """Return when `holds` does. Raises `TimeoutError`."""
    async with asyncio.timeout(seconds):
        while not await holds():  # noqa: ASYNC110 (the state is another process's)
            await asyncio.sleep(0.01)


async def state(http: httpx.AsyncClient) -> tuple[int, int]:
    """Return how many sequences run and wait."""
    seen = (await http.get("/sim")).json()
    return seen["running"], seen["waiting"]


@contextlib.asynccontextmanager
async def engine_and_client(*arguments: str) -> AsyncIterator[tuple[SpawnedEngine, httpx.AsyncClient]]:
    async with spawned("m", *arguments) as engine, httpx.AsyncClient(base_url=engine.url, timeout=30) as http:
        yield engine, http


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_help_says_what_it_is() -> None:
    for arguments in (["--help"], ["serve", "--help"]):
        shown = subprocess.run(
            [sys.executable, "-m", "modelgrid.simulator", *arguments], capture_output=True, text=True, check=True
        ).stdout
        assert "SIMULATED" in shown
        assert "loads no model" in shown
    assert "oom-at-load" in shown


async def test_load_refuses_connections_and_logs_like_vllm(tmp_path: Path) -> None:
    port, probe = free_port(), SimulatedGpuProbe(simulated_gpus(2), tmp_path)
    arguments = (
        "--port", str(port), "--sim-load-seconds", "1.0", "--sim-gpu-state-dir", str(tmp_path), "--sim-gpu-ids",
        "nvidia-1", "--sim-reserved-bytes", str(20 * GIB), "--max-model-len", "4096", "--served-model-name", "shown",
    )  # fmt: skip
    async with spawned("m", *arguments, ready=False) as engine:
        await engine.wait_line("Loading safetensors checkpoint shards:  50% Completed | 2/4")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        partial = probe.read()[1].processes[0].used_bytes
        assert partial is not None
        assert 0 < partial < 14 * GIB
        await engine.wait_ready()
        first, second = probe.read()
        assert first.processes == ()
        assert (second.processes[0].pid, second.processes[0].used_bytes) == (engine.pid, 20 * GIB)
        assert "shown" in second.processes[0].name
        assert "SIMULATED engine" in engine.lines[0]
        await engine.wait_line("Loading weights took")
        cache = await engine.wait_line("GPU KV cache size: 16,384 tokens")
        assert "Maximum concurrency for 4,096 tokens per request: 4.00x" in cache
        assert await engine.stop() == 0
        assert probe.read()[1].processes == ()
        assert names_in(tmp_path) == []


async def test_kill_9_leaves_a_claim_that_nobody_counts(tmp_path: Path) -> None:
    probe = SimulatedGpuProbe(simulated_gpus(1), tmp_path)
    arguments = ("--sim-gpu-state-dir", str(tmp_path), "--sim-gpu-ids", "nvidia-0", "--sim-reserved-bytes", str(GIB))
    async with spawned("m", *arguments) as engine:
        assert probe.read()[0].processes[0].used_bytes == GIB
        assert await engine.stop(signal.SIGKILL) == -signal.SIGKILL
        assert (tmp_path / f"{engine.pid}.json").exists()
        assert probe.read()[0].processes == ()
        assert not (tmp_path / f"{engine.pid}.json").exists()


async def test_utilisation_follows_the_requests(tmp_path: Path) -> None:
    probe = SimulatedGpuProbe(simulated_gpus(1), tmp_path)
    arguments = ("--sim-gpu-state-dir", str(tmp_path), "--sim-gpu-ids", "nvidia-0", "--sim-reserved-bytes", "1")

    async def loaded() -> bool:
        return (probe.read()[0].utilization_percent or 0) > 40

    async def idle() -> bool:
        return probe.read()[0].utilization_percent == 0

    async with engine_and_client(*arguments, "--sim-itl", "0.05") as (_, http):
        assert await idle()
        running = asyncio.create_task(
            http.post("/v1/completions", json={"prompt": "x", "max_tokens": 50, "ignore_eos": True})
        )
        await until(loaded)
        await running
        await until(idle)


@pytest.mark.parametrize("held_gib", [20, 79])
async def test_memory_that_others_hold_makes_the_load_fail(tmp_path: Path, held_gib: int) -> None:
    write_foreign(tmp_path, "notebook", {"nvidia-0": held_gib * GIB})
    arguments = (
        "--sim-gpu-state-dir", str(tmp_path), "--sim-gpu-ids", "nvidia-0", "--sim-gpu-total-bytes", str(80 * GIB),
        "--gpu-memory-utilization", "0.9",
    )  # fmt: skip
    async with spawned("m", *arguments, ready=False) as engine:
        assert await engine.wait_exit() == 1
        (line,) = [line for line in engine.lines if "ValueError" in line]
        assert f"Free memory on device cuda:0 ({80 - held_gib}.00/80.00 GiB) on startup is less than" in line
        assert names_in(tmp_path) == ["foreign-notebook.json"]


async def test_memory_taken_during_the_load_runs_out(tmp_path: Path) -> None:
    arguments = (
        "--sim-gpu-state-dir", str(tmp_path), "--sim-gpu-ids", "nvidia-0", "--sim-gpu-total-bytes", str(80 * GIB),
        "--sim-reserved-bytes", str(70 * GIB), "--sim-load-seconds", "1.5",
    )  # fmt: skip
    async with spawned("m", *arguments, ready=False) as engine:
        await engine.wait_line("1/4")
        write_foreign(tmp_path, "late", {"nvidia-0": 40 * GIB})
        assert await engine.wait_exit() == 1
        assert any("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate" in line for line in engine.lines)


async def test_a_taken_port_is_told_before_the_load() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        async with spawned("m", "--port", port, "--sim-load-seconds", "60", ready=False) as engine:
            assert await engine.wait_exit() == 1
            assert engine.lines[-1] == "OSError: [Errno 98] Address already in use"


async def test_sigterm_during_the_load_and_during_a_stream() -> None:
    async with spawned("m", "--sim-load-seconds", "60", ready=False) as engine:
        await engine.wait_line("Starting to load model")
        assert await engine.stop() == 0
    async with engine_and_client("--sim-itl", "0.05") as (engine, http):
        async with http.stream("POST", "/v1/chat/completions", json={**BODY, "stream": True}) as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            engine.process.send_signal(signal.SIGTERM)
            with pytest.raises(httpx.RemoteProtocolError):
                _ = [line async for line in lines]
        assert await engine.wait_exit() == 0


async def test_shutdown_timeout_lets_a_stream_finish() -> None:
    async with engine_and_client("--sim-itl", "0.01", "--shutdown-timeout", "20") as (engine, http):
        async with http.stream("POST", "/v1/chat/completions", json={**BODY, "stream": True}) as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            engine.process.send_signal(signal.SIGTERM)
            assert [line async for line in lines if line][-1] == "data: [DONE]"
        assert await engine.wait_exit() == 0


async def test_latencies_are_what_was_asked() -> None:
    async with engine_and_client("--sim-ttft", "0.3", "--sim-itl", "0.02") as (_, http):
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with http.stream(
            "POST", "/v1/chat/completions", json={**BODY, "stream": True, "max_tokens": 21}
        ) as answer:
            assert loop.time() - began < 0.25, "the head of a stream does not wait for the first token"
            times = [loop.time() async for line in answer.aiter_lines() if line]
        assert 0.29 <= times[0] - began < 0.8
        assert 0.35 <= times[-1] - times[0] < 1.2
        began = loop.time()
        await http.post("/v1/chat/completions", json={**BODY, "max_tokens": 21})
        assert 0.69 <= loop.time() - began < 1.6


async def test_a_known_prefix_shortens_the_first_token() -> None:
    async with engine_and_client("--sim-prefill-rate", "1000", "--max-model-len", "8192") as (_, http):
        loop, spent = asyncio.get_running_loop(), []
        for _ in range(2):
            began = loop.time()
            await http.post("/v1/completions", json={"prompt": "word " * 800, "max_tokens": 1})
            spent.append(loop.time() - began)
        assert spent[0] >= 0.99
        assert spent[1] < 0.5


async def test_more_than_may_run_waits_its_turn() -> None:
    async with engine_and_client("--max-num-seqs", "2", "--sim-itl", "0.02") as (_, http):
        body = {"prompt": "x", "max_tokens": 30, "ignore_eos": True}
        running = [asyncio.create_task(http.post("/v1/completions", json=body)) for _ in range(5)]

        async def three_wait() -> bool:
            return await state(http) == (2, 3)

        await until(three_wait)
        text = (await http.get("/metrics")).text
        assert 'vllm:num_requests_running{engine="0",model_name="m"} 2.0' in text
        assert 'vllm:num_requests_waiting{engine="0",model_name="m"} 3.0' in text
        answers = await asyncio.gather(*running)
        assert [answer.json()["usage"]["completion_tokens"] for answer in answers] == [30] * 5
        assert await state(http) == (0, 0)


async def test_a_full_kv_cache_lets_requests_wait() -> None:
    arguments = ("--max-model-len", "160", "--sim-kv-cache-tokens", "320", "--sim-itl", "0.01")
    async with engine_and_client(*arguments) as (_, http):
        body = {"prompt": "x" * 40, "max_tokens": 150, "ignore_eos": True}
        running = [asyncio.create_task(http.post("/v1/completions", json=body)) for _ in range(3)]

        async def one_waits() -> bool:
            return await state(http) == (2, 1)

        await until(one_waits)
        assert 'vllm:kv_cache_usage_perc{engine="0",model_name="m"} 1.0' in (await http.get("/metrics")).text
        assert {answer.status_code for answer in await asyncio.gather(*running)} == {200}


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_goes_away_ends_its_request(stream: bool) -> None:
    async with engine_and_client("--max-num-seqs", "8", "--sim-itl", "0.05") as (engine, http):
        body = json.dumps({**BODY, "stream": stream, "max_tokens": 1000, "ignore_eos": True}).encode()
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        port = int(engine.url.rpartition(":")[2])
        clients = [await asyncio.open_connection("127.0.0.1", port) for _ in range(12)]
        for _, writer in clients:
            writer.write(head.encode() + body)

        async def all_in() -> bool:
            return await state(http) == (8, 4)

        async def none_left() -> bool:
            return await state(http) == (0, 0)

        await until(all_in)
        for _, writer in clients:
            writer.close()
            await writer.wait_closed()
        await until(none_left, 2.0)
        text = (await http.get("/metrics")).text
        assert 'vllm:request_success_total{engine="0",model_name="m",finished_reason="abort"} 12.0' in text
        assert 'vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.0' in text


async def test_tokens_counted_are_the_tokens_sent() -> None:
    async with engine_and_client("--sim-itl", "0.002") as (_, http):
        received = 0

        async def read(tokens: int, leave_after: int | None) -> None:
            nonlocal received
            body = {**BODY, "stream": True, "max_tokens": tokens, "ignore_eos": True}
            seen = 0
            async with http.stream("POST", "/v1/chat/completions", json=body) as answer:
                async for line in answer.aiter_lines():
                    if line.startswith("data: {") and '"content":""' not in line:
                        seen += 1
                    if leave_after is not None and seen >= leave_after:
                        break
            if leave_after is None:
                assert seen == tokens
                received += seen

        await asyncio.gather(*(read(50 + number, None) for number in range(20)))

        async def counted() -> float:
            text = (await http.get("/metrics")).text
            (line,) = [line for line in text.splitlines() if line.startswith("vllm:generation_tokens_total")]
            return float(line.split()[-1])

        assert await counted() == received
        await read(1000, leave_after=5)

        async def none_left() -> bool:
            return await state(http) == (0, 0)

        await until(none_left)
        assert received + 5 <= await counted() < received + 500


async def test_a_slow_reader_holds_its_tokens_back() -> None:
    async with engine_and_client("--max-model-len", "200000") as (engine, http):
        body = json.dumps({**BODY, "stream": True, "max_tokens": 150_000, "ignore_eos": True}).encode()
        port = int(engine.url.rpartition(":")[2])
        before = psutil.Process(engine.pid).memory_info().rss
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%b" % (len(body), body)
        )
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        counts: list[float] = []

        async def stands_still() -> bool:
            text = (await http.get("/metrics")).text
            counts.append(float(text.split('vllm:generation_tokens_total{engine="0",model_name="m"} ')[1].split()[0]))
            return len(counts) > 20 and counts[-1] == counts[-20]

        await until(stands_still)
        assert 0 < counts[-1] < 150_000
        # 30 MB of chunks are not made in advance; the token list itself is a few MB.
        assert psutil.Process(engine.pid).memory_info().rss - before < 12 * 2**20
        received = 0
        while b"[DONE]" not in (line := await reader.readline()):
            received += b'"delta"' in line
        assert received == 150_001
        writer.close()
        await writer.wait_closed()


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with engine_and_client("--sim-ttft", "0.02") as (engine, _):
        port = int(engine.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in range(50):
            body = b'{"prompt":"x","max_tokens":%d}' % (number % 7 + 1)
            writer.write(
                b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
                b"content-length: %d\r\n\r\n%b" % (len(body), body)
            )
        for number in range(50):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            answer = json.loads(await reader.readexactly(length))
            assert answer["usage"]["completion_tokens"] == number % 7 + 1
        writer.write(b"nonsense\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 400")
        await reader.read()
        writer.close()
        await writer.wait_closed()


async def test_idle_connections_are_closed_as_uvicorn_does() -> None:
    async with spawned("m", env={"VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "1"}) as engine:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(engine.url.rpartition(":")[2]))
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_it_is_small_and_starts_at_once() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with engine_and_client() as (engine, http):
        started = loop.time() - began
        await http.post("/v1/chat/completions", json=BODY)
        resident = psutil.Process(engine.pid).memory_info().rss
        print(f"start {started:.2f} s, resident {resident / 2**20:.1f} MiB")
        # About 0.3 s and 28 MiB; the bounds leave room for a loaded machine and other builds of Python.
        assert started < 3
        assert resident < 32 * 2**20


async def test_nothing_is_left_open_after_many_requests() -> None:
    async with engine_and_client("--sim-ttft", "0.001") as (engine, http):
        process = psutil.Process(engine.pid)

        async def burst() -> None:
            await asyncio.gather(*(http.post("/v1/completions", json={"prompt": "x"}) for _ in range(100)))

        await burst()
        before, threads = process.num_fds(), process.num_threads()
        for _ in range(5):
            await burst()
        assert process.num_fds() <= before + 2
        assert process.num_threads() == threads
