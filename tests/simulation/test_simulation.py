"""Whole clusters under virtual time: fifty of the thousand seeds of `make sim`, those that found a fault, and that it is
able to fail."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sim_cluster import run

from modelgrid.decide import fit_rules
from modelgrid.services.cluster import agent

RUN = Path(__file__).resolve().parent / "run.py"

FOUND_FAULTS = {
    141: "restarted after a stop, a deployment took a place again that had been given away",
}
"""Seeds that broke something once, and what that was."""


def check(seed: int) -> None:
    played = run(seed)
    again = f"python tests/simulation/run.py --seed {seed} --trace"
    assert not played.broken, f"seed {seed} {played.broken}; again: {again}\n" + "\n".join(played.trace[-30:])


@pytest.mark.parametrize("first", range(0, 50, 10))
def test_what_must_hold_holds_and_it_comes_to_rest(first: int) -> None:
    for seed in range(first, first + 10):
        check(seed)


@pytest.mark.parametrize("seed", FOUND_FAULTS)
def test_what_was_broken_once_holds(seed: int) -> None:
    check(seed)


def test_a_seed_plays_the_same_to_the_byte() -> None:
    def played(hash_seed: str) -> bytes:
        environment = os.environ | {"PYTHONHASHSEED": hash_seed}
        command = [sys.executable, str(RUN), "--seed", "7", "--trace"]
        done = subprocess.run(command, env=environment, capture_output=True, check=True, timeout=60)
        return done.stdout.rpartition(b" seeds, ")[0]  # below it, CPU time is told

    once = played("1")
    assert once.count(b"\n") > 50
    assert played("2") == once


def broken(seeds: range) -> str:
    return next((played.broken for seed in seeds if (played := run(seed)).broken), "")


def test_it_notices_placements_on_suspect_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = tuple(rule for rule in fit_rules._NODE_RULES if rule.code != "node_suspect")
    monkeypatch.setattr(fit_rules, "_NODE_RULES", rules)
    assert "suspect" in broken(range(30))


def test_it_notices_nodes_that_are_not_fenced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "must_stop_exclusive", lambda *_: False)
    assert "runs more than once" in broken(range(6, 40))
