"""NVIDIA XID errors from the kernel log, read as it grows."""

import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

_XID = re.compile(r"NVRM: Xid \((?:PCI:)?([0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2})(?:\.[0-9a-fA-F])?\): (\d+)")
"""`NVRM: Xid (PCI:0000:01:00): 79, pid=1234, GPU has fallen off the bus.` (NVIDIA, "XID Errors")."""
_CHUNK = 8192
"""/dev/kmsg hands out one record per read and EINVAL when it does not fit; records are at most 8 KiB."""
_JOURNAL_INTERVAL_SECONDS = 60.0
_JOURNAL_TIMEOUT_SECONDS = 2.0
_JOURNAL = ("journalctl", "--dmesg", "--boot", "--output=cat", "--grep=NVRM: Xid", "--no-pager", "--quiet")


class KernelLog:
    """XID codes per PCI address since boot.

    Keeps /dev/kmsg open between calls, so each call reads only what is new. Where it may not be opened
    (`kernel.dmesg_restrict` and no CAP_SYSLOG) the journal is asked, at most once a minute. Not thread-safe.
    """

    def __init__(self, root: Path = Path("/"), monotonic: Callable[[], float] = time.monotonic) -> None:
        self._root = root
        self._monotonic = monotonic
        self._fd: int | None = None
        self._rest = ""
        self._journal_due = 0.0
        self._codes: dict[str, dict[int, None]] = {}

    def xids(self, pci_address: str) -> tuple[int, ...]:
        """Return the codes logged for a device (`0000:01:00.0`), oldest first, without repeats."""
        return tuple(self._codes.get(_slot(pci_address), ()))

    def poll(self) -> None:
        """Read what was logged since the last call. Blocking for some milliseconds, up to 2 s for the journal."""
        if self._fd is None:
            try:
                self._fd = os.open(self._root / "dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:
                self._poll_journal()
                return
        while True:
            try:
                data = os.read(self._fd, _CHUNK)
            except BlockingIOError:
                return
            except BrokenPipeError:
                continue  # records were overwritten before we read them; the next read starts at the oldest kept
            except OSError:
                self.close()
                return
            if not data:
                return
            lines = (self._rest + data.decode("utf-8", "replace")).split("\n")
            self._rest = lines.pop()
            self._take(lines)

    def close(self) -> None:
        """Close /dev/kmsg. Calling it twice is harmless; `poll` opens it again."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _poll_journal(self) -> None:
        now = self._monotonic()
        if self._root != Path("/") or now < self._journal_due:
            return
        self._journal_due = now + _JOURNAL_INTERVAL_SECONDS
        try:
            done = subprocess.run(
                _JOURNAL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_JOURNAL_TIMEOUT_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return
        self._take(done.stdout.splitlines())

    def _take(self, lines: list[str]) -> None:
        for line in lines:
            match = _XID.search(line)
            if match is not None:
                self._codes.setdefault(_slot(match[1]), {})[int(match[2])] = None


def _slot(pci_address: str) -> str:
    """Return domain:bus:device with a four-digit domain, without the function, in lower case."""
    domain, bus, device = pci_address.lower().split(".")[0].split(":")
    return f"{int(domain, 16):04x}:{bus}:{device}"
