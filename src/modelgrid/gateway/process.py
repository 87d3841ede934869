"""`python -m modelgrid.gateway --index 0 --fd N --board N --link PATH --cache PATH`: one worker of the data plane."""

import argparse
import asyncio
import ctypes
import gc
import logging
import os
import resource
import socket
import ssl
import sys
from pathlib import Path

import uvloop

from modelgrid.gateway.board import Board, BoardError
from modelgrid.gateway.log_format import LineFormatter
from modelgrid.gateway.log_lines import LineKeeper
from modelgrid.gateway.peer_port import PeerPort
from modelgrid.gateway.server import ClientPort, GatewayServer
from modelgrid.gateway.tls import tls_of_server

log = logging.getLogger(__name__)

GC_THRESHOLD = 5_000
"""Objects between two collections. Neither requests nor connections leave cycles behind, so the default of 700 only
costs time."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
KEPT_BYTES = 16 * 1024 * 1024
"""Freed memory that the process keeps for what comes next, at most."""
MAPPED_BYTES = 4 * 1024 * 1024
"""A piece of memory from this size on is the kernel's again as soon as it is freed."""


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="modelgrid.gateway", description="One worker of the data plane.")
    parser.add_argument("--index", type=int, default=0, help="number of this worker, from 0")
    parser.add_argument("--fd", type=_numbers, required=True, help="file descriptors of the listening sockets: N,N,…")
    parser.add_argument("--board", type=int, required=True, help="file descriptor of the page that all workers share")
    parser.add_argument("--workers", type=int, default=1, help="number of workers of this daemon")
    parser.add_argument("--link", type=Path, required=True, help="Unix socket on which control listens")
    parser.add_argument("--cache", type=Path, required=True, help="where the last routing table is kept")
    parser.add_argument("--tls-certificate", type=Path, help="with which clients are answered, PEM; without: no TLS")
    parser.add_argument("--tls-key", type=Path, help="of that certificate, PEM")
    parser.add_argument(
        "--peers", type=_numbers, default=[], help="descriptors of the sockets for other nodes' gateways"
    )
    parser.add_argument("--certificate", type=Path, help="with which this node answers there, PEM")
    parser.add_argument("--key", type=Path, help="of the certificate, PEM")
    parser.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    given = parser.parse_args(argv)
    if given.peers and (given.certificate is None or given.key is None):
        parser.error("--peers needs --certificate and --key")
    if (given.tls_certificate is None) is not (given.tls_key is None):
        parser.error("--tls-certificate and --tls-key belong together")
    return given


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")] if text else []


def _sockets(numbers: list[int]) -> list[socket.socket]:
    sockets = [socket.socket(fileno=number) for number in numbers]
    for item in sockets:
        item.setblocking(False)
    return sockets


def _raise_file_limit() -> None:
    """Allow as many connections as the system lets this process have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _keep_freed_memory() -> None:
    """Have the memory of one body at hand for the next: fetched anew, 1 MB costs 1 ms of page faults."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # glibc's; others have ways of their own
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES)


def _say_ready() -> None:
    """Tell the supervisor, where there is one (see `modelgrid.supervisor`), that requests are served."""
    descriptor = os.environ.pop("MODELGRID_READY_FD", None)
    if descriptor is not None:
        with os.fdopen(int(descriptor), "w") as pipe:
            pipe.write("ready\n")


def _shared_board(descriptor: int, workers: int) -> Board:
    """Return the page that all workers share, or one of this process alone where that cannot be."""
    try:
        return Board(descriptor, workers)
    except BoardError as error:
        log.warning("%s: limits and figures are this process's alone until the daemon is started anew", error)
        return Board.private()


def _client_tls(arguments: argparse.Namespace) -> ssl.SSLContext | None:
    """Return how clients are answered; `None`: without TLS. Exits where the certificate cannot be used: clients that
    were promised TLS are not served without."""
    if arguments.tls_certificate is None:
        return None
    try:
        return tls_of_server(arguments.tls_certificate, arguments.tls_key, ssl.TLSVersion.TLSv1_2)
    except OSError as error:
        sys.exit(f"modelgrid: the certificate {arguments.tls_certificate} is not usable: {error}")


def main(argv: list[str] | None = None) -> int:
    """Run until a signal ends it; return the exit code."""
    arguments = _arguments(argv)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(arguments.index))
    lines = LineKeeper()
    logging.basicConfig(level=arguments.log_level, handlers=[handler, lines])
    _raise_file_limit()
    _keep_freed_memory()
    clients = ClientPort(_sockets(arguments.fd), _client_tls(arguments))
    for_peers = _sockets(arguments.peers)
    peers = PeerPort(for_peers, arguments.certificate, arguments.key) if for_peers else None
    gc.set_threshold(GC_THRESHOLD, 20, 20)
    gc.freeze()

    async def serve() -> None:
        board = _shared_board(arguments.board, arguments.workers)
        await GatewayServer(
            arguments.index, clients, board, arguments.link, arguments.cache, peers, _say_ready, lines
        ).run()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
    return 0
