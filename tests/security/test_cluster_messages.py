"""What nodes tell the control plane (rows S23 and S24): each speaks for itself only, once, and only while it belongs.

The nodes are the test itself, so that it can say what no daemon of ours would."""

import re
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from cluster_kit import ClusterUnderTest, ask, call, cluster_in
from daemon_under_test import SMALL, wait_until

from modelgrid import __version__
from modelgrid.adapters.node_certificate import ensure_certificate
from modelgrid.domain.cluster import JoinCall, JoinRequest, Orders, Report, Welcome
from modelgrid.domain.gpu import Gpu, GpuInventory, GpuVendor
from modelgrid.domain.ids import GpuId, NodeName
from modelgrid.domain.node import Node, NodeRole
from modelgrid.domain.units import GIB


class FakeNode:
    """A node by its messages. `at` is what its clock is ahead of ours."""

    def __init__(self, cluster: ClusterUnderTest, folder: Path, name: str) -> None:
        self.name = NodeName(name)
        self.certificate = ensure_certificate(folder / name, name).pem
        self.credential = ""
        self.epoch, self.sequence = time.time_ns(), 0
        self.control_epoch = 0
        self._cluster = cluster
        self._url = f"https://127.0.0.1:{cluster.control.config['cluster']['port']}/v1/_cluster"
        self._context = ssl.create_default_context()
        self._context.check_hostname, self._context.verify_mode = False, ssl.CERT_NONE

    def join(self, **changes: Any) -> httpx.Response:
        values: dict[str, Any] = {
            "name": self.name,
            "version": __version__,
            "at": time.time(),
            "peer_url": "https://127.0.0.1:9",
            "cluster_url": "https://127.0.0.1:9",
            "certificate": self.certificate,
        }
        secret = str(self._cluster.invite()["token"]).partition(".")[0]
        body = msgspec.json.encode(JoinCall(secret=secret, request=JoinRequest(**{**values, **changes})))
        answer = self.send("POST", "/join", body)
        if answer.is_success:
            self.credential = msgspec.json.decode(answer.content, type=Welcome).credential
        return answer

    def report(self, name: str | None = None, **changes: Any) -> Report:
        self.sequence += 1
        node = Node(
            name=NodeName(name or self.name),
            role=NodeRole.WORKER,
            inventory=GpuInventory(taken_at=time.time()),
            runtimes=("simulated",),
        )
        values: dict[str, Any] = {
            "node": node,
            "version": __version__,
            "epoch": self.epoch,
            "sequence": self.sequence,
            "to": self.control_epoch,
            "at": time.time(),
        }
        return Report(**{**values, **changes})

    def tell(self, report: Report) -> httpx.Response:
        answer = self.send("POST", "/heartbeat", msgspec.json.encode(report))
        if answer.is_success:
            self.control_epoch = msgspec.json.decode(answer.content, type=Orders).epoch
        return answer

    def be_heard(self) -> None:
        """Report as a daemon does: the first answer says whom to speak to."""
        for _ in range(2):
            report = self.report()
            orders = msgspec.json.decode(self.tell(report).content, type=Orders)
        assert orders.heard == report.sequence

    def send(self, method: str, path: str, body: bytes = b"", seconds: float = 30.0) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.credential}"} if self.credential else {}
        url = f"{self._url}{path}"
        return httpx.request(
            method, url, headers=headers, content=body, verify=self._context, timeout=seconds, trust_env=False
        )


def said(answer: httpx.Response) -> str:
    found: str = answer.json()["error"]["message"]
    return found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterUnderTest]:
    with cluster_in(tmp_path_factory.mktemp("cluster"), []) as made:
        made.start()
        yield made


