"""A real vLLM in a container of Podman, through its Docker-compatible socket: used, adopted, killed, removed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import openai
import pytest
from engine_containers import Containers
from engine_daemon import (
    ENGINE_ENV,
    EngineDaemon,
    catalog,
    chat,
    daemon,
    hear,
    kinds,
    models_section,
    stream,
    until,
)
from engines_bed import EnginesInfo

from modelgrid.domain.target import RuntimeKind

pytestmark = [pytest.mark.engines, pytest.mark.timeout(900)]

NETWORK = "modelgrid-test-podman"


@dataclass(frozen=True)
class Fleet:
    daemon: EngineDaemon
    podman: Containers
    sdk: openai.OpenAI
    id: str

    def running(self) -> dict[str, Any]:
        return self.daemon.running(self.id)

    def container(self) -> dict[str, Any]:
        (found,) = self.podman.containers(self.daemon.owner())
        return found


@pytest.fixture(scope="module")
def fleet(
    podman_bed: EnginesInfo, vllm_container_bed: EnginesInfo, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    vllm, socket = vllm_container_bed.vllm, podman_bed.podman_socket
    assert vllm is not None
    assert socket is not None
    folder = tmp_path_factory.mktemp("podman")
    document = {
        "docker": {
            "runtime": "podman",
            "socketPath": str(socket),
            "image": {"cpu": vllm_container_bed.vllm_image},
            "networkName": NETWORK,
            "shmGib": 1.0,
            "allowedMounts": [str(path) for path in (*vllm.mounts, vllm.model.parent)],
        },
        "models": models_section(catalog(folder / "catalog.json", vllm)),
    }
    mounts = [word for path in vllm.mounts for word in ("--mount", f"{path}:{path}")]
    podman = Containers(socket)
    try:
        with daemon(folder, document, (RuntimeKind.PODMAN, socket)) as made:
            done = made.cli("run", "tiny", "--gpus", "0", "--wait", *mounts, *ENGINE_ENV)
            assert done.returncode == 0, f"{done.stderr}\n{made.log_tail()}"
            yield Fleet(made, podman, made.openai(), made.deployment_of("modelgrid-test/tiny")["id"])
    finally:
        podman.remove(f"networks/{NETWORK}")
        podman.http.close()


def test_podman_runs_a_confined_container(fleet: Fleet) -> None:
    item, there = fleet.running(), fleet.container()
    assert (item["runtime"], item["engine_id"], item["attempt"]) == ("podman", there["Id"], 1)
    assert there["HostConfig"]["Privileged"] is False
    bound = [binding for bindings in there["HostConfig"]["PortBindings"].values() for binding in bindings]
    assert bound == [{"HostIp": "127.0.0.1", "HostPort": str(item["port"])}]
    assert there["HostConfig"]["ShmSize"] == 1024**3
    assert [mount["Destination"] for mount in there["Mounts"] if mount["RW"]] == ["/modelgrid/cache"]
    told = kinds(fleet.daemon.events(fleet.id))
    assert told == ["created", "scheduled", "pulling", "pulled", "started", "ready"]


def test_podman_streams(fleet: Fleet) -> None:
    fleet.running()
    heard = hear(stream(fleet.sdk, tokens=48))
    assert heard.finish == "length"
    assert heard.usage is not None
    assert heard.usage.completion_tokens == 48
    assert "startup complete" in fleet.daemon.cli("logs", fleet.id, "--tail", "500").stdout


def test_podman_keeps_the_container_over_a_restart_of_the_daemon(fleet: Fleet) -> None:
    before, events = fleet.running(), len(fleet.daemon.events(fleet.id))
    assert fleet.daemon.stop() == 0
    fleet.daemon.start()
    assert chat(fleet.sdk).usage is not None
    after = fleet.running()
    assert (after["engine_id"], after["attempt"], after["ready_at"]) == (
        before["engine_id"],
        before["attempt"],
        before["ready_at"],
    )
    assert kinds(fleet.daemon.events(fleet.id)[events:]) == []


def test_podman_kill_is_seen_and_a_new_one_started(fleet: Fleet) -> None:
    before = fleet.running()
    fleet.podman.kill(before["engine_id"])
    after = fleet.daemon.wait_for(
        fleet.id, lambda d: d["state"] == "starting" and d["attempt"] == before["attempt"] + 1, "a new one loads"
    )
    assert after["failures"][-1]["diagnosis"]["code"] == "killed"

    def one_other_runs() -> bool:
        there = fleet.podman.containers(fleet.daemon.owner())
        return [item["State"]["Running"] for item in there] == [True] and there[0]["Id"] != before["engine_id"]

    until(one_other_runs, "the killed one is cleared away and another runs")


def test_podman_keeps_nothing_of_a_deployment_that_is_removed_while_it_loads(fleet: Fleet) -> None:
    owner = fleet.daemon.owner()
    (container,) = fleet.podman.containers(owner)
    assert container["State"]["Running"]
    fleet.daemon.remove(fleet.id)
    assert fleet.podman.containers(owner) == []
