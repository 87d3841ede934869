"""A real vLLM in a container of a real Docker Engine, through the real daemon: pulled with its layers from a registry,
used, killed, adopted, and kept serving while the engine hangs or is stopped.

The daemon reaches Docker, and Docker reaches the registry, through relays that the tests can stop. One deployment
serves all tests but the first; each begins by waiting until it runs."""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import openai
import pytest
from engine_containers import Containers
from engine_daemon import (
    ENGINE_ENV,
    SETTLE_SECONDS,
    EngineDaemon,
    catalog,
    chat,
    daemon,
    hear,
    is_running,
    kinds,
    models_section,
    stream,
    until,
)
from engine_relay import Relay, relay
from engines_bed import EnginesInfo
from testbed import image
from tests.ports import free_port

from modelgrid.domain.target import RuntimeKind

pytestmark = [pytest.mark.engines, pytest.mark.timeout(900)]

LAYERS = (6_000_000, 4_000_000)
HALF = 4_000_000
"""Bytes of the pull that get through before the line falls silent."""
REPOSITORY = f"modelgrid-test/vllm-{os.getpid()}"
NETWORK = f"modelgrid-test-{os.getpid()}"
NOTICED_SECONDS = 60
"""An engine that says nothing is asked for a sign of life after 15 s, which then has 10 s to come."""


@dataclass(frozen=True)
class Stage:
    """A daemon, what it stands on, and the image that its engines run."""

    daemon: EngineDaemon
    docker: Containers
    docker_relay: Relay
    registry_relay: Relay
    image: str