@pytest.fixture
def nodes(cluster: ClusterUnderTest, tmp_path: Path) -> Iterator[tuple[FakeNode, FakeNode]]:
    """Two members that have been heard once."""
    made = FakeNode(cluster, tmp_path, "worker-a"), FakeNode(cluster, tmp_path, "worker-b")
    for node in made:
        assert node.join().is_success
        node.be_heard()
    yield made
    for node in made:
        ask(cluster.control, "DELETE", f"/nodes/{node.name}?force=true")


def test_a_message_holds_once(nodes: tuple[FakeNode, FakeNode]) -> None:
    a, _ = nodes
    recorded = a.report()
    assert a.tell(recorded).is_success
    for stale in (
        recorded,
        replace(recorded, sequence=recorded.sequence - 1),
        replace(recorded, epoch=recorded.epoch - 1, sequence=recorded.sequence + 100),
    ):
        refused = a.tell(stale)
        assert refused.status_code == 409
        assert "said something newer already" in said(refused)
    assert a.tell(a.report()).is_success
    assert a.tell(replace(a.report(), epoch=a.epoch + 1, sequence=1)).is_success, "its daemon was started again"


def test_what_was_said_before_the_control_plane_restarted_holds_no_more(
    cluster: ClusterUnderTest, nodes: tuple[FakeNode, FakeNode]
) -> None:
    """The control plane remembers no report over its restart, so each is for one start of it."""
    a, b = nodes
    recorded = [a.report() for _ in range(3)]
    assert a.tell(recorded[0]).is_success
    cluster.control.restart()
    for replayed in recorded:
        orders = msgspec.json.decode(a.tell(replayed).content, type=Orders)
        assert orders.heard == 0, "it was not taken"
    assert orders.epoch > recorded[0].to
    known = cluster.nodes().get("worker-a", {"liveness": "unknown"})
    assert known["liveness"] != "ready", "a recording proves no life"
    a.be_heard()
    b.be_heard()
    assert {node["liveness"] for node in cluster.nodes().values()} == {"ready"}
    refused = a.tell(recorded[-1])
    assert refused.status_code == 409
    assert "said something newer already" in said(refused)


def test_a_node_cannot_speak_for_another(cluster: ClusterUnderTest, nodes: tuple[FakeNode, FakeNode]) -> None:
    a, b = nodes
    before = cluster.nodes()["worker-b"]["heartbeat_at"]
    refused = a.tell(a.report("worker-b", epoch=b.epoch + 1))
    assert refused.status_code == 409
    assert said(refused) == "worker-a cannot speak for worker-b."
    assert cluster.nodes()["worker-b"]["heartbeat_at"] == before
    orders = msgspec.json.decode(a.tell(a.report()).content, type=Orders)
    assert orders.node == "worker-a"
    assert msgspec.json.decode(a.send("GET", "/orders").content, type=Orders).node == "worker-a"
    assert b.tell(b.report()).is_success


def test_orders_are_left_out_for_those_alone_who_have_obeyed_them_and_understand_it(
    cluster: ClusterUnderTest, nodes: tuple[FakeNode, FakeNode]
) -> None:
    a, _ = nodes
    call(cluster.control, "PUT", f"/targets/{SMALL}", {"replicas": 1, "node": "worker-a"})

    gpu = Gpu(
        id=GpuId("nvidia-0"), vendor=GpuVendor.NVIDIA, index=0, uuid="0", name="Card",
        vram_total_bytes=80 * GIB, vram_used_bytes=0, vram_free_bytes=80 * GIB,
    )  # fmt: skip

    def with_a_gpu(**changes: Any) -> Report:
        report = a.report(**changes)
        inventory = replace(report.node.inventory, gpus=(gpu,))
        node = replace(report.node, inventory=inventory, memory_total_bytes=64 * GIB, memory_available_bytes=60 * GIB)
        return replace(report, node=node)

    def ordered() -> Orders | None:
        orders = msgspec.json.decode(a.tell(with_a_gpu()).content, type=Orders)
        return orders if orders.orders else None

    present = wait_until("worker-a is ordered to run it", ordered, said=cluster.words)
    obeyed = present.epoch, present.sequence
    for changes, unchanged in (
        ({"obeyed": obeyed, "may_omit": True}, True),
        ({"obeyed": obeyed, "may_omit": False}, False),
        ({"obeyed": (present.epoch, present.sequence - 1), "may_omit": True}, False),
        ({"obeyed": (present.epoch - 1, present.sequence), "may_omit": True}, False),
    ):
        orders = msgspec.json.decode(a.tell(with_a_gpu(**changes)).content, type=Orders)
        assert (orders.epoch, orders.sequence) == obeyed
        assert orders.unchanged is unchanged, changes
        assert orders.orders == (() if unchanged else present.orders)
    call(cluster.control, "DELETE", f"/targets/{SMALL}")


