"""Log lines that look like vLLM's, written through at once."""

import os
import sys
import time


def info(source: str, message: str, *, process: str = "APIServer") -> None:
    _write("INFO", source, message, process)


def warning(source: str, message: str, *, process: str = "APIServer") -> None:
    _write("WARNING", source, message, process)


def error(source: str, message: str, *, process: str = "EngineCore") -> None:
    """Write `message`, each of its lines behind the prefix, as vLLM's formatter does."""
    for line in message.splitlines():
        _write("ERROR", source, line, process)


def plain(line: str) -> None:
    """Write a line as uvicorn and tqdm do: to stderr, without vLLM's prefix."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def access(line: str) -> None:
    """Write a line of uvicorn's access log."""
    print(line, flush=True)  # noqa: T201


def _write(level: str, source: str, message: str, process: str) -> None:
    at = time.strftime("%m-%d %H:%M:%S")
    print(f"({process} pid={os.getpid()}) {level} {at} [{source}] {message}", flush=True)  # noqa: T201