@pytest.fixture(scope="module")
def stage(
    container_bed: EnginesInfo, vllm_bed: EnginesInfo, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    vllm, docker_socket = vllm_bed.vllm, container_bed.docker_socket
    assert vllm is not None
    assert docker_socket is not None
    assert container_bed.registry is not None
    assert container_bed.python_image is not None
    folder = tmp_path_factory.mktemp("docker")
    host, _, port = container_bed.registry.partition(":")
    door = free_port()
    name = image.make_unpulled(REPOSITORY, LAYERS).replace(container_bed.registry, f"127.0.0.1:{door}")
    docker = Containers(docker_socket)
    docker.pull(container_bed.python_image)  # what it has in common with ours is there then, and not transferred
    others = [{"id": f"modelgrid-test/{alias}", "aliases": [alias]} for alias in ("no-image", "no-registry")]
    document = {
        "docker": {
            "runtime": "docker",
            "socketPath": str(folder / "docker.sock"),
            "image": {"cpu": name},
            "imageCommands": {REPOSITORY: [str(vllm.executable), "serve"]},
            "networkName": NETWORK,
            "shmGib": 1.0,
            "allowedMounts": [str(path) for path in (*vllm.mounts, vllm.model.parent)],
        },
        "models": models_section(catalog(folder / "catalog.json", vllm, *others)),
    }
    with contextlib.ExitStack() as stack:
        stack.callback(docker.http.close)
        stack.callback(docker.remove, f"networks/{NETWORK}")
        stack.callback(docker.remove, f"images/{name}")
        docker_relay = stack.enter_context(relay(folder / "docker.sock", docker_socket))
        registry_relay = stack.enter_context(relay(("127.0.0.1", door), (host, int(port))))
        made = stack.enter_context(daemon(folder, document, (RuntimeKind.DOCKER, docker_socket)))
        yield Stage(made, docker, docker_relay, registry_relay, name)


@dataclass(frozen=True)
class Fleet:
    """The tiny model, deployed on the stage."""

    stage: Stage
    id: str
    sdk: openai.OpenAI
    pulls: tuple[dict[str, Any], ...]
    """The progress of its pull, as it was told over time."""
    first_exit: int
    """The exit status of the daemon that was ended in the middle of it."""
    left: tuple[Any, ...]
    """What that one left behind: its containers, and whether the image is there."""

    @property
    def daemon(self) -> EngineDaemon:
        return self.stage.daemon

    def running(self) -> dict[str, Any]:
        return self.daemon.running(self.id)

    def container(self) -> dict[str, Any]:
        (found,) = self.stage.docker.containers(self.daemon.owner())
        return found


@pytest.fixture(scope="module")
def fleet(stage: Stage, vllm_bed: EnginesInfo) -> Fleet:
    """Deploy while the line to the registry falls silent; end the daemon there, and start it again."""
    assert vllm_bed.vllm is not None
    made, mounts = stage.daemon, [word for path in vllm_bed.vllm.mounts for word in ("--mount", f"{path}:{path}")]
    stage.registry_relay.allow(HALF)
    done = made.cli("run", "tiny", "--gpus", "0", "--context", "4096", "--detach", *mounts, *ENGINE_ENV)
    assert done.returncode == 0, done.stderr
    name = until(lambda: _ids(made), "a deployment")[0]
    pulls: list[dict[str, Any]] = []

    def half_way() -> bool:
        item = made.deployment(name)
        if item["pull"] and item["pull"] not in pulls:
            pulls.append(item["pull"])
        return item["state"] == "pulling" and stage.registry_relay.passed >= HALF

    until(half_way, lambda: f"half of the image\n{made.story(name)}")
    until(lambda: half_way() and len(_begun(pulls[-1])) >= 2, lambda: f"two layers on their way: {pulls[-1:]}")
    first_exit = made.stop()
    until(lambda: stage.docker_relay.connections == 0, "the daemon has let go of Docker")
    # Docker notices at the next bytes that nobody wants them any more; would it not, it had the image soon.
    stage.registry_relay.release()
    until(lambda: stage.registry_relay.connections == 0, "the pull has ended")
    left = (stage.docker.containers(made.owner()), stage.docker.has_image(stage.image))
    made.start()
    made.running(name)
    return Fleet(stage, name, made.openai(), tuple(pulls), first_exit, left)


def test_a_pull_shows_its_layers(fleet: Fleet) -> None:
    last = fleet.pulls[-1]
    assert last["image"] == fleet.stage.image
    sizes = sorted(layer["total_bytes"] for layer in _begun(last))
    assert [round(size, -6) for size in sizes] == sorted(LAYERS), last
    assert all(0 < layer["done_bytes"] < layer["total_bytes"] for layer in _begun(last)), last
    done = [sum(layer["done_bytes"] for layer in pull["layers"]) for pull in fleet.pulls]
    assert done == sorted(done)


def test_sigterm_during_the_pull_leaves_nothing_and_it_goes_on_later(fleet: Fleet) -> None:
    assert fleet.first_exit == 0
    assert fleet.left == ([], False)
    item = fleet.running()
    assert item["attempt"] == 1, "an interrupted pull is no failed attempt"
    assert item["failures"] == []
    told = kinds(fleet.daemon.events(fleet.id))
    assert told == ["created", "scheduled", "pulling", "pulled", "started", "ready"]


def test_the_container_is_confined(fleet: Fleet) -> None:
    item, there = fleet.running(), fleet.container()
    host = there["HostConfig"]
    assert item["runtime"] == "docker"
    assert item["engine_id"] == there["Id"]
    assert there["Config"]["Labels"]["modelgrid.deployment"] == fleet.id
    assert there["Config"]["Image"] == fleet.stage.image
    assert host["Privileged"] is False
    bound = [binding for bindings in host["PortBindings"].values() for binding in bindings]
    assert bound == [{"HostIp": "127.0.0.1", "HostPort": str(item["port"])}]
    published = [binding for bindings in there["NetworkSettings"]["Ports"].values() for binding in bindings or ()]
    assert {binding["HostIp"] for binding in published} == {"127.0.0.1"}
    assert host["NetworkMode"] == NETWORK
    assert (host["PidMode"], host["IpcMode"], host["UTSMode"]) == ("", "private", "")
    assert host["CapDrop"] == ["ALL"]
    assert host["ShmSize"] == 1024**3
    writable = [mount["Destination"] for mount in there["Mounts"] if mount["RW"]]
    assert writable == ["/modelgrid/cache"]
    assert "/var/run/docker.sock" not in json.dumps(there["Mounts"])


def test_the_openai_sdk_streams(fleet: Fleet) -> None:
    fleet.running()
    whole = chat(fleet.sdk, tokens=48)
    heard = hear(stream(fleet.sdk, tokens=48))
    assert heard.text == whole.choices[0].message.content
    assert heard.usage is not None
    assert heard.usage.completion_tokens == 48
    log = fleet.daemon.cli("logs", fleet.id, "--tail", "500").stdout
    assert "startup complete" in log


def test_an_absent_image_is_diagnosed(fleet: Fleet) -> None:
    fleet.running()
    done = fleet.daemon.cli("run", "no-image", "--gpus", "0", "--image", _image(fleet, "no-image"), "--wait")
    assert done.returncode == 1, done.stderr
    item = fleet.daemon.deployment_of("modelgrid-test/no-image")
    assert item["state"] == "failed"
    assert item["failures"][0]["diagnosis"]["code"] == "image_not_found", item["failures"]
    assert item["failures"][0]["diagnosis"]["cause"] in done.stderr
    fleet.daemon.remove(item["id"])


def test_a_registry_that_is_down_is_tried_again(fleet: Fleet) -> None:
    fleet.running()
    done = fleet.daemon.cli("run", "no-registry", "--gpus", "0", "--image", _image(fleet, "no-registry"), "--detach")
    assert done.returncode == 0, done.stderr
    name = until(lambda: _ids(fleet.daemon, "modelgrid-test/no-registry"), "a deployment")[0]
    item = fleet.daemon.wait_for(name, lambda d: len(d["failures"]) >= 2, "it is tried again", SETTLE_SECONDS)
    assert {failure["diagnosis"]["code"] for failure in item["failures"]} == {"registry_unreachable"}
    assert item["state"] in {"restarting", "pulling"}
    fleet.daemon.remove(name)


def test_a_hung_docker_is_trouble_and_no_restart(fleet: Fleet) -> None:
    before, container = fleet.running(), fleet.container()
    events = len(fleet.daemon.events(fleet.id))
    fleet.stage.docker_relay.hold()
    try:
        item = fleet.daemon.wait_for(fleet.id, lambda d: bool(d["trouble"]), "it is noticed", NOTICED_SECONDS)
        assert "Docker does not answer" in item["trouble"]
        assert item["state"] == "running", "it is not known to be stopped"
        assert chat(fleet.sdk).usage is not None, "the gateway goes on serving"
        with fleet.daemon.client() as client:
            delays = [_seconds(client.overview) for _ in range(20)]
        assert sorted(delays)[len(delays) // 2] < 0.5, delays
        assert "does not answer" in fleet.daemon.cli("ps").stdout
    finally:
        fleet.stage.docker_relay.release()
    _healed(fleet, before, container, events)


def test_a_stopped_docker_is_trouble_and_no_restart(fleet: Fleet) -> None:
    before, container = fleet.running(), fleet.container()
    events = len(fleet.daemon.events(fleet.id))
    fleet.stage.docker_relay.refuse()
    try:
        item = fleet.daemon.wait_for(fleet.id, lambda d: bool(d["trouble"]), "it is noticed", NOTICED_SECONDS)
        assert "cannot be reached" in item["trouble"]
        assert item["state"] == "running"
        assert chat(fleet.sdk).usage is not None
        fleet.daemon.stop()
        fleet.daemon.start()  # the node still knows its runtime, and the gateway its table
        assert chat(fleet.sdk).usage is not None
        assert fleet.daemon.deployment(fleet.id)["state"] == "running"
    finally:
        fleet.stage.docker_relay.admit()
    _healed(fleet, before, container, events)


def test_a_restarted_daemon_adopts_the_container_and_sweeps_orphans(fleet: Fleet) -> None:
    before, container = fleet.running(), fleet.container()
    events, owner, docker = len(fleet.daemon.events(fleet.id)), fleet.daemon.owner(), fleet.stage.docker
    assert fleet.daemon.stop() == 0
    orphan, stranger = f"modelgrid-test-orphan-{os.getpid()}", f"modelgrid-test-stranger-{os.getpid()}"
    labels = {"modelgrid.deployment": "orphan-1", "modelgrid.attempt": "1", "modelgrid.port": "1"}
    try:
        docker.create(orphan, fleet.stage.image, {**labels, "modelgrid.owner": owner})
        docker.create(stranger, fleet.stage.image, {**labels, "modelgrid.owner": "somebody else"})
        fleet.daemon.start()
        assert chat(fleet.sdk).usage is not None, "it answers at once"
        until(lambda: not docker.there(orphan), "the orphan is removed")
        assert docker.there(stranger), "what belongs to others stays"
    finally:
        docker.remove(f"containers/{orphan}")
        docker.remove(f"containers/{stranger}")
    _healed(fleet, before, container, events)


def test_a_killed_container_comes_back(fleet: Fleet) -> None:
    before, container = fleet.running(), fleet.container()
    fleet.stage.docker.kill(container["Id"])
    after = fleet.daemon.wait_for(
        fleet.id, lambda d: is_running(d) and d["attempt"] == before["attempt"] + 1, "it is back"
    )
    assert after["engine_id"] != before["engine_id"]
    assert fleet.container()["Id"] == after["engine_id"], "the killed one is cleared away"
    events = fleet.daemon.events(fleet.id)
    ended = next(event for event in reversed(events) if event["kind"] == "exited")
    assert "signal 9" in ended["message"]
    assert after["failures"][-1]["diagnosis"]["code"] == "killed"
    assert chat(fleet.sdk).usage is not None


def test_a_removed_deployment_leaves_nothing(fleet: Fleet) -> None:
    fleet.running()
    owner = fleet.daemon.owner()
    fleet.daemon.remove(fleet.id)
    assert fleet.stage.docker.containers(owner) == []
    record = fleet.daemon.ask("container", "history", fleet.id)
    assert "startup complete" in "\n".join(line["text"] for line in record["last_lines"])


def _healed(fleet: Fleet, before: dict[str, Any], container: dict[str, Any], events: int) -> None:
    """Whatever was wrong is over, and nothing was done to the engine because of it."""
    after = fleet.daemon.wait_for(
        fleet.id, lambda d: is_running(d) and not d["trouble"], "the trouble is over", NOTICED_SECONDS
    )
    for name in ("engine_id", "attempt", "port", "started_at", "ready_at"):
        assert after[name] == before[name], name
    assert fleet.container()["State"]["StartedAt"] == container["State"]["StartedAt"]
    assert kinds(fleet.daemon.events(fleet.id)[events:]) == []
    assert chat(fleet.sdk).usage is not None


def _ids(made: EngineDaemon, model: str = "modelgrid-test/tiny") -> list[str]:
    with made.client() as client:
        return [item["id"] for item in client.list_deployments(model=model)["items"]]


def _begun(pull: dict[str, Any]) -> list[dict[str, Any]]:
    return [layer for layer in pull["layers"] if layer["total_bytes"] and layer["done_bytes"]]


def _image(fleet: Fleet, alias: str) -> str:
    registry, _, _ = fleet.stage.image.partition("/")
    if alias == "no-registry":
        registry = f"127.0.0.1:{free_port()}"
    return f"{registry}/modelgrid-test/absent:1"


def _seconds(action: Any) -> float:
    began = time.monotonic()
    action()
    return time.monotonic() - began