def test_who_was_removed_hears_nothing_more(cluster: ClusterUnderTest, nodes: tuple[FakeNode, FakeNode]) -> None:
    a, b = nodes
    call(cluster.control, "DELETE", "/nodes/worker-a")
    for method, path, body in (
        ("POST", "/heartbeat", msgspec.json.encode(a.report())),
        ("GET", "/orders", b""),
        ("GET", "/routing", b""),
        ("POST", "/leave", b""),
    ):
        refused = a.send(method, path, body)
        assert refused.status_code == 401, path
        assert "does not belong to the cluster" in said(refused)
    assert list(cluster.nodes()) == ["control-a", "worker-b"]
    assert b.tell(b.report()).is_success


def test_what_a_node_waits_for_is_not_given_to_one_that_left(
    cluster: ClusterUnderTest, nodes: tuple[FakeNode, FakeNode]
) -> None:
    """It asks while it belongs; by the time that there is news it was removed, and the news is not for it."""
    a, _ = nodes
    routing = msgspec.json.decode(a.send("GET", "/routing").content)
    answers: list[httpx.Response] = []
    path = f"/routing?epoch={routing['epoch']}&generation={routing['generation']}"
    waiting = threading.Thread(target=lambda: answers.append(a.send("GET", path, seconds=60)))
    waiting.start()
    time.sleep(0.5)
    assert not answers, "it waits"
    call(cluster.control, "DELETE", "/nodes/worker-a")  # which is news: there is one peer less
    waiting.join(30)
    assert answers[0].status_code == 401


def test_who_waits_is_answered_when_the_control_plane_ends(
    cluster: ClusterUnderTest, nodes: tuple[FakeNode, FakeNode]
) -> None:
    a, _ = nodes
    orders = msgspec.json.decode(a.send("GET", "/orders").content, type=Orders)
    routing = msgspec.json.decode(a.send("GET", "/routing").content)
    answers: list[httpx.Response] = []
    waiting = [
        threading.Thread(target=lambda path=path: answers.append(a.send("GET", path, seconds=60)))
        for path in (
            f"/orders?epoch={orders.epoch}&sequence={orders.sequence}",
            f"/routing?epoch={routing['epoch']}&generation={routing['generation']}",
        )
    ]
    for thread in waiting:
        thread.start()
    time.sleep(0.5)
    assert not answers, "they wait"
    assert cluster.control.stop() == 0
    log = cluster.control.log.read_text()
    cluster.control.start()
    for thread in waiting:
        thread.join(30)
    assert [answer.status_code for answer in answers] == [204, 204], "nothing is new"
    assert "Traceback" not in log, log


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"certificate": "of another machine"}, "Another node called 'worker-a'"),
        ({"name": "control-a"}, "control plane itself"),
        ({"version": f"{int(__version__.split('.')[0]) + 1}.0.0"}, "different major versions"),
        ({"at": 3630.0}, "1h ahead"),
        ({"at": -3600.0}, "1h behind"),
    ],
)
def test_a_node_that_does_not_fit_is_not_taken_in(
    nodes: tuple[FakeNode, FakeNode], changes: dict[str, Any], reason: str
) -> None:
    a, _ = nodes
    held = a.credential
    if "at" in changes:
        changes = {"at": time.time() + changes["at"]}
    refused = a.join(**changes)
    assert refused.status_code == 409
    assert reason in said(refused)
    assert a.credential == held
    assert a.tell(a.report()).is_success


