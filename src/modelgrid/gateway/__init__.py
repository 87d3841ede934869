"""The data plane: OpenAI-compatible HTTP in, the same bytes out to a replica, one process per worker.

See `docs/architecture/gateway.md`. Nothing here imports a web framework; the process stays small and nothing that
control does can delay a token.
"""
