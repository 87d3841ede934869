"""Processes as `/proc` tells them: identity, kinship, use of resources, and signals that cannot hit a stranger.

Linux only. Plain blocking functions, a few microseconds per process. Standard library only and few imports:
the watcher of every engine loads this module, and each megabyte counts once per engine.
"""

# pathlib alone would cost the watcher about a megabyte, hence os and open.
# ruff: noqa: PTH123, PTH208
import contextlib
import os
import signal

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class ProcessStat:
    """One line of `/proc/<pid>/stat` (proc_pid_stat(5)). `(pid, start)` names a process for the whole boot:
    pids come back, the pair does not."""

    __slots__ = ("cpu_ticks", "group", "parent", "pid", "running", "start")

    def __init__(self, pid: int, line: str) -> None:
        # The second field is the program's name in parentheses and may itself hold spaces and parentheses.
        fields = line[line.rindex(")") + 2 :].split()
        self.pid = pid
        self.running = fields[0] not in "ZX"
        self.parent = int(fields[1])
        self.group = int(fields[2])
        self.cpu_ticks = int(fields[11]) + int(fields[12])
        self.start = int(fields[19])


def read_stat(pid: int) -> ProcessStat | None:
    """Return the process, zombies included; `None` when there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return ProcessStat(pid, file.read())
    except (FileNotFoundError, ProcessLookupError):
        return None


def alive(pid: int, start: int) -> bool:
    """Return whether that very process runs; a zombie does not, nor does another that got its pid."""
    stat = read_stat(pid)
    return stat is not None and stat.start == start and stat.running


def all_processes() -> dict[int, ProcessStat]:
    """Return every process of this pid namespace by pid."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (stat := read_stat(int(name))) is not None:
            found[stat.pid] = stat
    return found


def descendants(root: int) -> list[ProcessStat]:
    """Return children, grandchildren and so on of `root`, zombies included."""
    children: dict[int, list[ProcessStat]] = {}
    for stat in all_processes().values():
        children.setdefault(stat.parent, []).append(stat)
    found: list[ProcessStat] = []
    queue = [root]
    while queue:
        below = children.get(queue.pop(), [])
        found.extend(below)
        queue.extend(stat.pid for stat in below)
    return found


def marked(marks: tuple[bytes, ...]) -> list[ProcessStat]:
    """Return the running processes that were started with all of `marks` (`NAME=value`) in their environment.

    Processes whose environment we may not read are not ours."""
    found = []
    for stat in all_processes().values():
        if not stat.running:
            continue
        try:
            with open(f"/proc/{stat.pid}/environ", "rb") as file:
                entries = file.read().split(b"\0")
        except OSError:
            continue
        if all(mark in entries for mark in marks):
            found.append(stat)
    return found


def send(pid: int, start: int, number: int) -> bool:
    """Send signal `number` to exactly that process; return whether it was there.

    The pidfd pins the process before its start time is compared, so a pid that is given to another process
    in between is never hit."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if not alive(pid, start):
            return False
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, number)
            return True
        return False
    finally:
        os.close(handle)


def memory_bytes(pids: list[int]) -> int | None:
    """Return the resident memory of these processes together; `None` when none of them is there.

    Pages that they share are counted once, as large as the largest sharer has them (an estimate: the exact
    figure, Pss, makes the kernel walk the page tables of every engine, which takes tens of milliseconds)."""
    private = 0
    shared = 0
    seen = False
    for pid in pids:
        try:
            with open(f"/proc/{pid}/statm", encoding="ascii") as file:
                fields = file.read().split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        seen = True
        private += int(fields[1]) - int(fields[2])
        shared = max(shared, int(fields[2]))
    return (private + shared) * PAGE_BYTES if seen else None


def boot_id() -> str:
    """Return the id of this boot: pids and start times mean nothing in another one."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def boot_time() -> float:
    """Return when the host was started, seconds since the epoch."""
    with open("/proc/stat", encoding="ascii") as file:
        return next(float(line.split()[1]) for line in file if line.startswith("btime "))


def kernel_oom_kills() -> int:
    """Return how often the kernel has killed a process of this host for want of memory since boot.

    Includes kills for a cgroup's limit. 0 on kernels before 4.13, which do not count them."""
    with open("/proc/vmstat", encoding="ascii") as file:
        return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)
