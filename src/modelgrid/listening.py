"""The supervisor's listening sockets. Standard library only, like the supervisor itself."""

import errno
import os
import socket
import sys
from collections.abc import Collection
from typing import Any, TypedDict

BACKLOG = 4096
"""Connections that may wait to be accepted."""
PORT_KEYS = {"api": "api.port", "ui": "api.uiPort", "peers": "cluster.peerPort", "cluster": "cluster.port"}
HOST_KEYS = {"api": "api.host", "ui": "api.uiHost", "peers": "cluster.host", "cluster": "cluster.host"}
"""Where config.json says on which port and address each group of sockets listens."""


class Listen(TypedDict):
    name: str
    host: str
    port: int
    count: int
    """Sockets on the same port, shared by SO_REUSEPORT when more than one."""
    waits: bool
    """Whether connections wait while nobody serves them yet or any more. Where they do not, the port is taken at once
    and the child listens when it can answer: until then, and while the daemon ends, who calls is refused at once."""


class Group:
    """The sockets of one name."""

    def __init__(self, listen: Listen, sockets: list[socket.socket], *, inherited: bool) -> None:
        self.listen = listen
        """What it is in fact, which need not be what was asked for."""
        self.sockets = sockets
        self.inherited = inherited

    def of_process(self, index: int, count: int) -> list[int]:
        """Return the descriptors on which process `index` of `count` accepts: between them, they serve all. A socket
        that is not needed any more is not closed, as connections may wait in it; somebody goes on serving it."""
        if len(self.sockets) < count:
            return [self.sockets[index % len(self.sockets)].fileno()]
        return [item.fileno() for item in self.sockets[index::count]]


class Sockets:
    """All of them, over all plans."""

    def __init__(self) -> None:
        self._groups: dict[str, Group] = {}
        self._former: set[int] = set()  # ports that processes which are about to end may still hold
        self._from_systemd = _from_systemd()

    def get(self, name: str) -> Group | None:
        """Return the sockets of a name; none when they could not be had."""
        return self._groups.get(name)

    def listening(self) -> list[Listen]:
        """Return what is listened on in fact."""
        return [group.listen for group in self._groups.values()]

    def _ours(self, port: int) -> bool:
        held = {group.listen["port"] for group in self._groups.values() if not group.inherited}
        return port in held | self._former

    def open(self, listen: Listen) -> None:
        """Listen as asked, with systemd's sockets where it has passed some of that name. Raises `OSError`."""
        name, count = listen["name"], listen["count"]
        if given := self._from_systemd.get(name):
            host, port = given[0].getsockname()[:2]
            same = (host, port) in [tuple(address[:2]) for *_, address in _resolved(listen)]
            fact = listen if same else Listen(name=name, host=host, port=port, count=count, waits=True)
            self._groups[name] = Group(fact, given, inherited=True)
            return
        self._groups[name] = Group(listen, _bind(listen, count, trial=not self._ours(listen["port"])), inherited=False)

    def follow(self, listen: Listen) -> str:
        """Listen as another plan asks, keeping what can be kept; return why it cannot be followed, or nothing.

        Sockets of an old address go when the processes that accept on them do."""
        where = f"{listen['host']}:{listen['port']}"
        group = self._groups.get(listen["name"])
        try:
            if group is None:
                self.open(listen)
            elif (group.listen["host"], group.listen["port"]) == (listen["host"], listen["port"]):
                if not group.inherited:
                    group.sockets += _bind(listen, listen["count"] - len(group.sockets), trial=False)
                group.listen = listen
            elif group.inherited:
                group.listen = {**group.listen, "count": listen["count"]}
                return f"systemd holds the socket of {listen['name']}; `modelgrid service enable` moves it to {where}"
            else:
                opened = _bind(listen, listen["count"], trial=not self._ours(listen["port"]))
                self._close(group)
                self._groups[listen["name"]] = Group(listen, opened, inherited=False)
        except OSError as error:
            return f"cannot listen on {where}: {error.strerror}"
        return ""

    def keep(self, names: Collection[str]) -> None:
        """Listen no longer on what has none of these names. Those of systemd are its own, and stay."""
        for name in [name for name, group in self._groups.items() if name not in names]:
            group = self._groups.pop(name)
            if not group.inherited:
                self._close(group)

    def close_what_does_not_wait(self) -> None:
        """Leave to the children alone what they listen on: when they close it, who calls is refused."""
        for group in self._groups.values():
            if not group.listen["waits"]:
                self._close(group)

    def _close(self, group: Group) -> None:
        self._former.add(group.listen["port"])
        for item in group.sockets:
            item.close()


def _bind(listen: Listen, count: int, *, trial: bool) -> list[socket.socket]:
    """Return `count` more sockets that listen. They can be shared, so that their number can grow; they would be with a
    stranger, too, so with `trial` an exclusive one first finds out. Raises `OSError`."""
    family, kind, protocol, _, address = _resolved(listen)[0]

    def bound(*, shared: bool) -> socket.socket:
        item = socket.socket(family, kind, protocol)
        item.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            item.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            item.bind(address)
        except OSError:
            item.close()
            raise
        return item

    if trial:
        bound(shared=False).close()
    sockets = [bound(shared=True) for _ in range(count)]
    for item in sockets:
        item.setblocking(False)
        if listen["waits"]:
            item.listen(BACKLOG)
    return sockets


def _resolved(listen: Listen) -> list[Any]:
    """Return what getaddrinfo says of an address, the one to bind first."""
    where = listen["host"], listen["port"]
    return list(socket.getaddrinfo(*where, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE))


def why_not(host: str, port: int, *, ours: bool) -> str:
    """Return why nobody could listen there, or nothing. `ours`: the daemon holds that port, on another address."""
    try:
        for item in _bind(Listen(name="", host=host, port=port, count=1, waits=True), 1, trial=not ours):
            item.close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def remedy(error: OSError, name: str, port: int) -> str:
    """Return what to do about sockets of that name that cannot be had."""
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"Set {HOST_KEYS[name]} in config.json to an address of this machine."
    if error.errno == errno.EACCES:
        return f"Low ports are root's: run it as root, or change {PORT_KEYS[name]} in config.json."
    return f"Stop what uses it (ss -ltnp 'sport = :{port}' tells), or change {PORT_KEYS[name]} in config.json."


def _from_systemd() -> dict[str, list[socket.socket]]:
    """Return sockets passed by socket activation, by their FileDescriptorName (sd_listen_fds(3))."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    found: dict[str, list[socket.socket]] = {}
    for index in range(int(os.environ.get("LISTEN_FDS", "0"))):
        name = names[index] if index < len(names) else "unknown"
        found.setdefault(name, []).append(socket.socket(fileno=os.dup(3 + index)))
    return found


def say(text: str) -> None:
    sys.stderr.write(f"modelgrid: {text}\n")
    sys.stderr.flush()
