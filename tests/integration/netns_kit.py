"""A cluster over a real network for tests: every daemon in a network namespace of its own, behind a bridge.

The test stays outside. A door per namespace carries what it sends to a port on loopback to the same port on loopback
in there, so consoles and gateways are reached as ever, also while the node's own network is down."""

import contextlib
import ctypes
import json
import os
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cluster_kit import HEARTBEAT_SECONDS, ClusterUnderTest, call
from daemon_under_test import QUICK_ENGINES, DaemonUnderTest

NETWORK = "10.77.0"
GATEWAY, CONSOLE, CLUSTER, PEERS = 8080, 8081, 8082, 8083
CONTROL = "control-a"
_NEW_NET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def _inside(namespace: str, *command: str) -> list[str]:
    return ["nsenter", f"--net=/run/netns/{namespace}", *command]


def need_namespaces() -> None:
    """Skip where network namespaces cannot be made."""
    if os.geteuid() != 0:
        pytest.skip("needs root: network namespaces cannot be made otherwise")
    probe = f"mg{os.getpid()}-probe"
    try:
        _run("ip", "netns", "add", probe)
    except FileNotFoundError:
        pytest.skip("needs `ip` of iproute2")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"network namespaces cannot be made here: {error.stderr.strip()}")
    try:
        _run(*_inside(probe, "iptables", "-S"))
    except FileNotFoundError:
        pytest.skip("needs `nsenter` of util-linux")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"iptables does not work here: {error.stderr.strip()}")
    finally:
        _run("ip", "netns", "del", probe)


class Network:
    """A bridge in a namespace of its own, and one namespace for each name, with an address of its own."""

    def __init__(self, names: Sequence[str]) -> None:
        self._prefix = f"mg{os.getpid()}-"
        self._hub = f"{self._prefix}hub"
        self.addresses = {name: f"{NETWORK}.{number}" for number, name in enumerate(names, start=1)}
        self._links = {name: f"port{number}" for number, name in enumerate(names, start=1)}

    def namespace(self, name: str) -> str:
        return f"{self._prefix}{name}"

    def make(self) -> None:
        _run("ip", "netns", "add", self._hub)
        _run("ip", "-n", self._hub, "link", "add", "br0", "type", "bridge")
        _run("ip", "-n", self._hub, "link", "set", "br0", "up")
        for name, link in self._links.items():
            own = self.namespace(name)
            _run("ip", "netns", "add", own)
            _run(*f"ip link add eth0 netns {own} type veth peer name {link} netns {self._hub}".split())
            _run("ip", "-n", self._hub, "link", "set", link, "master", "br0", "up")
            _run("ip", "-n", own, "addr", "add", f"{self.addresses[name]}/24", "dev", "eth0")
            _run("ip", "-n", own, "link", "set", "eth0", "up")
            _run("ip", "-n", own, "link", "set", "lo", "up")

    def remove(self) -> None:
        for name in (*map(self.namespace, self._links), self._hub):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def cut(self, name: str) -> None:
        """Pull the node's cable."""
        _run("ip", "-n", self._hub, "link", "set", self._links[name], "down")

    def heal(self, name: str) -> None:
        _run("ip", "-n", self._hub, "link", "set", self._links[name], "up")

    def drop(self, at: str, source: str) -> None:
        """Have `at` lose whatever comes from `source`; the other way stays open."""
        _run(*_inside(self.namespace(at), "iptables", "-A", "INPUT", "-s", self.addresses[source], "-j", "DROP"))

    def accept(self, at: str) -> None:
        _run(*_inside(self.namespace(at), "iptables", "-F"))

    def run(self, name: str, work: Callable[[], Any]) -> Any:
        """Return what `work` returns when it runs in the namespace; sockets that it makes belong there."""
        found: list[Any] = []

        def inside() -> None:
            _enter(self.namespace(name))
            found.append(work())

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        return found[0]


