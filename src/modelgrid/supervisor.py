"""The supervisor: binds the listening sockets, starts the other processes, restarts them when they die.

Standard library only, and never busy, so that there is nothing in it that could fail or grow. The sockets
stay open here while children come and go: a connection that arrives meanwhile waits in the kernel's queue.

`python -m modelgrid.supervisor PLAN` takes its plan as JSON (`Plan`). Signals: SIGTERM and SIGINT end the
daemon after running requests finished, SIGHUP replaces every child without losing a request, engines run on.
A child says that it is ready by writing text to the descriptor `MODELGRID_READY_FD` and closing it; what it
wrote is printed when all are ready for the first time.
"""

import ctypes
import fcntl
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn, TypedDict

from modelgrid.listening import Listen, Sockets, remedy, say

STOP_SECONDS = 45.0
"""Longest time children get to finish; above the gateway's drain bound and below systemd's TimeoutStopSec."""
STABLE_SECONDS = 30.0
LONGEST_DELAY_SECONDS = 10.0
EXIT_USAGE = 2
PR_SET_PDEATHSIG = 1


class ChildPlan(TypedDict):
    name: str
    argv: list[str]
    """`{fd:NAME:INDEX}` in an argument becomes the numbers of the sockets' or the memory file's descriptors, separated
    by commas, and is empty where sockets could not be had; `{listening}` what is listened on in fact, as JSON."""


class Plan(TypedDict):
    lock: str
    """File locked while the daemon runs: one daemon per state directory."""
    listen: list[Listen]
    shared: list[str]
    """Names of memory files that children share. They last for as long as plans name them."""
    children: list[ChildPlan]
    again: list[str]
    """Program that prints the plan anew, from the configuration as it is then; it fails when that is refused."""


