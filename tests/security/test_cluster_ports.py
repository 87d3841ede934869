"""What other machines reach of a node (row S29): the ports that are configured, and no engine."""

import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_under_test import SMALL, wait_until
from netns_kit import CLUSTER, CONTROL, PEERS, NetworkedCluster, networked_cluster

AT_ONCE = 512
ANYWHERE = "0.0.0.0"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[NetworkedCluster]:
    with networked_cluster(tmp_path, ["worker-a"], {"api": {"host": ANYWHERE}}) as made:
        made.start_all()
        yield made


def open_ports(address: str) -> set[int]:
    """Connect to every port there is; return those that take it."""
    found: set[int] = set()
    for first in range(1, 65536, AT_ONCE):
        pending: dict[int, socket.socket] = {}
        for port in range(first, min(first + AT_ONCE, 65536)):
            trying = socket.socket()
            trying.setblocking(False)
            trying.connect_ex((address, port))
            pending[port] = trying
        while pending:
            poll = select.poll()
            by_number = {trying.fileno(): port for port, trying in pending.items()}
            for number in by_number:
                poll.register(number, select.POLLOUT)
            answered = poll.poll(5000)
            assert answered, "a port neither takes nor refuses"
            for number, _ in answered:
                port = by_number[number]
                with pending.pop(port) as trying:
                    if trying.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                        found.add(port)
    return found


def test_only_the_configured_ports_answer_other_machines(cluster: NetworkedCluster) -> None:
    control = cluster.control
    control.client.put_target(SMALL, {"replicas": 2})
    running = control.wait_for({"running": 2}, target=SMALL)
    assert {item["node"] for item in running} == {CONTROL, "worker-a"}
    for name, daemon in cluster.daemons.items():
        wait_until("its engine is there", daemon.engine_pids)
        address = cluster.network.addresses[name]
        found = cluster.network.run("outside", lambda address=address: open_ports(address))
        engine = {int(record["url"].rpartition(":")[2]) for record in daemon.engine_records()}
        here = cluster.network.run(name, lambda: open_ports("127.0.0.1"))
        print(f"\n{name}: from outside {sorted(found)}, on its own loopback {sorted(here)}, engines {sorted(engine)}")
        assert engine <= here, "the scan finds what is open"
        assert found == {daemon.port, CLUSTER, PEERS}
