"""A real vLLM as a process, deployed, used, killed and removed through the real daemon and the real command line.

One deployment serves all tests of this module; each begins by waiting until it runs."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import httpx
import openai
import psutil
import pytest
from engine_daemon import (
    ASKED,
    ENGINE_ENV,
    EngineDaemon,
    all_gone,
    architecture,
    catalog,
    chat,
    daemon,
    family,
    hear,
    is_running,
    kinds,
    models_section,
    stream,
    until,
)
from engines_bed import EnginesInfo

pytestmark = [pytest.mark.engines, pytest.mark.timeout(900)]

LONG = 2_097_152
"""Tokens of context that need 2 GiB of this model's KV cache."""


@dataclass(frozen=True)
class Fleet:
    """A daemon with the tiny model deployed on it."""

    daemon: EngineDaemon
    run: CompletedProcess[str]
    """What `modelgrid run --wait` printed."""
    sdk: openai.OpenAI
    id: str

    def running(self) -> dict[str, Any]:
        return self.daemon.running(self.id)


@pytest.fixture(scope="module")
def fleet(vllm_bed: EnginesInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    vllm = vllm_bed.vllm
    assert vllm is not None
    folder = tmp_path_factory.mktemp("process")
    # Half of its layers are kept from the estimate, as by a catalog with a mistake: half the cache it needs is made.
    too_long = {
        "id": "modelgrid-test/long",
        "aliases": ["long"],
        "context": LONG,
        "vllm_args": [
            *("--enforce-eager", "--dtype", "float32", "--max-num-batched-tokens", "512"),
            *("--hf-overrides", f'{{"max_position_embeddings": {LONG}}}'),
        ],
        "architecture": architecture(vllm, layers=1),
    }
    absent = {"id": "modelgrid-test/absent", "aliases": ["absent"], "repository": str(folder / "no-such-model")}
    document = {
        "docker": {"runtime": "process", "vllmPath": str(vllm.executable)},
        "models": models_section(catalog(folder / "catalog.json", vllm, too_long, absent)),
    }
    with daemon(folder, document) as made:
        done = made.cli("run", "tiny", "--gpus", "0", "--context", "4096", "--wait", *ENGINE_ENV)
        assert done.returncode == 0, f"{done.stderr}\n{made.log_tail()}"
        yield Fleet(made, done, made.openai(), made.deployment_of("modelgrid-test/tiny")["id"])


def test_run_waits_until_a_real_vllm_runs(fleet: Fleet) -> None:
    item = fleet.running()
    assert "running" in fleet.run.stderr
    assert (item["runtime"], item["simulated"], item["gpus"], item["attempt"]) == ("process", False, [], 1)
    assert "on the CPU" in item["decision"]["summary"]
    (listed,) = fleet.daemon.ask("ps")["items"]
    assert (listed["id"], listed["state"]) == (fleet.id, "running")
    engine = psutil.Process(_pid(item))
    assert "vllm" in " ".join(engine.cmdline())
    listening = {c.laddr for p in family(engine.pid) for c in p.net_connections("tcp") if c.status == "LISTEN"}
    assert ("127.0.0.1", item["port"]) in listening
    assert {address.ip for address in listening} == {"127.0.0.1"}


def test_logs_and_events_tell_the_real_steps(fleet: Fleet) -> None:
    fleet.running()
    events = fleet.daemon.ask("container", "events", fleet.id)["items"]
    assert kinds(events)[:6] == ["created", "scheduled", "pulling", "pulled", "started", "ready"]
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)
    log = fleet.daemon.cli("logs", fleet.id, "--tail", "500")
    assert log.returncode == 0
    for words in ("Initializing a V1 LLM engine", "Loading weights took", "KV cache size", "startup complete"):
        assert words in log.stdout, log.stdout
    found = fleet.daemon.cli("logs", fleet.id, "--tail", "500", "--grep", "startup complete")
    assert [line for line in found.stdout.splitlines() if "startup complete" not in line] == []


