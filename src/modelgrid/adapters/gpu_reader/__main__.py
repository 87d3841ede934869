"""The child: answers one request line at a time on its standard input, until that closes or nobody asks any more.

An unexpected exception ends it with a traceback on standard error; the daemon then reports the probe as failed and
starts a new child at its next question.
"""

import os
import select
import sys
from importlib import import_module
from pathlib import Path
from typing import cast

import msgspec

from modelgrid.adapters.gpu_reader.wire import Failure, Reply, Request
from modelgrid.domain.errors import ModelGridError
from modelgrid.ports.gpu_probe import GpuProbe

IDLE_EXIT_SECONDS = 60.0
"""A child that nobody asks for this long gives its memory back; the next question starts another."""
_CHUNK = 65536


def load_probe(factory: str, root: Path) -> GpuProbe:
    """Return `module:callable` called with the root of the file system it shall read."""
    module, _, name = factory.partition(":")
    return cast("GpuProbe", getattr(import_module(module), name)(root))


def answer(probe: GpuProbe, request: Request) -> Reply:
    """Ask the probe. A `ModelGridError` is part of the answer; anything else is a bug and ends the child."""
    try:
        if request.verb == "read":
            return Reply(id=request.id, gpus=probe.read())
        return Reply(id=request.id, report=probe.drivers())
    except ModelGridError as error:
        return Reply(id=request.id, failure=Failure(message=error.message, fix=error.fix))


def serve(probe: GpuProbe, requests: int, replies: int) -> None:
    """Answer requests from one file descriptor on another until the first closes or falls silent."""
    decoder = msgspec.json.Decoder(Request)
    buffer = b""
    while True:
        ready, _, _ = select.select([requests], [], [], IDLE_EXIT_SECONDS)
        if not ready:
            return
        data = os.read(requests, _CHUNK)
        if not data:
            return
        buffer += data
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            message = memoryview(msgspec.json.encode(answer(probe, decoder.decode(line))) + b"\n")
            while message:
                message = message[os.write(replies, message) :]


def main(arguments: list[str]) -> None:
    """Run with the probe's factory and root as arguments. Standard output belongs to the replies."""
    factory, root = arguments
    replies = os.dup(1)
    # Vendor libraries and tools print as they please; nothing of theirs may get between the replies.
    os.dup2(2, 1)
    try:
        serve(load_probe(factory, Path(root)), 0, replies)
    except (BrokenPipeError, ConnectionResetError):
        return  # the daemon is gone; nobody is left to answer


if __name__ == "__main__":
    main(sys.argv[1:])
