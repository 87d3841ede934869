"""Real clients through the real gateway to a real vLLM: the SDKs of OpenAI and Anthropic, and vLLM's own load
generator. What the clients count, what the gateway counts and what vLLM counts is the same."""

import asyncio
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path

import anthropic
import httpx
import openai
import pytest
from engine_daemon import ENGINE_ENV, SETTLE_SECONDS, EngineDaemon, daemon, models_section, until
from engines_bed import EnginesInfo, VllmInfo

pytestmark = [pytest.mark.engines, pytest.mark.timeout(900)]

ASKED = "Tell me about the sea."
EXACT = {"ignore_eos": True}
"""Answers are as long as asked for."""
WHOLE, STREAMS, MESSAGES, CANCELLED, BENCHED = 12, 12, 6, 10, 30
TOKENS, LONG = 12, 3000
"""Of answers that are waited for, and of those that are not."""


@dataclass(frozen=True)
class Counts:
    """Requests that ended well, tokens in and out."""

    requests: int
    into: int
    out: int

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.requests + other.requests, self.into + other.into, self.out + other.out)

    def __sub__(self, other: "Counts") -> "Counts":
        return Counts(self.requests - other.requests, self.into - other.into, self.out - other.out)


NONE = Counts(0, 0, 0)


@dataclass(frozen=True)
class Bed:
    daemon: EngineDaemon
    vllm: VllmInfo
    secret: str
    engine_url: str

    def gateway(self) -> Counts:
        """What the gateway counted for requests that ended well."""
        text = self._metrics(f"{self.daemon.url}/metrics", {"Authorization": f"Bearer {self.secret}"})
        good = [line for line in text.splitlines() if 'status="2xx"' in line and 'model="modelgrid-test/tiny"' in line]
        return Counts(
            _total(good, "modelgrid_requests_total"),
            _total(good, "modelgrid_input_tokens_total"),
            _total(good, "modelgrid_output_tokens_total"),
        )

    def engine(self) -> Counts:
        """What vLLM counted."""
        lines = self._engine_lines()
        good = [line for line in lines if 'finished_reason="abort"' not in line]
        return Counts(
            _total(good, "vllm:request_success_total"),
            _total(lines, "vllm:prompt_tokens_total"),
            _total(lines, "vllm:generation_tokens_total"),
        )

    def received(self) -> int:
        """Requests for answers that vLLM's server has dealt with: also those whose client went away."""
        handlers = [line for line in self._engine_lines() if 'handler="/v1/' in line]
        return _total(handlers, "http_requests_total")

    def aborted(self) -> int:
        """What vLLM itself calls aborted."""
        return _total([line for line in self._engine_lines() if '"abort"' in line], "vllm:request_success_total")

    def busy(self) -> int:
        """Requests that vLLM works on."""
        lines = self._engine_lines()
        return _total(lines, "vllm:num_requests_running") + _total(lines, "vllm:num_requests_waiting")

    def cancelled(self) -> int:
        """What the gateway counted of clients that went away."""
        text = self._metrics(f"{self.daemon.url}/metrics", {"Authorization": f"Bearer {self.secret}"})
        return _total([line for line in text.splitlines() if '"cancelled"' in line], "modelgrid_requests_total")

    def _engine_lines(self) -> list[str]:
        return self._metrics(f"{self.engine_url}/metrics", {}).splitlines()

    @staticmethod
    def _metrics(url: str, headers: dict[str, str]) -> str:
        answer = httpx.get(url, headers=headers, trust_env=False, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.text


def _total(lines: list[str], name: str) -> int:
    found = [line for line in lines if re.match(rf"{re.escape(name)}(\{{| )", line)]
    return round(sum(float(line.rsplit(" ", 1)[1]) for line in found))


@pytest.fixture(scope="module")
def bed(vllm_bed: EnginesInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    vllm = vllm_bed.vllm
    assert vllm is not None
    document = {
        "docker": {"runtime": "process", "vllmPath": str(vllm.executable)},
        "models": models_section(vllm.catalog),
    }
    with daemon(tmp_path_factory.mktemp("clients"), document) as made:
        done = made.cli("run", "tiny", "--gpus", "0", "--context", "4096", "--wait", *ENGINE_ENV)
        assert done.returncode == 0, f"{done.stderr}\n{made.log_tail()}"
        secret = made.ask("config", "apikey", "generate", "--label", "clients")["secret"]
        yield Bed(made, vllm, secret, made.deployment_of("modelgrid-test/tiny")["engine_url"])


def _openai(bed: Bed) -> openai.AsyncOpenAI:
    http = openai.DefaultAsyncHttpxClient(trust_env=False)
    return openai.AsyncOpenAI(
        base_url=f"{bed.daemon.url}/v1", api_key=bed.secret, max_retries=0, timeout=120, http_client=http
    )


async def _whole(client: openai.AsyncOpenAI) -> Counts:
    answer = await client.chat.completions.create(
        model="tiny", max_tokens=TOKENS, messages=[{"role": "user", "content": ASKED}], extra_body=EXACT
    )
    assert answer.usage is not None
    return Counts(1, answer.usage.prompt_tokens, answer.usage.completion_tokens)


async def _streamed(client: openai.AsyncOpenAI) -> Counts:
    stream = await client.chat.completions.create(
        model="tiny", max_tokens=TOKENS, messages=[{"role": "user", "content": ASKED}], extra_body=EXACT,
        stream=True, stream_options={"include_usage": True},
    )  # fmt: skip
    usage = [chunk.usage async for chunk in stream if chunk.usage is not None]
    return Counts(1, usage[-1].prompt_tokens, usage[-1].completion_tokens)


async def _message(client: anthropic.AsyncAnthropic, *, stream: bool) -> Counts:
    asked = {"model": "tiny", "max_tokens": TOKENS, "messages": [{"role": "user", "content": ASKED}]}
    if not stream:
        answer = await client.messages.create(**asked)
    else:
        async with client.messages.stream(**asked) as events:
            answer = await events.get_final_message()
    return Counts(1, answer.usage.input_tokens, answer.usage.output_tokens)


async def _sdks(bed: Bed) -> Counts:
    http = anthropic.DefaultAsyncHttpxClient(trust_env=False)
    async with (
        _openai(bed) as client,
        anthropic.AsyncAnthropic(
            base_url=bed.daemon.url, api_key=bed.secret, max_retries=0, timeout=120, http_client=http
        ) as claude,
    ):
        found = await asyncio.gather(
            *(_whole(client) for _ in range(WHOLE)),
            *(_streamed(client) for _ in range(STREAMS)),
            *(_message(claude, stream=bool(number % 2)) for number in range(MESSAGES)),
        )
    return sum(found, NONE)


def test_the_counts_of_sdks_gateway_and_engine_agree(bed: Bed) -> None:
    gateway, engine = bed.gateway(), bed.engine()
    clients = asyncio.run(_sdks(bed))
    assert clients.requests == WHOLE + STREAMS + MESSAGES
    until(lambda: bed.engine() - engine == clients, lambda: f"{bed.engine() - engine} is {clients}", 10)
    assert bed.gateway() - gateway == clients
    print(f"clients, gateway and vLLM: {clients}")


async def _cancel(bed: Bed) -> None:
    """Hang up in a stream that has only begun."""
    async with _openai(bed) as client:
        stream = await client.chat.completions.create(
            model="tiny", max_tokens=LONG, messages=[{"role": "user", "content": ASKED}], extra_body=EXACT, stream=True
        )
        await anext(aiter(stream))
        await stream.close()


def _idle_after_each(bed: Bed, cancel: Callable[[Bed], Coroutine[None, None, None]]) -> float:
    """Cancel requests until enough of them were; return the seconds after which vLLM was idle, at worst.

    On a machine that does much else an answer may be whole before the client has hung up: each request is counted
    once, as cancelled or as one that ended well. Of those that it was told to abort, vLLM 0.32 counts none as such: it
    forgets them before it counts (`OutputProcessor.abort_requests`). They are those that it received and did not
    finish."""
    cancelled, gateway = bed.cancelled(), bed.gateway().requests
    received, finished, aborted = bed.received(), bed.engine().requests, bed.aborted()
    slowest, asked = 0.0, 0
    while bed.cancelled() - cancelled < CANCELLED:
        assert asked < 3 * CANCELLED, f"only {bed.cancelled() - cancelled} of {asked} were cancelled"
        asyncio.run(cancel(bed))
        asked += 1
        began = time.monotonic()
        until(lambda: bed.busy() == 0, "vLLM is idle")
        slowest = max(slowest, time.monotonic() - began)
        until(
            lambda number=asked: bed.cancelled() - cancelled + bed.gateway().requests - gateway == number,
            lambda number=asked: (
                f"{bed.cancelled() - cancelled} cancelled and {bed.gateway().requests - gateway} whole are {number}"
            ),
        )
    assert bed.cancelled() - cancelled == CANCELLED
    until(lambda: bed.received() - received == asked, lambda: f"{bed.received() - received} received are {asked}")
    assert (bed.received() - received) - (bed.engine().requests - finished) == CANCELLED
    assert bed.aborted() - aborted in {0, CANCELLED}, "none as of 0.32, all where it counts them"
    return slowest


def test_cancelled_requests_are_aborted_and_counted(bed: Bed) -> None:
    slowest = _idle_after_each(bed, _cancel)
    print(f"R19: {CANCELLED} cancelled; vLLM idle {slowest:.2f} s after")


async def _cancel_before_the_first_byte(bed: Bed) -> None:
    """Hang up while the engine works on an answer that it sends whole, so that nothing of it has come."""
    async with _openai(bed) as client:
        asking = asyncio.create_task(
            client.chat.completions.create(
                model="tiny", max_tokens=LONG, messages=[{"role": "user", "content": ASKED}], extra_body=EXACT
            )
        )
        await asyncio.to_thread(until, lambda: asking.done() or bed.busy() == 1, "vLLM works on it")
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


def test_requests_cancelled_before_the_first_byte_are_aborted_and_counted(bed: Bed) -> None:
    slowest = _idle_after_each(bed, _cancel_before_the_first_byte)
    print(f"R19: {CANCELLED} cancelled before the first byte; vLLM idle {slowest:.2f} s after")


async def _mixed(bed: Bed) -> Counts:
    """Answers that are waited for, and among them streams that are hung up on and answers that nobody waits for.
    Return what those who waited counted."""

    async def give_up(http: httpx.AsyncClient, number: int) -> None:
        sent = asyncio.Event()

        async def trace(event: str, _: dict[str, object]) -> None:
            if event == "http11.send_request_body.complete":
                sent.set()

        asked = {"model": "tiny", "max_tokens": LONG, "messages": [{"role": "user", "content": ASKED}]} | EXACT
        asking = asyncio.create_task(
            http.post("/v1/chat/completions", json=asked, extensions={"trace": trace}, timeout=120)
        )
        await sent.wait()
        await asyncio.sleep(0.2 + 0.05 * number)  # while it waits, is read, or is written
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    headers = {"Authorization": f"Bearer {bed.secret}"}
    async with (
        _openai(bed) as client,
        httpx.AsyncClient(base_url=bed.daemon.url, headers=headers, trust_env=False) as http,
    ):
        async with asyncio.TaskGroup() as load:
            waited_for = []
            for number in range(CANCELLED):
                waited_for += [load.create_task(_whole(client)), load.create_task(_streamed(client))]
                load.create_task(_cancel(bed))
                load.create_task(give_up(http, number))
        return sum((task.result() for task in waited_for), NONE)


def test_the_counts_agree_while_some_clients_hang_up(bed: Bed) -> None:
    gateway, engine, cancelled, received = bed.gateway(), bed.engine(), bed.cancelled(), bed.received()
    clients = asyncio.run(_mixed(bed))
    assert clients.requests == 2 * CANCELLED
    until(lambda: bed.busy() == 0, "vLLM is idle")
    until(
        lambda: bed.received() - received == 4 * CANCELLED,
        lambda: f"{bed.received() - received} received are {4 * CANCELLED}",
    )
    counted, worked, gone = bed.gateway() - gateway, bed.engine() - engine, bed.cancelled() - cancelled
    print(f"mixed: clients {clients} and {2 * CANCELLED} hung up; gateway {counted}, {gone} cancelled; vLLM {worked}")
    late = counted.requests - clients.requests  # answers that were whole before their client had hung up
    assert counted == clients + Counts(late, late * clients.into // clients.requests, late * LONG)
    assert gone == 2 * CANCELLED - late
    assert worked.requests == counted.requests, "what vLLM finished ended well, and the others it did not finish"
    assert gone > 0
    assert counted.into <= worked.into <= 2 * clients.into, "a prompt is read once, or not at all where nobody waits"
    assert counted.out <= worked.out < counted.out + gone * LONG, "it stopped work on what nobody waited for"


def test_vllm_bench_serve(bed: Bed, tmp_path: Path) -> None:
    gateway, engine = bed.gateway(), bed.engine()
    done = subprocess.run(
        [
            bed.vllm.executable, "bench", "serve", "--backend", "openai-chat", "--endpoint", "/v1/chat/completions",
            "--base-url", bed.daemon.url, "--model", "tiny", "--tokenizer", bed.vllm.model,
            "--dataset-name", "random", "--random-input-len", "40", "--random-output-len", "16", "--ignore-eos",
            "--num-prompts", str(BENCHED), "--max-concurrency", "8", "--ready-check-timeout-sec", "0",
            "--save-result", "--result-dir", tmp_path, "--result-filename", "result.json",
        ],
        check=False, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL,
        env={**os.environ, **bed.vllm.env, "OPENAI_API_KEY": bed.secret, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["completed"] == BENCHED
    until(lambda: (bed.engine() - engine).requests >= BENCHED, "vLLM counted them", SETTLE_SECONDS)
    counted = bed.gateway() - gateway
    print(f"vllm bench serve: {result['completed']} completed; gateway {counted}; vLLM {bed.engine() - engine}")
    assert bed.engine() - engine == counted
    assert counted.requests == BENCHED
    assert result["total_output_tokens"] == counted.out