def test_the_openai_sdk_chats(fleet: Fleet) -> None:
    fleet.running()
    answer = chat(fleet.sdk, tokens=16)
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].message.content
    assert answer.usage is not None
    prompt = _prompt_tokens(fleet)
    counted = (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens)
    assert counted == (prompt, 16, prompt + 16)
    names = {model.id for model in fleet.sdk.models.list()}
    assert {"modelgrid-test/tiny", "tiny"} & names == names
    with pytest.raises(openai.AuthenticationError):
        chat(fleet.daemon.openai(key="mg-none"))


def test_the_openai_sdk_streams_the_same(fleet: Fleet) -> None:
    fleet.running()
    whole = chat(fleet.sdk, tokens=48)
    heard = hear(stream(fleet.sdk, tokens=48))
    assert heard.text == whole.choices[0].message.content
    assert heard.finish == "length"
    assert heard.usage is not None
    assert whole.usage is not None
    assert heard.usage.completion_tokens == 48
    assert heard.usage.prompt_tokens == whole.usage.prompt_tokens
    assert heard.chunks > 10, "it did not arrive in pieces"


def test_a_stream_outlives_the_kill_of_control(fleet: Fleet) -> None:
    before = fleet.running()
    chunks = stream(fleet.sdk, tokens=3000)
    begun = list(islice(chunks, 5))
    killed = fleet.daemon.kill_control()
    rest = hear(chunks)
    assert rest.finish == "length"
    assert rest.usage is not None
    assert rest.usage.completion_tokens == 3000
    assert rest.chunks > 100 * len(begun)
    fleet.daemon.wait_for_control(killed)
    after = fleet.running()
    assert _identity(after) == _identity(before)
    assert kinds(fleet.daemon.events(fleet.id)).count("started") == before["attempt"]


def test_a_restarted_daemon_adopts_the_engine(fleet: Fleet) -> None:
    before = fleet.running()
    events = len(fleet.daemon.events(fleet.id))
    assert fleet.daemon.stop() == 0
    assert psutil.pid_exists(_pid(before))
    fleet.daemon.start()
    began = time.monotonic()
    assert chat(fleet.sdk).usage is not None
    took = time.monotonic() - began
    after = fleet.running()
    assert _identity(after) == _identity(before)
    assert len(fleet.daemon.events(fleet.id)) == events, "nothing happened to it"
    assert took < 5, f"{took:.1f} s until it answered"
    assert "startup complete" in fleet.daemon.cli("logs", fleet.id, "--tail", "500").stdout


def test_another_daemon_attaches_it_by_url(fleet: Fleet, tmp_path: Path) -> None:
    item = fleet.running()
    document = {
        "docker": {"runtime": "process", "vllmPath": "true"},
        "models": fleet.daemon.document["models"],
        "containers": [{"name": "attached", "model": "modelgrid-test/tiny", "url": item["engine_url"]}],
    }
    with daemon(tmp_path, document) as other:
        attached = until(lambda: other.deployment_of("modelgrid-test/tiny"), "the deployment")
        attached = other.running(attached["id"])
        assert (attached["runtime"], attached["origin"], attached["engine_url"]) == (
            "external",
            "config",
            item["engine_url"],
        )
        answer = chat(other.openai(), tokens=8)
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 8
        assert other.cli("container", "stop", attached["id"]).returncode == 0
        other.wait_for(attached["id"], lambda d: d["state"] == "stopped", "let go of")
        assert chat(fleet.sdk).usage is not None, "the engine belongs to somebody else and runs on"
        assert other.cli("container", "start", attached["id"]).returncode == 0
        other.running(attached["id"])
    assert _identity(fleet.running()) == _identity(item)


