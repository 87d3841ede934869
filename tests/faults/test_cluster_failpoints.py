"""Row R5 over several nodes: the daemon of the control plane or of a worker dies at each step of a start, a stop, a
removal and a move. Afterwards there is exactly one engine where one is wanted and none where none is, and asking again
for what was asked changes nothing."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from cluster_kit import ClusterUnderTest, ask, call, cluster_in
from daemon_under_test import SMALL, DaemonUnderTest, wait_until

NIGHTLY = os.environ.get("MODELGRID_NIGHTLY") == "1"
CONTROL, HERE, THERE = "control plane", "its node", "the other node"
START = [(CONTROL, "created"), (HERE, "assigned"), (HERE, "prepared"), (HERE, "started"), (HERE, "ready")]
START += [(CONTROL, "informed")]
STOP = [(HERE, "obeyed"), (HERE, "stopped"), (HERE, "engine_removed"), (CONTROL, "informed")]
REMOVAL = [(CONTROL, "dismissed"), *STOP[:3], (HERE, "archived"), (CONTROL, "archived_elsewhere")]
MOVE = [(CONTROL, "created"), (THERE, "assigned"), (THERE, "prepared"), (THERE, "started"), (THERE, "ready")]
MOVE += [(CONTROL, "dismissal_decided"), *STOP[:3], (HERE, "archived"), (CONTROL, "archived_elsewhere")]
DEATHS_IN_A_ROW = 3
"""The supervisor waits longer after each death; a fresh one does not hold the earlier deaths against it."""
SETTLED_SECONDS = 60.0
Step = tuple[str, str]


def some(steps: list[Step]) -> list[Step]:
    """Every step in the nightly run, every third otherwise."""
    return steps if NIGHTLY else steps[::3]


class Rig:
    """A cluster whose control plane runs no engines, and the deaths of its daemons."""

    def __init__(self, cluster: ClusterUnderTest) -> None:
        self.cluster = cluster
        self.control = cluster.control
        self._deaths: dict[str, int] = {}

    @property
    def daemons(self) -> dict[str, DaemonUnderTest]:
        return {"control-a": self.control, **self.cluster.workers}

    def die_at(self, node: str, name: str, operation: Callable[[], httpx.Response]) -> None:
        """Do `operation`, which leads the daemon of `node` to a failpoint; return when its next control answers. Fails
        at once when the operation is refused."""
        daemon = self.daemons[node]
        if self._deaths.get(node, 0) >= DEATHS_IN_A_ROW:
            daemon.restart()
            self.cluster.wait_liveness(node, "ready")
            self._deaths[node] = 0
        armed, old = daemon.folder / "failpoint", daemon.control_pid
        armed.write_text(name)
        with contextlib.suppress(httpx.TransportError):  # it may die before it can answer
            answer = operation()
            assert not answer.is_client_error, answer.text
        wait_until(f"{node} dies at {name}", lambda: not armed.exists(), SETTLED_SECONDS, self.cluster.words)
        daemon.wait_new_control(old)
        self._deaths[node] = self._deaths.get(node, 0) + 1

    def engines(self) -> dict[str, str]:
        """Return the engine processes that there are, whatever anybody says of them: deployment by node and pid."""
        return {
            f"{node}:{pid}": deployment
            for node, daemon in self.daemons.items()
            for deployment, pid in daemon.engine_pids().items()
        }

    def the_one(self, node: str) -> dict[str, Any]:
        """Return the one deployment when it runs on `node`, all nodes are heard, and its engine is the only one."""

        def there() -> dict[str, Any] | None:
            found: list[dict[str, Any]] = self.control.deployments()
            states = [(item["state"], item["node"]) for item in found]
            heard = {item["liveness"] for item in self.cluster.nodes().values()} == {"ready"}
            return found[0] if heard and states == [("running", node)] and len(self.engines()) == 1 else None

        found = wait_until(f"one replica on {node}", there, SETTLED_SECONDS, self.words)
        assert found is not None
        ((place, deployment),) = self.engines().items()
        assert deployment == found["id"]
        assert place.startswith(f"{node}:")
        assert found["engine_id"].startswith(f"{place.partition(':')[2]}:")
        return found

    def nothing_more_happens(self, repeat: Callable[[], object]) -> None:
        before = self._at_rest()
        repeat()
        assert self._at_rest() == before

    def none(self) -> None:
        def gone() -> bool:
            left = [daemon.engine_records() for daemon in self.daemons.values()]
            return not self.control.deployments() and not self.engines() and not any(left)

        wait_until("nothing is left", gone, SETTLED_SECONDS, self.words)
        for name in self.cluster.workers:
            assert self.daemons[name].deployments() == []

    def _at_rest(self) -> object:
        """Return all there is once it stays for two heartbeats: what a node tells of itself comes after its state."""
        seen: list[object] = [None]

        def stays() -> bool:
            seen.append(self._all_there_is())
            time.sleep(2.0)
            return seen[-1] == seen[-2]

        wait_until("it comes to rest", stays, SETTLED_SECONDS, self.words)
        return seen[-1]

    def _all_there_is(self) -> object:
        kept = ("id", "state", "node", "attempt", "reason")
        rows = [{key: item[key] for key in kept} for item in self.control.deployments()]
        return rows, self.engines(), [self.control.event_kinds(row["id"]) for row in rows]

    def words(self) -> str:
        said = [(item["id"], item["state"], item["node"], item["reason"]) for item in self.control.deployments()]
        return f"{said}\n{self.engines()}\n{self.cluster.words()}"


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with cluster_in(tmp_path_factory.mktemp("cluster")) as cluster:
        for daemon in (cluster.control, *cluster.workers.values()):
            daemon.environment["MODELGRID_FAILPOINT_FILE"] = str(daemon.folder / "failpoint")
        cluster.start()
        for name in cluster.workers:
            cluster.join(name)
        call(cluster.control, "POST", "/nodes/control-a/cordon")
        yield Rig(cluster)


def played(what: str, steps: list[Step], began: float) -> None:
    print(f"\n{what}: {len(steps)} deaths, each in its place: {', '.join(f'{who} at {name}' for who, name in steps)}")
    print(f"  {time.monotonic() - began:.0f} s; one engine or none after each, 0 doubled, 0 left behind")


@pytest.mark.timeout(600)
def test_at_each_step_of_a_start_and_of_a_removal(rig: Rig) -> None:
    place = {CONTROL: "control-a", HERE: "worker-a"}
    began = time.monotonic()

    def ensure() -> httpx.Response:
        return ask(rig.control, "PUT", f"/targets/{SMALL}", {"replicas": 1, "node": "worker-a"})

    def remove() -> httpx.Response:
        return ask(rig.control, "DELETE", f"/deployments/{found['id']}")

    starts, removals = some(START), some(REMOVAL)
    for number in range(max(len(starts), len(removals))):
        if number < len(starts):
            who, name = starts[number]
            rig.die_at(place[who], name, ensure)
        else:
            ensure()
        found = rig.the_one("worker-a")
        rig.nothing_more_happens(ensure)
        if number < len(removals):
            who, name = removals[number]
            rig.die_at(place[who], name, remove)
            if name == "dismissed":  # nothing was acknowledged: the target stands, and gets another instance
                wait_until(
                    "another came", lambda gone=found["id"]: [d["id"] for d in rig.control.deployments()] != [gone]
                )
                rig.the_one("worker-a")
                call(rig.control, "DELETE", f"/targets/{SMALL}")
        else:
            remove()
        rig.none()
        kinds = rig.control.event_kinds(found["id"])
        assert kinds.count("removed") == 1, kinds
    played("starts", starts, began)
    played("removals", removals, began)


@pytest.mark.timeout(600)
def test_at_each_step_of_a_stop(rig: Rig) -> None:
    place = {CONTROL: "control-a", HERE: "worker-a"}
    began = time.monotonic()
    call(rig.control, "PUT", f"/targets/{SMALL}", {"replicas": 1, "node": "worker-a"})
    found = rig.the_one("worker-a")

    def stop() -> httpx.Response:
        return ask(rig.control, "POST", f"/deployments/{found['id']}/stop")

    for who, name in some(STOP):
        rig.die_at(place[who], name, stop)
        (stopped,) = rig.control.wait_for({"stopped": 1}, target=SMALL)
        assert "stop requested" in stopped["reason"]
        wait_until("no engine is left", lambda: not rig.engines(), SETTLED_SECONDS, rig.words)
        rig.nothing_more_happens(stop)
        call(rig.control, "POST", f"/deployments/{found['id']}/start")
        assert rig.the_one("worker-a")["id"] == found["id"]
    played("stops", some(STOP), began)
    call(rig.control, "DELETE", f"/targets/{SMALL}")
    rig.none()


@pytest.mark.timeout(900)
def test_at_each_step_of_a_move(rig: Rig) -> None:
    """A drained node's replica moves to the other worker; the next step moves it back."""
    here, there = "worker-a", "worker-b"
    began = time.monotonic()
    call(rig.control, "POST", f"/nodes/{there}/cordon")
    call(rig.control, "PUT", f"/targets/{SMALL}", {"replicas": 1})
    rig.the_one(here)
    call(rig.control, "POST", f"/nodes/{there}/activate")
    for who, name in some(MOVE):
        place = {CONTROL: "control-a", HERE: here, THERE: there}

        def drain(node: str = here) -> httpx.Response:
            return ask(rig.control, "POST", f"/nodes/{node}/drain")

        rig.die_at(place[who], name, drain)
        rig.the_one(there)
        rig.nothing_more_happens(drain)
        assert rig.daemons[here].deployments() == []
        call(rig.control, "POST", f"/nodes/{here}/activate")
        here, there = there, here
    played("moves", some(MOVE), began)
    call(rig.control, "DELETE", f"/targets/{SMALL}")
    rig.none()
