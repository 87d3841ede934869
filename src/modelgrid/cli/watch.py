"""Watching a target come up: progress while it works, one line for each change, which remain."""

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Group
from rich.live import Live
from rich.text import Text

from modelgrid.cli.decision import show_decision
from modelgrid.cli.output import LONGEST_MESSAGE, ago, counted, errors, paragraph, say, short, status
from modelgrid.cli.patience import patiently
from modelgrid.cli.progress import RateMeter, progress_line
from modelgrid.client.http import ModelGridClient
from modelgrid.domain.errors import ModelGridError, NotFound
from modelgrid.domain.units import format_duration

if TYPE_CHECKING:
    from modelgrid.client.views import DeploymentView, TargetView

POLL_SECONDS = 0.3
FRAMES_PER_SECOND = 8
REFUSED_FOR_SECONDS = 2.0
"""A place may come free while others leave: a refusal counts once it stood this long."""

SETTLED = frozenset({"running", "failed", "stopped"})


class NotRunning(ModelGridError):
    """What was waited for did not come to run."""

    code = "not_running"


class Waited:
    """What is known of one wait: when each deployment was first seen refused, and what was said already."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self.refused_since: dict[str, float] = {}
        self.meters: dict[str, RateMeter] = {}

    def settled(self, item: "DeploymentView", *, others_leave: bool, now: float) -> bool:
        """Whether nothing more will happen by itself soon: what has no place waits for the operator."""
        if item["state"] in SETTLED:
            return True
        if item["state"] != "pending" or item["node"] is not None or others_leave or item["reason"] == "not placed yet":
            self.refused_since.pop(item["id"], None)
            return False
        return now - self.refused_since.setdefault(item["id"], now) >= REFUSED_FOR_SECONDS


def watch(client: ModelGridClient, target: str, *, quiet: bool, must_run: bool, timeout: float | None) -> None:
    """Return when each deployment of the target has settled; show how it goes unless `quiet`.

    Raises `NotRunning` when one failed; with `must_run` also when one found no place or `timeout` seconds passed.
    Ctrl-C leaves the work running."""
    waited = Waited()
    live = Live(console=errors, refresh_per_second=FRAMES_PER_SECOND, transient=True)
    shown = contextlib.nullcontext() if quiet or not errors.is_terminal else live
    deadline = None if timeout is None else time.monotonic() + timeout
    items: list[DeploymentView] = []
    try:
        with shown:
            for view in _views(client, target, quiet=quiet):
                now = time.monotonic()
                items = [item for item in view["deployments"] if item["intent"] == "run"]
                others_leave = len(items) < len(view["deployments"])
                if not quiet:
                    _say_changes(items, waited.states)
                    live.update(_progress(items, waited, now), refresh=False)
                settled = [waited.settled(item, others_leave=others_leave, now=now) for item in items]
                if len(items) >= view["replicas"] and all(settled):
                    break
                if deadline is not None and now > deadline:
                    raise _late(items, timeout or 0.0)
    except KeyboardInterrupt:
        if not quiet:
            _say_how_to_go_on(target, items)
        raise
    _judge(client, items, quiet=quiet, must_run=must_run)


def _views(client: ModelGridClient, target: str, *, quiet: bool) -> "Iterator[TargetView]":
    while True:
        yield patiently(lambda: client.show_target(target), quiet=quiet)
        time.sleep(POLL_SECONDS)


def _progress(items: "list[DeploymentView]", waited: Waited, now: float) -> Group:
    busy = [item for item in items if item["state"] not in SETTLED]
    return Group(
        *(progress_line(item, waited.meters.setdefault(item["id"], RateMeter()), now, errors.width) for item in busy)
    )


def _say_changes(items: "list[DeploymentView]", seen: dict[str, str]) -> None:
    for item in items:
        before = seen.get(item["id"])
        if before == item["state"]:
            continue
        seen[item["id"]] = item["state"]
        line = Text("  ").append_text(status(item["state"])).append(f"  {short(item['id'])}", style="default not dim")
        if item["state"] == "running" and item["ready_at"]:
            took = f"ready after {format_duration(item['ready_at'] - item['created_at'])}"
            line.append(f"  {took if before else 'since ' + ago(item['ready_at'])}", style="dim")
        elif item["state"] in {"failed", "restarting"}:
            line.append(f"  {short(item['reason'], LONGEST_MESSAGE)}", style="dim")
        elif item["node"]:
            line.append(f"  {short(item['node'])} {short(','.join(item['gpus']))}".rstrip(), style="dim")
        paragraph(line, hang=4, to=errors)


def _say_how_to_go_on(target: str, items: "list[DeploymentView]") -> None:
    say("It goes on without you.")
    say("  Follow it:     modelgrid ps")
    for item in items:
        say(f"  Its output:    modelgrid logs -f {item['id']}")
        say(f"  Take it back:  modelgrid container remove {item['id']}")
    if not items:
        say(f"  Take it back:  modelgrid container remove ID, once `modelgrid ps` shows one of {target}")


def _late(items: "list[DeploymentView]", timeout: float) -> NotRunning:
    busy = [item for item in items if item["state"] not in SETTLED]
    said = "; ".join(f"{item['id']} is {item['state']}: {item['phase'] or item['reason']}" for item in busy)
    return NotRunning(
        f"Not running after {format_duration(timeout)}: {said or 'nothing was created yet'}.",
        fix="It goes on. Follow it with: modelgrid ps",
        deployments=[item["id"] for item in items],
    )


def _judge(client: ModelGridClient, items: "list[DeploymentView]", *, quiet: bool, must_run: bool) -> None:
    """Explain what does not run. Raises `NotRunning` where that is a failure."""
    bad = [item for item in items if item["state"] != "running"]
    if not quiet:
        for item in bad:
            if item["state"] == "pending":
                _explain_refusal(client, item["id"])
    failed = [item for item in bad if must_run or item["state"] == "failed"]
    if failed:
        worst = next((item for item in failed if item["state"] == "failed"), failed[0])
        raise _not_running(client, worst)
    if not quiet:
        for item in bad:
            say(f"{item['id']} waits: {item['reason'].rstrip('.')}.")
            say("It starts as soon as it fits. Or take it back:")
            say(f"  modelgrid container remove {item['id']}")


def _explain_refusal(client: ModelGridClient, deployment: str) -> None:
    decision = client.show_deployment(deployment)["decision"]
    if decision is not None:
        show_decision(decision, to=errors, summary=False)


def _not_running(client: ModelGridClient, item: "DeploymentView") -> NotRunning:
    name, details = item["id"], {"deployment": item["id"], "state": item["state"]}
    if item["state"] == "pending":
        decision = client.show_deployment(name)["decision"]
        return NotRunning(
            f"{name} has no place: {item['reason'].rstrip('.')}.",
            fix=f"It starts as soon as it fits. Or take it back:\nmodelgrid container remove {name}",
            **details,
            decision=decision,
        )
    return NotRunning(
        f"{name} is {item['state']}: {item['reason']}",
        fix=f"Why: modelgrid container show {name}\nIts output: modelgrid logs {name}",
        **details,
    )


def wait_until_gone(client: ModelGridClient, deployment: str) -> None:
    """Return when a deployment that is being removed has left the list."""
    while True:
        try:
            patiently(lambda: client.show_deployment(deployment))
        except NotFound:
            return
        time.sleep(POLL_SECONDS)


def wait_for_state(client: ModelGridClient, deployment: str, state: str) -> "DeploymentView":
    """Return the deployment once it is in `state`. Raises `NotRunning` when it fails instead."""
    while True:
        item = patiently(lambda: client.show_deployment(deployment))
        if item["state"] == state:
            return item
        if item["state"] == "failed":
            raise _not_running(client, item)
        time.sleep(POLL_SECONDS)


def summary(target: "TargetView") -> str:
    """Return what is desired and what runs, in one sentence."""
    return f"{target['name']}: {counted(target['replicas'], 'replica')} desired, {target['running']} running."
