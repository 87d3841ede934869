"""Engines as processes of this host: real vLLM (`process`) and the simulated engine (`simulated`).

`runtime.ProcessRuntime` is the daemon's side. `watcher` runs as a small process of its own beside every
engine. It imports this package by path with a bare interpreter, so nothing is imported here.
"""
