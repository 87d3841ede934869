#!/usr/bin/env python3
"""Provoke vLLM's failures for real and write what it printed to tests/fixtures/vllm_failures.

`record_failures.py` records all (about ten minutes on two cores), `record_failures.py NAME…` those named."""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from testbed import model
from testbed.common import say, step
from testbed.failures import FAILURES, provoke, record


def main() -> int:
    names = sys.argv[1:] or [failure.name for failure in FAILURES]
    if unknown := set(names) - {failure.name for failure in FAILURES}:
        say(f"unknown: {', '.join(sorted(unknown))}")
        return 2
    model.make()
    wrong = 0
    for failure in FAILURES:
        if failure.name not in names:
            continue
        with step(failure.name), tempfile.TemporaryDirectory(prefix="vllm-failure-") as scratch:
            outcome = provoke(failure, Path(scratch))
        said = any(failure.cause in line for line in outcome.lines)
        if (outcome.code, outcome.signal) != (failure.code, failure.signal) or not said:
            wrong += 1
            say(f"  not as expected: code {outcome.code}, signal {outcome.signal}, said its cause: {said}")
            say("\n".join(outcome.lines[-8:]))
            continue
        record(failure, outcome)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
