"""The runtimes `process` and `simulated`: engines as processes that outlive the daemon."""

import asyncio
import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Collection
from pathlib import Path
from typing import Any

from modelgrid.adapters.runtime_process import files, logs, procfs, records
from modelgrid.adapters.runtime_process.records import EngineRecord
from modelgrid.domain.engine import (
    EngineExit,
    EngineLaunch,
    EngineRef,
    EngineState,
    EngineStats,
    EngineStatus,
    LogLine,
    PullProgress,
    RuntimeHealth,
)
from modelgrid.domain.errors import Conflict, InvalidInput, LaunchRefused, RuntimeUnavailable, StorageFull
from modelgrid.domain.ids import DeploymentId
from modelgrid.domain.target import RuntimeKind

LOG_BYTES = 10 * 1024**2
"""Size of one log file; three are kept (`files.LOG_FILES`)."""
START_SECONDS = 10.0
"""Bound for the watcher to answer; it takes about 30 ms."""
KILL_SECONDS = 15.0
"""Bound for a killed engine to be gone. A process that hangs in a driver can exceed it."""
OLD_ATTEMPT_GRACE_SECONDS = 5.0
BOOT = (
    "import sys; m = type(sys)('modelgrid'); m.__path__ = [sys.argv[1]]; sys.modules['modelgrid'] = m\n"
    "from modelgrid.adapters.runtime_process.watcher import main; main()"
)
"""Starts the watcher in an isolated interpreter without site-packages, and without the package's own
`__init__`, which reads its version from there: 10 MB resident and 25 ms instead of twice that."""
INHERITED = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|VIRTUAL_ENV|LD_LIBRARY_PATH|XDG_CACHE_HOME|"
    r"(?:https?|HTTPS?|no|NO|all|ALL)_(?:proxy|PROXY)|SSL_CERT_\w+|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|"
    r"(?:HF|HUGGINGFACE|TRANSFORMERS|VLLM|CUDA|NVIDIA|NCCL|ROCM|ROCR|HIP|HSA|RCCL|ZE|SYCL|ONEAPI|CCL|OMP|MKL|"
    r"TORCH|PYTORCH|TORCHINDUCTOR|TRITON|UCX|GLOO)_\w+"
)
"""Variables of the daemon that its engines inherit. An allow-list: model code has no business with the rest,
for example the database's URL."""
_PATTERN_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PATTERN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class ProcessRuntime:
    """Implements `ports.runtime.Runtime` for programs of this host.

    `directory` holds records, locks and logs (mode 0700, made when missing) and belongs to one daemon;
    `owner` is the id of its state directory. `kind` is `PROCESS` or `SIMULATED`. `program` is what `health`
    looks for on the PATH; empty looks for nothing.

    `EngineLaunch.mounts`, `image`, `shm_bytes` and `network` mean nothing here: a process sees the host's files.
    """

    def __init__(
        self, kind: RuntimeKind, directory: Path, owner: str, *, program: str = "", log_bytes: int = LOG_BYTES
    ) -> None:
        self.kind = kind
        self._folder = directory.absolute()
        self._owner = owner
        self._program = program
        self._log_bytes = log_bytes
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._cpu: dict[str, tuple[float, int]] = {}

    async def health(self) -> RuntimeHealth:
        def problem() -> tuple[str, str]:
            if not hasattr(os, "pidfd_open"):
                return "This system has no pidfd_open.", "Use Linux 5.4 or newer."
            try:
                self._make_folder()
            except OSError as error:
                return f"{self._folder} cannot be written: {error.strerror}.", "Give the daemon's user this folder."
            if self._program and shutil.which(self._program) is None:
                return (
                    f"`{self._program}` is not on the daemon's PATH.",
                    f"Install it and add its folder to the daemon's PATH: "
                    f"`python3 -m venv /opt/vllm && /opt/vllm/bin/pip install {self._program}`.",
                )
            return "", ""

        text, fix = await asyncio.to_thread(problem)
        return RuntimeHealth(kind=self.kind, available=not text, problem=text, fix=fix)

    async def prepare(self, launch: EngineLaunch, progress: Callable[[PullProgress], None]) -> None:
        _check(launch)
        env = self._environment(launch)
        program = launch.argv[0]
        if await asyncio.to_thread(shutil.which, program, path=env.get("PATH", os.defpath)) is None:
            raise LaunchRefused(
                f"The program `{program}` was not found, or is not executable.",
                fix="Install vLLM and put its folder on the daemon's PATH, or use the runtime `docker`.",
                program=program,
            )

    async def start(self, launch: EngineLaunch) -> EngineRef:
        _check(launch)
        async with self._lock(launch.deployment):
            record = await asyncio.to_thread(records.read, self._folder, launch.deployment)
            if record is not None and record.attempt >= launch.attempt:
                return _same(record, launch)
            if record is not None:
                await self.stop(record.ref, OLD_ATTEMPT_GRACE_SECONDS)
                await asyncio.to_thread(self._remove, record.ref)
            answer = await asyncio.to_thread(self._spawn, launch)
            if "busy" in answer:
                # A watcher without a readable record: another daemon starts it right now, or the record was
                # damaged. Only the mark in the engine's environment can tell what belongs to it.
                record = await asyncio.to_thread(records.read, self._folder, launch.deployment)
                if record is not None:
                    return _same(record, launch)
                await self._end_unrecorded(launch.deployment)
                answer = await asyncio.to_thread(self._spawn, launch)
            return self._answered(answer, launch)

    def _answered(self, answer: dict[str, Any], launch: EngineLaunch) -> EngineRef:
        record = records.parse(answer.get("record") or answer.get("exists"))
        if record is not None:
            return _same(record, launch)
        if answer.get("errno") == errno.ENOSPC:
            self._remove_files(launch.deployment, launch.attempt)
            raise StorageFull("The engine's record could not be written: the disk is full.", fix="Free some space.")
        if "error" in answer:
            self._remove_files(launch.deployment, launch.attempt)
            raise LaunchRefused(
                f"`{launch.argv[0]}` could not be started: {answer['error']}.",
                fix="Check that the program exists and may be executed by the daemon's user.",
                program=launch.argv[0],
            )
        raise RuntimeUnavailable(f"The watcher of {launch.deployment} is busy with another start.", fix="Try again.")

    def _spawn(self, launch: EngineLaunch) -> dict[str, Any]:
        """Run the watcher's first process, which ends as soon as the engine was started. Blocks."""
        self._make_folder()
        request = {
            "folder": str(self._folder),
            "owner": self._owner,
            "kind": self.kind,
            "deployment": launch.deployment,
            "attempt": launch.attempt,
            "url": f"http://127.0.0.1:{launch.port}",
            "argv": launch.argv,
            "env": self._environment(launch),
            "cwd": str(self._folder),
            "log_bytes": self._log_bytes,
        }
        package = str(Path(__file__).parents[2])
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-S", "-c", BOOT, package, launch.deployment],
                input=json.dumps(request).encode(),
                capture_output=True,
                timeout=START_SECONDS,
                env={"PATH": os.defpath},
                start_new_session=True,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise RuntimeUnavailable(f"The watcher of {launch.deployment} did not answer.", fix="Try again.") from None
        except OSError as error:
            raise RuntimeUnavailable(
                f"No process can be started: {error.strerror}.", fix="Check memory and the limit on processes."
            ) from error
        try:
            answer = json.loads(done.stdout)
        except ValueError:
            words = done.stderr.decode("utf-8", "replace").strip().rsplit("\n", 1)[-1]
            raise RuntimeUnavailable(f"The watcher of {launch.deployment} failed: {words}") from None
        if not isinstance(answer, dict):
            raise RuntimeUnavailable(f"The watcher of {launch.deployment} answered nonsense.")
        return answer

    def _environment(self, launch: EngineLaunch) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if INHERITED.fullmatch(name)}
        return {
            "PYTHONUNBUFFERED": "1",
            # py-setproctitle, which vLLM uses, overwrites the environment in /proc, and our mark with it, unless told.
            "SPT_NOENV": "1",
            **inherited,
            **launch.env,
            **self._mark(launch.deployment),
            "MODELGRID_ATTEMPT": str(launch.attempt),
        }

    def _mark(self, deployment: str) -> dict[str, str]:
        return {"MODELGRID_DEPLOYMENT": deployment, "MODELGRID_OWNER": self._owner}

    def _make_folder(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def find(self) -> tuple[EngineRef, ...]:
        found = await asyncio.to_thread(records.read_all, self._folder)
        return tuple(record.ref for record in found if record.owner == self._owner and record.kind == self.kind)

    async def inspect(self, ref: EngineRef) -> EngineStatus:
        def read() -> EngineStatus:
            record = self._record(ref)
            return EngineStatus(state=EngineState.GONE) if record is None else records.status(self._folder, record)

        return await asyncio.to_thread(read)

    async def wait(self, ref: EngineRef) -> EngineExit | None:
        record = await asyncio.to_thread(self._record, ref)
        if record is None:
            return None
        if record.boot_id == procfs.boot_id():  # of an earlier boot, the numbers may now be anybody's
            await _ended(record.watcher_pid, record.watcher_start, None)
            await _ended(record.pid, record.start, None)
        return (await self.inspect(ref)).exit

    async def stop(self, ref: EngineRef, grace_seconds: float) -> None:
        record = await asyncio.to_thread(self._record, ref)
        if record is None:
            return
        if grace_seconds > 0 and await asyncio.to_thread(self._signal, record, signal.SIGTERM, signal.SIGTERM):
            await _ended(record.watcher_pid, record.watcher_start, grace_seconds)
        deadline = time.monotonic() + KILL_SECONDS
        while await asyncio.to_thread(self._signal, record, signal.SIGUSR1, signal.SIGKILL):
            if time.monotonic() > deadline:
                raise RuntimeUnavailable(
                    f"The processes of {ref.deployment} were killed and do not end; they hang in the kernel.",
                    fix="Look for driver errors with `dmesg`; a reboot may be needed.",
                )
            await _ended(record.watcher_pid, record.watcher_start, 1.0)
            await asyncio.sleep(0.02)

    def _signal(self, record: EngineRecord, to_watcher: int, to_others: int) -> bool:
        """Signal the watcher, or without one whatever is left of the engine; return whether anything was there.

        Blocks: without a watcher, all of /proc is read."""
        if record.boot_id != procfs.boot_id():
            return False
        if procfs.send(record.watcher_pid, record.watcher_start, to_watcher):
            return True
        left = {(stat.pid, stat.start) for stat in self._marked(record.deployment)} | {(record.pid, record.start)}
        return [procfs.send(pid, start, to_others) for pid, start in left].count(True) > 0

    def _marked(self, deployment: str) -> list[procfs.ProcessStat]:
        return procfs.marked(tuple(f"{name}={value}".encode() for name, value in self._mark(deployment).items()))

    async def _end_unrecorded(self, deployment: str) -> None:
        def kill() -> bool:
            left = self._marked(deployment)
            return [procfs.send(stat.pid, stat.start, signal.SIGKILL) for stat in left].count(True) > 0

        deadline = time.monotonic() + KILL_SECONDS
        while await asyncio.to_thread(kill):
            if time.monotonic() > deadline:
                raise RuntimeUnavailable(f"Unrecorded processes of {deployment} cannot be killed.")
            await asyncio.sleep(0.1)

    async def remove(self, ref: EngineRef) -> None:
        async with self._lock(ref.deployment):
            await asyncio.to_thread(self._remove, ref)

    def _remove(self, ref: EngineRef) -> None:
        """Blocks. Needs the deployment's lock, so that nobody starts a new attempt meanwhile."""
        record = self._record(ref)
        if record is None:
            return
        if records.status(self._folder, record).state is EngineState.RUNNING:
            raise Conflict(f"The engine of {ref.deployment} runs.", fix="Stop it first.")
        self._remove_files(ref.deployment, ref.attempt)
        self._cpu.pop(ref.id, None)

    def _lock(self, deployment: str) -> asyncio.Lock:
        return self._locks.setdefault(deployment, asyncio.Lock())

    def _remove_files(self, deployment: str, attempt: int) -> None:
        """The record goes last: what a crash leaves behind is then found again. Blocks."""
        folder = str(self._folder)
        log = files.log_path(folder, deployment, attempt)
        for path in (
            *files.log_paths(log),
            files.exit_path(folder, deployment, attempt),
            files.record_path(folder, deployment),
        ):
            Path(path).unlink(missing_ok=True)
        # A watcher takes its lock file with it, but for one that was killed.
        with (
            contextlib.suppress(FileNotFoundError, BlockingIOError),
            Path(files.lock_path(folder, deployment)).open() as lock,
        ):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            Path(lock.name).unlink(missing_ok=True)

    async def logs(self, ref: EngineRef, *, tail: int = 500, follow: bool = False) -> AsyncGenerator[LogLine]:
        record = await asyncio.to_thread(self._record, ref)
        if record is None:
            return
        path = files.log_path(str(self._folder), ref.deployment, ref.attempt)
        async with contextlib.aclosing(logs.read_log(path, tail=tail, follow=follow, running=record.watched)) as lines:
            async for line in lines:
                yield line

    async def stats(self, ref: EngineRef) -> EngineStats:
        def read() -> tuple[EngineStats, int]:
            record = self._record(ref)
            if record is None or not record.watched():
                return EngineStats(), 0
            running = [stat for stat in procfs.descendants(record.watcher_pid) if stat.running]
            pids = [stat.pid for stat in running]
            memory = procfs.memory_bytes(pids)
            return EngineStats(memory_bytes=memory, pids=tuple(pids)), sum(stat.cpu_ticks for stat in running)

        stats, ticks = await asyncio.to_thread(read)
        now = time.monotonic()
        before = self._cpu.get(ref.id)
        self._cpu[ref.id] = (now, ticks)
        if before is None or now <= before[0] or not stats.pids:
            return stats
        percent = max(0.0, (ticks - before[1]) / procfs.CLOCK_TICKS / (now - before[0]) * 100)
        return EngineStats(memory_bytes=stats.memory_bytes, cpu_percent=percent, pids=stats.pids)

    async def sweep(self, keep: Collection[DeploymentId]) -> tuple[EngineRef, ...]:
        swept = [ref for ref in await self.find() if ref.deployment not in keep]
        for ref in swept:
            await self.stop(ref, OLD_ATTEMPT_GRACE_SECONDS)
            await self.remove(ref)
        return tuple(swept)

    async def close(self) -> None:
        self._locks.clear()
        self._cpu.clear()

    def _record(self, ref: EngineRef) -> EngineRecord | None:
        """Return the record of exactly this engine; `None` when it was removed or replaced. Blocks."""
        if not _PATTERN_ID.fullmatch(ref.deployment):
            return None
        record = records.read(self._folder, ref.deployment)
        return record if record is not None and record.owner == self._owner and record.ref.id == ref.id else None


def _same(record: EngineRecord, launch: EngineLaunch) -> EngineRef:
    if record.attempt != launch.attempt:
        raise LaunchRefused(
            f"Attempt {record.attempt} of {launch.deployment} was started already, {launch.attempt} is outdated.",
            attempt=record.attempt,
        )
    return record.ref


def _check(launch: EngineLaunch) -> None:
    """Raises `InvalidInput` for what no operating system call would carry, or what would leave the folder."""
    if not _PATTERN_ID.fullmatch(launch.deployment):
        raise InvalidInput(f"`{launch.deployment!r}` is no deployment id: lower-case letters, digits and dashes.")
    if not launch.argv or not launch.argv[0]:
        raise InvalidInput("An engine needs a command.")
    if any("\0" in argument for argument in launch.argv):
        raise InvalidInput("An argument of the engine holds a NUL character.")
    for name, value in launch.env.items():
        if not _PATTERN_NAME.fullmatch(name):
            raise InvalidInput(f"`{name!r}` is no name of an environment variable.")
        if "\0" in value:
            raise InvalidInput(f"The environment variable `{name}` holds a NUL character.")


async def _ended(pid: int, start: int, seconds: float | None) -> None:
    """Return when that very process has ended, or after `seconds`. Costs nothing while it waits."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    try:
        # The pidfd pins the process; only now its start time says whether it is the one.
        if not procfs.alive(pid, start):
            return
        loop.add_reader(handle, _settle, ended)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await ended
    finally:
        loop.remove_reader(handle)
        os.close(handle)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