def test_a_node_whose_clock_is_off_gets_nothing_and_is_not_lost(
    cluster: ClusterUnderTest, nodes: tuple[FakeNode, FakeNode]
) -> None:
    """Row R22. Its clock says an hour more or less from one report to the next; its silence is not counted by it."""
    a, _ = nodes
    for off, side in ((3600.0, "ahead of"), (-3600.0, "behind")):
        assert a.tell(replace(a.report(), at=time.time() + off)).is_success
        node = cluster.nodes()["worker-a"]
        assert re.fullmatch(rf"its clock is (1h|59m59s|1h ?0?1s) {side} the control plane's", node["problem"])
        assert node["liveness"] == "ready"
        assert abs(node["heartbeat_at"] - time.time()) < 60
    assert a.tell(a.report()).is_success
    assert cluster.nodes()["worker-a"]["problem"] == ""


def test_a_node_of_another_major_version_is_refused_whatever_it_was_before(nodes: tuple[FakeNode, FakeNode]) -> None:
    a, _ = nodes
    newer = f"{int(__version__.split('.')[0]) + 1}.0.0"
    refused = a.tell(a.report(version=newer))
    assert refused.status_code == 409
    assert "Upgrade the control plane" in said(refused)


def test_what_cannot_be_is_refused_or_waits_and_says_why(cluster: ClusterUnderTest) -> None:
    control = cluster.control
    model = SMALL
    for replicas in (-1, 65, 10_000):
        refused = ask(control, "PUT", f"/targets/{model}", {"replicas": replicas})
        assert refused.status_code == 422, refused.text
        assert "replicas" in refused.text
    call(control, "PUT", f"/targets/{model}", {"replicas": 0})
    for replicas in (-1, 10_000):
        refused = ask(control, "PATCH", f"/targets/{model}", {"replicas": replicas})
        assert refused.status_code == 422, refused.text
    refused = ask(control, "DELETE", "/nodes/control-a")
    assert refused.status_code == 409
    assert "control plane itself" in said(refused)
    assert ask(control, "DELETE", "/nodes/nobody").status_code == 404
    call(control, "DELETE", f"/targets/{model}")


def test_a_model_that_no_node_can_hold_waits_and_says_what_would_help(cluster: ClusterUnderTest) -> None:
    control = cluster.control
    large = "deepseek-ai/DeepSeek-V3.1"
    call(control, "PUT", f"/targets/{large}", {"replicas": 1})
    wait_until("it waits", lambda: [d["state"] for d in control.deployments(large)] == ["pending"], said=control.words)
    (waiting,) = control.deployments(large)
    print(f"\ntoo large: {waiting['reason']!r}")
    assert "control-a" in str(waiting) or "GPU" in waiting["reason"]
    call(control, "DELETE", f"/targets/{large}")
    wait_until("it is gone", lambda: not control.deployments(large), said=control.words)


def test_the_last_node_may_be_drained_and_what_runs_there_stays(cluster: ClusterUnderTest) -> None:
    """There is nowhere to go, so it serves on and says why; the operator's wish stands."""
    control = cluster.control
    (running,) = control.run()
    call(control, "POST", "/nodes/control-a/drain")
    time.sleep(3)
    found = {item["id"]: item for item in control.deployments()}
    for item in found.values():
        print(f"\ndrain of the last node: {item['id']} {item['state']} {item['reason']!r}")
    assert found.pop(running["id"])["state"] == "running"
    assert [item["state"] for item in found.values()] == ["pending"], "its replacement, which has no place"
    assert list(control.engine_pids()) == [running["id"]]
    call(control, "POST", "/nodes/control-a/activate")
    control.clear()
