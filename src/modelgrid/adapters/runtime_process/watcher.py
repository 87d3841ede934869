"""The watcher: one small process per engine. It outlives the daemon and does what only a parent can do.

It starts the engine as leader of a session of its own, takes its output to disk, learns its exit status and
sees to it that nothing of it is left behind. See `docs/decisions/0030-engine-watcher.md` for why it exists
and `docs/architecture/runtimes.md` for the whole picture.

Life: the daemon starts it with the launch as JSON on stdin. It detaches, takes the deployment's lock, forks
the engine *held back before exec*, writes the record durably, lets the engine go and answers with one JSON
line on stdout: `{"record": …}`, `{"exists": …}`, `{"busy": true}` or `{"error": …}`. A crash at any point
leaves either no engine or a recorded one.

Signals: SIGTERM asks the engine to end (to its whole group), SIGUSR1 kills it with everything it started.
When the watcher itself is killed, the kernel kills the engine (PR_SET_PDEATHSIG).
"""

# pathlib alone would cost the watcher about a megabyte, hence os and open.
# ruff: noqa: PTH108, PTH116
import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import sys
import time
from typing import Any, NoReturn

from modelgrid.adapters.runtime_process import files, procfs
from modelgrid.adapters.runtime_process.logfile import LineCutter, RotatingLog

LEFTOVER_GRACE_SECONDS = 0.5
"""What the engine's leader leaves behind gets this long to end by itself before it is killed."""
LEFTOVER_LIMIT_SECONDS = 10.0
"""A process that SIGKILL does not end for so long hangs in the kernel (a driver); it is reported, not awaited."""
OOM_SAMPLE_SECONDS = 10.0
OOM_SAMPLES = 3
"""An abnormal exit counts as out of memory when the kernel's count of such kills rose in the last 3 samples:
the engine's leader may need some seconds to notice that one of its workers was killed."""
LOCK_SECONDS = 3.0
"""Who holds the lock for longer without a record will not write one: it was damaged or taken away."""
READ_BYTES = 64 * 1024
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_EXEC_FAILED = 127


