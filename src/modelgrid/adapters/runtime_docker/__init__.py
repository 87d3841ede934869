"""Engines as containers of Docker or Podman, through the Docker Engine API on a Unix socket.

`runtime.DockerRuntime` is the runtime, `sockets.container_sockets` says where an engine may listen.
The HTTP client is imported at the first call, not at start-up.
"""
