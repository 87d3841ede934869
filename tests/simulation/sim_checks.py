"""What must always hold, and what tells that a cluster has come to rest."""

from collections.abc import Collection, Mapping

from sim_daemons import ControlServices, Daemon, WorkerServices
from sim_machine import Machine

from modelgrid.decide.assignment import FACTS
from modelgrid.decide.classify import serves
from modelgrid.domain.deployment import Deployment, Intent
from modelgrid.domain.node import NodeLiveness

EXCLUSIVE = "latent-"
"""Ids of the deployments that may run only once begin so."""


class Broken(AssertionError):
    """Something that must always hold does not."""


def check_engines(machines: Mapping[str, Machine], excused: Collection[str]) -> None:
    """No GPU beyond what it has, no deployment twice, and what is exclusive once at most, by the engines there are.

    `excused` are nodes whose daemon was away while its engines ran on: it could not end them in time."""
    places: dict[str, str] = {}
    once = []
    for name, machine in machines.items():
        for gpu, size in machine.sizes.items():
            if (used := machine.used(gpu)) > size:
                raise Broken(f"{name} {gpu} is given twice: {used} of {size} bytes")
        for engine in machine.engines.values():
            deployment = engine.ref.deployment
            if not engine.runs:
                continue
            if deployment in places:
                raise Broken(f"{deployment} runs on {places[deployment]} and on {name}")
            places[deployment] = name
            if deployment.startswith(EXCLUSIVE) and name not in excused:
                once.append(f"{deployment} on {name}")
    if len(once) > 1:
        raise Broken(f"exclusive, and runs more than once: {', '.join(once)}")


def orphans(workers: Mapping[str, Daemon], machines: Mapping[str, Machine]) -> frozenset[tuple[str, str]]:
    """Return the engines, each with its machine, that no deployment of the machine's daemon stands behind, where that
    daemon is there to see them."""
    found = set()
    for name, machine in machines.items():
        services = workers[name].services
        if workers[name].serves and isinstance(services, WorkerServices):
            known = {row.id for row in services.registry.all()}
            found |= {(name, key) for key, engine in machine.engines.items() if engine.ref.deployment not in known}
    return frozenset(found)


def what_moves(services: ControlServices | None, workers: Mapping[str, Daemon], machines: Mapping[str, Machine]) -> str:
    """Return what is not at rest yet; empty when there is nothing left to decide, every order is obeyed, every fact
    known, and the engines are those of the rows."""
    if services is None:
        return "no control plane"
    rows, nodes = services.registry.all(), services.control.nodes()
    moving = {
        "not ready": [node.name for node in nodes if node.liveness is not NodeLiveness.READY],
        "clock off when heard last": [node.name for node in nodes if node.problem],
        "to be decided": services.reconciler.plan(services.targets.all())[:1],
        "still leaving": [row.id for row in rows if row.intent is Intent.REMOVE],
        "do not serve yet": [
            row.id for row in rows if row.intent is Intent.RUN and row.placement is not None and not serves(row)
        ],
    }
    for what, which in moving.items():
        if which:
            return f"{what}: {which}"
    return next(filter(None, (_what_moves_on(workers[name], machines[name], rows) for name in workers)), "")


def _what_moves_on(worker: Daemon, machine: Machine, rows: tuple[Deployment, ...]) -> str:
    name = machine.name
    if not isinstance(worker.services, WorkerServices):
        return f"{name} is down"
    mine = {row.id: row for row in worker.services.registry.all()}
    here = {row.id: row for row in rows if row.placement is not None and row.placement.node == name}
    if mine.keys() != here.keys():
        return f"{name} has {sorted(mine)}, ordered {sorted(here)}"
    differing = [
        f"{item}.{fact}"
        for item, row in here.items()
        for fact in (*FACTS, "intent", "placement")
        if getattr(row, fact) != getattr(mine[item], fact)
    ]
    if differing:
        return f"{name} and control differ: {differing}"
    running = sorted(engine.ref.deployment for engine in machine.engines.values() if engine.runs)
    wanted = sorted(row.id for row in here.values() if row.intent is Intent.RUN)
    if running != wanted or len(machine.engines) != len(running):
        return f"engines on {name}: {running}, wanted {wanted}"
    return ""