class Watcher:
    def __init__(self, launch: dict[str, Any]) -> None:
        self.launch = launch
        self.folder: str = launch["folder"]
        self.deployment: str = launch["deployment"]
        self.attempt: int = launch["attempt"]
        self.wakeup, wakeup_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        # The numbers of caught signals arrive as bytes on this pipe; the handlers themselves do nothing.
        os.set_blocking(wakeup_write, False)
        signal.set_wakeup_fd(wakeup_write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD):
            signal.signal(number, _nothing)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        self.libc = ctypes.CDLL(None, use_errno=True)
        # Whatever the engine's processes leave orphaned becomes our child, so nothing can slip away.
        self.libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.pid = 0
        self.start = 0
        self.asked_to_stop = False
        self.leader: os.waitid_result | None = None

    # Starting -----------------------------------------------------------------------------------------

    def run(self) -> None:
        deadline = time.monotonic() + LOCK_SECONDS
        while not self._take_lock():
            # Another start of this deployment is under way: what it records is then ours to report.
            if (known := self._known()) is not None:
                _answer({"exists": known})
                return
            if time.monotonic() > deadline:
                _answer({"busy": True})
                return
            time.sleep(0.02)
        try:
            self._run_locked()
        finally:
            # Unlinked while it is locked: who waits for it notices that it is not the present file any more.
            os.unlink(files.lock_path(self.folder, self.deployment))

    def _run_locked(self) -> None:
        if (known := self._known()) is not None:
            _answer({"exists": known})
            return
        log_path = files.log_path(self.folder, self.deployment, self.attempt)
        try:
            files.reserve(files.exit_path(self.folder, self.deployment, self.attempt))
            log = RotatingLog(log_path, self.launch["log_bytes"])
            record = self._start_engine()
        except OSError as error:
            _answer({"error": error.strerror or str(error), "errno": error.errno})
            return
        _answer({"record": record})
        _detach(log_path)
        self._watch(log)
        log.close()
        self._write_exit()

    def _known(self) -> dict[str, Any] | None:
        """Return the record of this attempt, or a newer one, when there is one already."""
        known = files.read_json(files.record_path(self.folder, self.deployment))
        return known if known is not None and known.get("attempt", 0) >= self.attempt else None

    def _take_lock(self) -> bool:
        """Hold the deployment's lock until this process ends; `False` when another watcher holds it."""
        path = files.lock_path(self.folder, self.deployment)
        while True:
            self.lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self.lock)
                return False
            # `remove` may have unlinked the file between open and flock: then lock the one that is there now.
            with contextlib.suppress(FileNotFoundError):
                if os.stat(path).st_ino == os.fstat(self.lock).st_ino:
                    return True
            os.close(self.lock)

    def _start_engine(self) -> dict[str, Any]:
        out_read, out_write = os.pipe2(os.O_CLOEXEC)
        err_read, err_write = os.pipe2(os.O_CLOEXEC)
        gate_read, gate_write = os.pipe2(os.O_CLOEXEC)
        failure_read, failure_write = os.pipe2(os.O_CLOEXEC)
        watcher_pid = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(gate_write)
            self._become_engine(watcher_pid, gate_read, failure_write, out_write, err_write)
        for descriptor in (out_write, err_write, gate_read, failure_write):
            os.close(descriptor)
        self.streams = {out_read: ("stdout", LineCutter()), err_read: ("stderr", LineCutter())}
        for descriptor in self.streams:
            os.set_blocking(descriptor, False)
        engine, own = procfs.read_stat(self.pid), procfs.read_stat(watcher_pid)
        if engine is None or own is None:
            raise ChildProcessError("/proc does not show the engine's process")
        self.start = engine.start
        record = {
            "owner": self.launch["owner"],
            "kind": self.launch["kind"],
            "deployment": self.deployment,
            "attempt": self.attempt,
            "url": self.launch["url"],
            "pid": self.pid,
            "start": self.start,
            "watcher_pid": watcher_pid,
            "watcher_start": own.start,
            "boot_id": procfs.boot_id(),
            "started_at": time.time(),
        }
        path = files.record_path(self.folder, self.deployment)
        files.write_durably(path, record)
        os.write(gate_write, b"1")
        os.close(gate_write)
        failure = os.read(failure_read, 16)
        os.close(failure_read)
        if failure:
            os.waitpid(self.pid, 0)
            os.unlink(path)
            number = int(failure)
            raise OSError(number, os.strerror(number))
        return record

    def _become_engine(self, watcher_pid: int, gate: int, failure: int, out: int, err: int) -> NoReturn:
        """In the forked child: wait for the record to be written, then turn into the engine's program."""
        try:
            os.setsid()
            self.libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != watcher_pid or not os.read(gate, 1):
                os._exit(_EXEC_FAILED)
            for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores these two; ignored is inherited
                signal.signal(number, signal.SIG_DFL)
            os.chdir(self.launch["cwd"])
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(out, 1)
            os.dup2(err, 2)
            os.execvpe(self.launch["argv"][0], self.launch["argv"], self.launch["env"])  # noqa: S606
        except OSError as error:
            os.write(failure, str(error.errno).encode())
        finally:
            os._exit(_EXEC_FAILED)

    # Watching -----------------------------------------------------------------------------------------

    def _watch(self, log: RotatingLog) -> None:
        poll = select.poll()
        poll.register(self.wakeup, select.POLLIN)
        for descriptor in self.streams:
            poll.register(descriptor, select.POLLIN)
        self.oom_counts = [procfs.kernel_oom_kills()]
        sample_at = time.monotonic() + OOM_SAMPLE_SECONDS
        ended_at = 0.0
        while True:
            wait = 0.02 if self.leader else max(0.0, sample_at - time.monotonic())
            for descriptor, _ in poll.poll(wait * 1000):
                if descriptor == self.wakeup:
                    self._signals()
                elif not self._pump(descriptor, log):
                    poll.unregister(descriptor)
            if not self.leader and time.monotonic() >= sample_at:
                sample_at = time.monotonic() + OOM_SAMPLE_SECONDS
                self.oom_counts = [*self.oom_counts, procfs.kernel_oom_kills()][-OOM_SAMPLES:]
            if self.leader:
                ended_at = ended_at or time.monotonic()
                if self._leftovers_gone(time.monotonic() - ended_at):
                    break
        for descriptor, (stream, cutter) in list(self.streams.items()):
            while self._pump(descriptor, log):
                pass
            log.write(stream, cutter.end())

    def _signals(self) -> None:
        caught = os.read(self.wakeup, 4096)
        if signal.SIGUSR1 in caught:
            self.asked_to_stop = True
            self._kill_all()
        elif signal.SIGTERM in caught:
            self.asked_to_stop = True
            self._signal_group(signal.SIGTERM)
        self._reap()

    def _pump(self, descriptor: int, log: RotatingLog) -> bool:
        """Take what the engine wrote; `False` when there is no more (for the moment, after its end)."""
        stream, cutter = self.streams[descriptor]
        try:
            data = os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            return False
        log.write(stream, cutter.feed(data))
        return bool(data)

    # Ending -------------------------------------------------------------------------------------------

    def _reap(self) -> None:
        """Bury adopted children; only look at the leader, whose body keeps its pid and group from being reused."""
        while self.leader is None:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is None:
                return
            if found.si_pid == self.pid:
                self.leader = found
                self.ended = time.time()
                self._signal_group(signal.SIGTERM)
            else:
                os.waitpid(found.si_pid, os.WNOHANG)

    def _signal_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _kill_all(self) -> None:
        self._signal_group(signal.SIGKILL)
        for stat in procfs.descendants(os.getpid()):
            if stat.running:
                procfs.send(stat.pid, stat.start, signal.SIGKILL)

    def _leftovers_gone(self, since: float) -> bool:
        left = []
        for stat in procfs.descendants(os.getpid()):
            if stat.pid == self.pid:
                continue
            if not stat.running and stat.parent == os.getpid():
                os.waitpid(stat.pid, os.WNOHANG)
            else:
                left.append(stat)
        self.stuck = [stat.pid for stat in left]
        if not left or since > LEFTOVER_LIMIT_SECONDS:
            return True
        if since > LEFTOVER_GRACE_SECONDS:
            self._kill_all()
        return False

    def _write_exit(self) -> None:
        assert self.leader is not None  # noqa: S101  (`_watch` returns no earlier)
        killed = self.leader.si_code != os.CLD_EXITED
        abnormal = killed or self.leader.si_status != 0
        report = {
            "at": self.ended,
            "code": None if killed else self.leader.si_status,
            "signal": self.leader.si_status if killed else None,
            "out_of_memory": abnormal and not self.asked_to_stop and procfs.kernel_oom_kills() > self.oom_counts[0],
            "error": f"processes {self.stuck[:9]} hang in the kernel and cannot be killed" if self.stuck else "",
        }
        files.fill(files.exit_path(self.folder, self.deployment, self.attempt), report)


def _nothing(_number: int, _frame: object) -> None: ...


def _answer(answer: dict[str, Any]) -> None:
    # A daemon that died meanwhile will find the record when it is back.
    with contextlib.suppress(BrokenPipeError):
        os.write(1, json.dumps(answer).encode())


def _detach(log_path: str) -> None:
    """Give back the daemon's pipes: it waits for their end. Our own last words go to the engine's log."""
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open(log_path, os.O_WRONLY | os.O_APPEND)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.dup2(log, 2)
    os.close(null)
    os.close(log)


def main() -> None:
    """Entry point; see `runtime.BOOT`."""
    launch = json.loads(sys.stdin.buffer.read())
    # The daemon waits for the process that it started; init (or the nearest reaper) inherits the other.
    if os.fork() == 0:
        Watcher(launch).run()
    os._exit(0)
