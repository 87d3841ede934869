"""The engines that answer: much faster than what is measured, and the same for every gateway.

Two ports stand for two replicas. `POST /v1/chat/completions` is answered by nginx itself (`return`, no proxying).
`POST /v1/completions` goes on to a server on uvloop and httptools, which reads the whole body first: streams of
`max_tokens` events, one per `INTERVAL_SECONDS`, or a whole answer; with `"user": "idle"` only the first event comes.

`python -m benchmarks.upstream SOCKET` runs the latter.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any, cast

import httptools
import uvloop

from benchmarks.machine import pinned

INTERVAL_SECONDS = 0.02
COMPLETION = json.dumps({
    "id": "chatcmpl-7b1e5a0c2d9f4e6f8a1b3c5d7e9f0a2b", "object": "chat.completion", "created": 1790000000,
    "model": "bench", "choices": [{
        "index": 0, "message": {"role": "assistant", "content": "An answer of the usual length. " * 8},
        "logprobs": None, "finish_reason": "stop",
    }],
    "usage": {"prompt_tokens": 57, "total_tokens": 121, "completion_tokens": 64},
}, separators=(",", ":"))  # fmt: skip
"""About 600 bytes."""

NGINX = """
worker_processes 1;
daemon off;
pid {folder}/upstream.pid;
error_log stderr crit;
events {{ worker_connections 8192; multi_accept on; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  client_max_body_size 64m;
  client_body_buffer_size 4m;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  default_type application/json;
  upstream engine {{ server unix:{socket}; keepalive 2048; keepalive_requests 1000000000; }}
  server {{
    {listen}
    location = /v1/chat/completions {{ return 200 '{completion}'; }}
    location = /v1/completions {{
      proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
      proxy_read_timeout 600s;
    }}
    location = /v1/models {{ return 200 '{{"object":"list","data":[{{"id":"bench","object":"model"}}]}}'; }}
    location / {{ return 200 '{{}}'; }}
  }}
}}
"""


def _event(text: str, finish: str | None = None, usage: dict[str, int] | None = None) -> bytes:
    choices = [] if usage else [{"index": 0, "text": text, "logprobs": None, "finish_reason": finish}]
    body: dict[str, Any] = {
        "id": "cmpl-7b1e5a0c2d9f4e6f", "object": "text_completion", "created": 1790000000, "model": "bench",
        "choices": choices,
    }  # fmt: skip
    if usage:
        body["usage"] = usage
    data = b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(data), data)


EVENT = _event(" word")
LAST = _event("", "stop")
DONE = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    len(COMPLETION),
    COMPLETION.encode(),
)


class Engine(asyncio.Protocol):
    """One connection of the server behind `/v1/completions`."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._parts: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._parts = []

    def on_body(self, data: bytes) -> None:
        self._parts.append(data)

    def on_message_complete(self) -> None:
        body = b"".join(self._parts)
        if b'"stream":true' not in body.replace(b'"stream": true', b'"stream":true'):
            self._transport.write(WHOLE)
            return
        asked = json.loads(body)
        self._transport.write(STREAM_HEAD + EVENT)
        if asked.get("user") != "idle":
            loop = asyncio.get_running_loop()
            usage = bool((asked.get("stream_options") or {}).get("include_usage"))
            self._next(loop, loop.time(), int(asked["max_tokens"]) - 1, int(asked["max_tokens"]), usage)

    def _next(self, loop: asyncio.AbstractEventLoop, at: float, left: int, count: int, usage: bool) -> None:
        at += INTERVAL_SECONDS
        self._timer = loop.call_at(at, self._send, loop, at, left, count, usage)

    def _send(self, loop: asyncio.AbstractEventLoop, at: float, left: int, count: int, usage: bool) -> None:
        if left > 1:
            self._transport.write(EVENT)
            self._next(loop, at, left - 1, count, usage)
            return
        figures = {"prompt_tokens": 57, "total_tokens": 57 + count, "completion_tokens": count}
        self._transport.write(LAST + (_event("", usage=figures) if usage else b"") + DONE)


async def _serve(path: str) -> None:
    server = await asyncio.get_running_loop().create_unix_server(Engine, path, backlog=4096)
    await server.serve_forever()


class Upstream:
    """Both servers as processes on one core."""

    def __init__(self, folder: Path, nginx: str, core: int, ports: tuple[int, int]) -> None:
        self.ports = ports
        self._folder = folder
        self._nginx = nginx
        self._core = core
        self._processes: list[asyncio.subprocess.Process] = []

    async def start(self) -> None:
        path = self._folder / "engine.sock"
        config = self._folder / "upstream.conf"
        listen = " ".join(f"listen 127.0.0.1:{port} backlog=4096;" for port in self.ports)
        config.write_text(NGINX.format(folder=self._folder, socket=path, listen=listen, completion=COMPLETION))
        for argv in (
            [sys.executable, "-m", "benchmarks.upstream", str(path)],
            [self._nginx, "-c", str(config), "-p", str(self._folder)],
        ):
            log = (self._folder / "upstream.log").open("ab")
            with log:
                process = await asyncio.create_subprocess_exec(*pinned(self._core, argv), stdout=log, stderr=log)
            self._processes.append(process)

    async def stop(self) -> None:
        for process in self._processes:
            if process.returncode is None:
                process.terminate()
        for process in self._processes:
            await process.wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        Path(sys.argv[1]).unlink(missing_ok=True)
        os.umask(0)  # nginx' worker is another user where the master is root; the folder is one run's own
        runner.run(_serve(sys.argv[1]))