def _enter(namespace: str) -> None:
    """Have the calling thread make its sockets in the namespace from now on."""
    with Path(f"/run/netns/{namespace}").open() as file:
        if _LIBC.setns(file.fileno(), _NEW_NET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {namespace}")


class Door:
    """Forwards loopback ports here to the same ports on loopback of a namespace."""

    def __init__(self, namespace: str, ports: Sequence[int]) -> None:
        self._namespace = namespace
        self._listening = [socket.create_server(("127.0.0.1", port), backlog=256) for port in ports]
        self._closing = False
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()

    def close(self) -> None:
        self._closing = True
        self._acceptor.join()
        for each in tuple(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        _enter(self._namespace)  # and so do the threads that this one starts
        with contextlib.ExitStack() as stack:
            for listening in self._listening:
                stack.enter_context(listening)
            while not self._closing:
                for listening in select.select(self._listening, [], [], 0.2)[0]:
                    thread = threading.Thread(target=self._carry, args=(listening.accept()[0],))
                    self._threads.append(thread)
                    thread.start()

    def _carry(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError):
            port = near.getsockname()[1]
            with socket.create_connection(("127.0.0.1", port), timeout=5) as far:
                far.settimeout(None)
                both = {near: far, far: near}
                self._open |= set(both)
                try:
                    _exchange(both)
                finally:
                    self._open -= set(both)


def _exchange(both: Mapping[socket.socket, socket.socket]) -> None:
    """Pass on what comes until both have ended."""
    reading = list(both)
    while reading:
        for source in select.select(reading, [], [])[0]:
            if data := source.recv(65536):
                both[source].sendall(data)
            else:
                reading.remove(source)
                both[source].shutdown(socket.SHUT_WR)


class NamespacedDaemon(DaemonUnderTest):
    """A daemon that lives in a network namespace."""

    namespace = ""

    @property
    def command(self) -> list[str]:
        return _inside(self.namespace, *super().command)


class NetworkedCluster(ClusterUnderTest):
    """A cluster that can be cut apart."""

    def __init__(self, control: DaemonUnderTest, workers: Sequence[DaemonUnderTest], network: Network) -> None:
        super().__init__(control, workers)
        self.network = network

    @property
    def daemons(self) -> Mapping[str, DaemonUnderTest]:
        return {CONTROL: self.control, **self.workers}

    def start_all(self) -> None:
        self.start()
        for name in self.workers:
            self.join(name)

    def place(self, model: str, node: str, **wish: Any) -> dict[str, Any]:
        """Have a model run on a node without binding it to it; return its deployment."""
        others = [name for name in self.daemons if name != node]
        for name in others:
            call(self.control, "POST", f"/nodes/{name}/cordon")
        call(self.control, "PUT", f"/targets/{model}", {"replicas": 1, **wish})
        (found,) = self.control.wait_for({"running": 1}, target=model)
        assert found["node"] == node
        for name in others:
            call(self.control, "POST", f"/nodes/{name}/activate")
        deployment: dict[str, Any] = found
        return deployment

    def liveness_events(self, node: str, after: int = 0) -> list[str]:
        """Return what was thought of a node since event number `after`, oldest first."""
        found = [item for item in self.node_events() if item["subject_id"] == node and item["seq"] > after]
        kinds = [item["kind"].removeprefix("node_") for item in sorted(found, key=lambda item: item["seq"])]
        return [kind for kind in kinds if kind in ("ready", "suspect", "lost")]

    def node_events(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = call(self.control, "GET", "/timeline?subject=node&limit=200")["items"]
        return items

    def last_event(self) -> int:
        return max((item["seq"] for item in self.node_events()), default=0)


@contextlib.contextmanager
def networked_cluster(
    folder: Path,
    workers: Sequence[str] = ("worker-a", "worker-b"),
    config: Mapping[str, Any] | None = None,
    engines: str = QUICK_ENGINES,
) -> Iterator[NetworkedCluster]:
    """Yield a cluster of which nothing runs yet; leave nothing of it behind. There is one more namespace, `outside`."""
    need_namespaces()
    network = Network((CONTROL, *workers, "outside"))
    with contextlib.ExitStack() as stack:
        stack.callback(network.remove)
        network.make()
        made = []
        for name in (CONTROL, *workers):
            (folder / name).mkdir()
            cluster = {
                "role": "control-plane" if name == CONTROL else "standalone",
                "host": "0.0.0.0",
                "advertiseUrl": f"http://{network.addresses[name]}:{GATEWAY}",
                "heartbeatInterval": HEARTBEAT_SECONDS,
            }
            own = {"nodeName": name, **(config or {}), "cluster": cluster}
            daemon = NamespacedDaemon(folder / name, own, engines=engines)
            daemon.namespace = network.namespace(name)
            stack.callback(daemon.close)
            stack.callback(Door(daemon.namespace, (daemon.port, daemon.ui_port)).close)
            made.append(daemon)
        yield NetworkedCluster(made[0], made[1:], network)


@dataclass(slots=True)
class Seen:
    """An engine process: of which node and deployment, and when it was seen first and last (monotonic)."""

    node: str
    deployment: str
    pid: int
    first: float
    last: float


class Watch:
    """Looks at the engines of all nodes five times a second: the processes, whatever anybody says of them."""

    def __init__(self, cluster: NetworkedCluster) -> None:
        self._folders = {name: daemon.state_dir / "simulated" / "engines" for name, daemon in cluster.daemons.items()}
        self._ended = threading.Event()
        self.engines: dict[tuple[str, int], Seen] = {}
        self.looks = 0
        self.overcommitted: list[str] = []
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def of(self, deployment: str) -> Seen:
        """Return the newest engine of a deployment."""
        return max(
            (seen for seen in self.engines.values() if seen.deployment == deployment), key=lambda seen: seen.first
        )

    def now(self, prefix: str = "") -> list[Seen]:
        """Return the engines that were there at the last look."""
        latest = max((seen.last for seen in self.engines.values()), default=0.0)
        return [seen for seen in self.engines.values() if seen.last == latest and seen.deployment.startswith(prefix)]

    def gone(self, seen: Seen) -> bool:
        return time.monotonic() - seen.last > 0.5

    def at_once(self, prefix: str) -> int:
        """Return how many engines of deployments that are called so ran at the same time, at most."""
        mine = [seen for seen in self.engines.values() if seen.deployment.startswith(prefix)]
        return max((sum(one.first <= seen.first <= one.last for one in mine) for seen in mine), default=0)

    def _watch(self) -> None:
        while not self._ended.wait(0.2):
            now = time.monotonic()
            self.looks += 1
            for node, folder in self._folders.items():
                used: dict[str, tuple[int, int]] = {}
                for path in folder.glob("*.json"):
                    self._look(node, path, now, used)
                for gpu, (reserved, total) in used.items():
                    if reserved > total:
                        self.overcommitted.append(f"{node} {gpu}: {reserved} of {total} bytes")

    def _look(self, node: str, path: Path, now: float, used: dict[str, tuple[int, int]]) -> None:
        try:
            record = json.loads(path.read_text())
            argv = Path(f"/proc/{record['pid']}/cmdline").read_text().split("\0")
        except (OSError, ValueError, KeyError):
            return
        if "modelgrid.simulator" not in argv:
            return
        key = (node, record["pid"])
        seen = self.engines.setdefault(key, Seen(node, record["deployment"], record["pid"], now, now))
        seen.last = now
        values = {
            name: argv[at + 1] for at, name in enumerate(argv) if name.startswith("--sim-") and at + 1 < len(argv)
        }
        for gpu in filter(None, values.get("--sim-gpu-ids", "").split(",")):
            before = used.get(gpu, (0, 0))[0]
            used[gpu] = (before + int(values["--sim-reserved-bytes"]), int(values["--sim-gpu-total-bytes"]))
