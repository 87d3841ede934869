"""Simulated engines and simulated GPUs, for machines without either.

`python -m modelgrid.simulator serve MODEL …` is a process that speaks vLLM's HTTP API and computes nothing;
`modelgrid.simulator.gpus` is a GPU probe whose devices fill up with what those processes claim to hold.
See docs/architecture/simulator.md for what is imitated, and what is not.
"""