class Child:
    """One child process over all its restarts."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.argv: list[str] = []
        self.fds: list[int] = []
        self.process: subprocess.Popen[bytes] | None = None
        self.retiring: list[subprocess.Popen[bytes]] = []
        self.ready = False
        self.message = ""
        self.pipe = -1
        self.started = 0.0
        self.failures = 0
        self.start_at = 0.0

    def start(self) -> int:
        """Start the process; return the descriptor on which it will say that it is ready."""
        self.pipe, write_end = os.pipe()
        os.set_blocking(self.pipe, False)
        environment = {**os.environ, "MODELGRID_READY_FD": str(write_end)}
        environment.pop("NOTIFY_SOCKET", None)
        self.process = subprocess.Popen(
            self.argv,
            pass_fds=[*self.fds, write_end],
            env=environment,
            process_group=0,
            preexec_fn=_die_with_parent,  # noqa: PLW1509  the supervisor has one thread
        )
        os.close(write_end)
        self.started = time.monotonic()
        self.ready = False
        return self.pipe


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def notify_systemd(state: str) -> None:
    """Send `state` to the service manager, when there is one (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.connect("\0" + address[1:] if address.startswith("@") else address)
        channel.sendall(state.encode())


class Supervisor:
    def __init__(self, plan: Plan, sockets: Sockets) -> None:
        self._sockets = sockets
        self._shared: dict[str, int] = {}
        self._children: list[Child] = []
        self._plan = plan
        self._take(plan)
        self._planner: subprocess.Popen[bytes] | None = None
        self._printed = b""
        self._selector = selectors.DefaultSelector()
        self._announced = False
        self._stop_by: float | None = None
        self._exit_code = 0

    def run(self) -> int:
        """Run until told to stop; return the exit status."""
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_read, False)
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        self._selector.register(wake_read, selectors.EVENT_READ)
        for child in self._children:
            self._start(child)
        while not self._finished():
            for key, _ in self._selector.select(self._patience()):
                if key.fd == wake_read:
                    for signalled in os.read(wake_read, 4096):
                        self._signalled(signalled)
                elif key.data is None:
                    self._planned(key.fd)
                else:
                    self._heard(key.data, key.fd)
            self._reap()
            self._start_due()
        return self._exit_code

    def _start(self, child: Child) -> None:
        self._selector.register(child.start(), selectors.EVENT_READ, child)

    def _heard(self, child: Child, pipe: int) -> None:
        text = os.read(pipe, 65536)
        if text:
            if pipe == child.pipe:  # a process that was replaced before it was ready has nothing to say any more
                child.message += text.decode()
            return
        self._selector.unregister(pipe)
        os.close(pipe)
        if pipe != child.pipe or not child.message:
            return
        child.ready = True
        for old in child.retiring:
            old.terminate()
        if not self._announced and all(item.ready for item in self._children):
            self._announced = True
            notify_systemd("READY=1")
            sys.stdout.write("".join(item.message for item in self._children if item.message.strip() != "ready"))
            sys.stdout.flush()

    def _signalled(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._stop(0)
        elif number == signal.SIGHUP and self._stop_by is None:
            self._plan_again()

    def _take(self, plan: Plan) -> list[Child]:
        """Make the children those of `plan`; return the ones that are not among them any more."""
        self._plan = plan
        shared = {name: self._shared.pop(name, -1) for name in plan["shared"]}
        for descriptor in self._shared.values():
            os.close(descriptor)
        self._shared = {
            name: os.memfd_create(f"modelgrid-{name}") if descriptor < 0 else descriptor
            for name, descriptor in shared.items()
        }
        known = {child.name: child for child in self._children}
        self._children = []
        for item in plan["children"]:
            child = known.pop(item["name"], None) or Child(item["name"])
            child.argv, child.fds = self._arguments(item)
            self._children.append(child)
        return list(known.values())

    def _arguments(self, item: ChildPlan) -> tuple[list[str], list[int]]:
        """Return a child's arguments and the descriptors that it gets."""
        given: dict[str, list[int]] = {f"{{fd:{name}:0}}": [number] for name, number in self._shared.items()}
        for listen in self._plan["listen"]:
            name, count = listen["name"], listen["count"]
            group = self._sockets.get(name)
            given |= {
                f"{{fd:{name}:{index}}}": group.of_process(index, count) if group else [] for index in range(count)
            }
        listening = json.dumps(self._sockets.listening())
        argv = [
            ",".join(map(str, given[part])) if part in given else listening if part == "{listening}" else part
            for part in item["argv"]
        ]
        return argv, [number for part in item["argv"] for number in given.get(part, ())]

    def _plan_again(self) -> None:
        """Ask what the configuration wants now. The answer comes while everything goes on."""
        if self._planner is not None:
            return
        self._printed = b""
        self._planner = subprocess.Popen(self._plan["again"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self._selector.register(self._planner.stdout or 0, selectors.EVENT_READ)

    def _planned(self, pipe: int) -> None:
        text = os.read(pipe, 65536)
        self._printed += text
        planner = self._planner
        if text or planner is None or planner.stdout is None:
            return
        self._selector.unregister(planner.stdout)
        planner.stdout.close()
        self._planner = None
        if planner.wait() != 0:
            say("the configuration is refused: nothing was restarted")
        elif self._stop_by is None:
            self._roll(json.loads(self._printed))

    def _roll(self, plan: Plan) -> None:
        """Replace every child: gateways by new ones beside the old, control by a new one after the old."""
        self._sockets.keep([listen["name"] for listen in plan["listen"]])
        for listen in plan["listen"]:
            if why := self._sockets.follow(listen):
                say(why)
        gone = self._take(plan)
        heir = next(child for child in self._children if child.name != "control")
        for child in gone:
            heir.retiring += [*child.retiring, *([child.process] if child.process else [])]
        for child in self._children:
            if child.name == "control":
                if child.process is not None:
                    child.process.terminate()
                continue
            if child.process is not None:
                child.retiring.append(child.process)
            child.message = ""
            self._start(child)

    def _stop(self, exit_code: int) -> None:
        if self._stop_by is not None:
            return
        notify_systemd("STOPPING=1")
        self._exit_code = exit_code
        self._stop_by = time.monotonic() + STOP_SECONDS
        self._sockets.close_what_does_not_wait()
        for child in self._children:
            for process in (child.process, *child.retiring):
                if process is not None:
                    process.terminate()

    def _reap(self) -> None:
        for child in self._children:
            child.retiring = [process for process in child.retiring if process.poll() is None]
            if child.process is None or (code := child.process.poll()) is None:
                continue
            child.process = None
            if self._stop_by is not None:
                continue
            if code == EXIT_USAGE and not self._announced:
                self._stop(EXIT_USAGE)
                continue
            ran = time.monotonic() - child.started
            child.failures = 0 if code == 0 or ran > STABLE_SECONDS else child.failures + 1
            delay = min(0.1 * 2**child.failures, LONGEST_DELAY_SECONDS) if child.failures else 0.0
            child.start_at = time.monotonic() + delay
            if code != 0:
                how = f"killed by signal {-code}" if code < 0 else f"exited with status {code}"
                say(f"{child.name} {how} after {ran:.1f} s; starts again in {delay:.1f} s")
        if self._stop_by is not None and time.monotonic() > self._stop_by:
            for child in self._children:
                for process in (child.process, *child.retiring):
                    if process is not None:
                        say(f"{child.name} did not end in {STOP_SECONDS:.0f} s; killed")
                        process.kill()
            self._stop_by = float("inf")

    def _start_due(self) -> None:
        for child in self._children:
            if self._stop_by is None and child.process is None and time.monotonic() >= child.start_at:
                child.message = ""
                self._start(child)

    def _patience(self) -> float | None:
        now = time.monotonic()
        if self._stop_by is not None:
            return max(0.05, min(self._stop_by - now, 1.0))
        due = [child.start_at - now for child in self._children if child.process is None]
        return max(0.0, min(due)) if due else None

    def _finished(self) -> bool:
        return self._stop_by is not None and all(c.process is None and not c.retiring for c in self._children)


def main() -> NoReturn:
    plan: Plan = json.loads(sys.argv[1])
    lock = os.open(plan["lock"], os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"another daemon runs on this state directory ({Path(plan['lock']).parent.parent}). Stop it first.")
        sys.exit(1)
    sockets = Sockets()
    for listen in plan["listen"]:
        try:
            sockets.open(listen)
        except OSError as error:
            fix = remedy(error, listen["name"], listen["port"])
            say(f"cannot listen on {listen['host']}:{listen['port']}: {error.strerror}. {fix}")
            sys.exit(1)
    sys.exit(Supervisor(plan, sockets).run())


if __name__ == "__main__":
    main()