def test_a_killed_engine_comes_back(fleet: Fleet) -> None:
    before = fleet.running()
    os.kill(_pid(before), signal.SIGKILL)
    seen = fleet.daemon.wait_for(fleet.id, lambda d: d["state"] != "running", "its end is seen", 15)
    assert seen["attempt"] == before["attempt"]
    after = fleet.daemon.wait_for(
        fleet.id, lambda d: is_running(d) and d["attempt"] == before["attempt"] + 1, "it is back"
    )
    assert after["engine_id"] != before["engine_id"]
    events = fleet.daemon.events(fleet.id)
    ended = next(event for event in reversed(events) if event["kind"] == "exited")
    assert "signal 9" in ended["message"]
    told = kinds(events)[events.index(ended) :]
    assert told == ["exited", "diagnosed", "restarting", "pulling", "pulled", "started", "ready"]
    (failure,) = after["failures"]
    assert (failure["diagnosis"]["code"], failure["exit"]["signal"]) == ("killed", 9)
    assert chat(fleet.sdk).choices[0].finish_reason == "length"


def test_a_context_beyond_the_kv_cache_is_diagnosed(fleet: Fleet) -> None:
    fleet.running()
    done = fleet.daemon.cli(
        *("run", "long", "--gpus", "0", "--context", str(LONG), "--concurrency", "1", "--wait"), *ENGINE_ENV
    )
    assert done.returncode == 1, done.stderr
    item = fleet.daemon.deployment_of("modelgrid-test/long")
    assert item["state"] == "failed", "as it is, no try can succeed"
    (failure,) = item["failures"]
    diagnosis = failure["diagnosis"]
    assert diagnosis["code"] == "kv_cache_too_small", fleet.daemon.story(item["id"])
    assert "1.0 GiB" in diagnosis["evidence"] or "1.00 GiB" in diagnosis["evidence"], diagnosis
    largest = int("".join(filter(str.isdigit, diagnosis["remedy"].partition("at most ")[2].partition(" tokens")[0])))
    assert LONG // 4 < largest < LONG, diagnosis
    assert diagnosis["cause"] in done.stderr
    assert kinds(fleet.daemon.events(item["id"]))[-3:] == ["exited", "diagnosed", "gave_up"]
    shown = fleet.daemon.cli("container", "show", item["id"]).stdout
    assert str(largest) in shown
    fleet.daemon.remove(item["id"])


def test_a_missing_model_folder_is_diagnosed(fleet: Fleet) -> None:
    fleet.running()
    done = fleet.daemon.cli("run", "absent", "--gpus", "0", "--wait", *ENGINE_ENV)
    assert done.returncode == 1, done.stderr
    item = fleet.daemon.deployment_of("modelgrid-test/absent")
    assert item["state"] == "failed"
    (failure,) = item["failures"]
    assert failure["diagnosis"]["code"] == "model_path_missing", fleet.daemon.story(item["id"])
    assert "no-such-model" in failure["diagnosis"]["remedy"]
    fleet.daemon.remove(item["id"])


def test_a_removed_deployment_leaves_nothing(fleet: Fleet) -> None:
    item = fleet.running()
    processes = family(_pid(item))
    assert len(processes) > 1, "vLLM runs its core in a process of its own"
    fleet.daemon.remove(fleet.id)
    assert all_gone(processes)
    assert fleet.daemon.ask("ps")["items"] == []
    assert [path.name for path in (fleet.daemon.state / "engines").iterdir()] == []
    with pytest.raises(openai.NotFoundError):
        chat(fleet.sdk)
    record = fleet.daemon.ask("container", "history", fleet.id)
    assert "startup complete" in "\n".join(line["text"] for line in record["last_lines"])
    assert kinds(fleet.daemon.ask("container", "events", fleet.id)["items"])[-1] == "removed"


def _pid(item: dict[str, Any]) -> int:
    return int(item["engine_id"].partition(":")[0])


def _identity(item: dict[str, Any]) -> tuple[Any, ...]:
    """What changes when an engine is started anew."""
    return (item["engine_id"], item["attempt"], item["port"], item["started_at"], item["ready_at"])


def _prompt_tokens(fleet: Fleet) -> int:
    """Count the prompt with the engine's own tokenizer."""
    answer = httpx.post(
        f"{fleet.daemon.url}/tokenize",
        json={"model": "tiny", "messages": [{"role": "user", "content": ASKED}]},
        headers={"Authorization": f"Bearer {fleet.sdk.api_key}"},
        trust_env=False,
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    count: int = answer.json()["count"]
    return count
