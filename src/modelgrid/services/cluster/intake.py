"""Takes in what nodes report: the facts of their deployments, what ended, what they were asked for before they joined.

Whoever reports was authenticated; that it speaks for itself only is checked here."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from modelgrid.decide.assignment import informed
from modelgrid.domain.cluster import Report
from modelgrid.domain.deployment import Deployment, Intent
from modelgrid.domain.errors import Conflict, ModelGridError, NotFound
from modelgrid.domain.event import Event, Subject
from modelgrid.domain.history import HistoryRecord
from modelgrid.domain.ids import DeploymentId, NodeName
from modelgrid.domain.target import Origin, Target
from modelgrid.ports.clock import Clock
from modelgrid.ports.store import Store
from modelgrid.services.events import EventMaker
from modelgrid.services.failpoints import failpoint
from modelgrid.services.live import LiveFacts
from modelgrid.services.registry import DeploymentRegistry
from modelgrid.services.targets import TargetService

log = structlog.get_logger()


class Intake:
    """Writes rows of deployments that are placed on other nodes, as far as those nodes own them."""

    def __init__(
        self, store: Store, registry: DeploymentRegistry, targets: TargetService, live: LiveFacts, clock: Clock
    ) -> None:
        self._store = store
        self._registry = registry
        self._targets = targets
        self._live = live
        self._clock = clock
        self._event = EventMaker(clock, Subject.DEPLOYMENT)
        self._events_taken: dict[NodeName, int] = {}

    async def take(
        self, report: Report, placed_there: Sequence[DeploymentId], gone: Callable[[DeploymentId], bool]
    ) -> None:
        """Bring the rows of the reporting node in line with its report. Safe to repeat.

        `placed_there` are the deployments placed on the node. `gone` tells of a deployment whether the node has obeyed
        the order to remove it: then its absence means that it is gone, and not that the order has yet to arrive. Raises
        what the store raises; the next report says it all again."""
        name = report.node.name
        if report.targets:
            async with self._targets.together:  # a target without what it brings along would be started anew
                await self._adopt(report)
                for reported in report.deployments:
                    if self._registry.find(reported.id) is None:
                        await self._adopt_deployment(name, reported)
        await self._targets.withdrawn_by(name, {item.name for item in report.targets if item.origin is Origin.CONFIG})
        for reported in report.deployments:
            row = self._registry.find(reported.id)
            if row is None:
                await self._adopt_deployment(name, reported)
            elif informed(row, reported) != row:
                await self._registry.change(row.id, lambda present, facts=reported: informed(present, facts))  # type: ignore[misc]
                failpoint("informed")
            self._show_progress(report, reported.id)
        here = {item.id for item in report.deployments}
        for row in filter(None, map(self._registry.find, placed_there)):
            if row.intent is Intent.REMOVE and row.id not in here and gone(row.id):
                record = next((item for item in report.departed if item.deployment.id == row.id), None)
                await self.archive(row, record, row.intent_reason)

    async def take_events(self, report: Report) -> int:
        """Put what happened on the node into the timeline here; return the number up to which it is there.

        A crash between the two writes repeats the events of one report; none is lost."""
        name = report.node.name
        taken = self._events_taken.get(name)
        if taken is None:
            key = _events_key(name)
            taken = int((await self._store.settings([key])).get(key, "0"))
        new = [event for event in report.events if event.seq > taken]
        if new:
            await self._store.add_events([_of_node(event, name) for event in new])
            taken = new[-1].seq
            await self._store.put_setting(_events_key(name), str(taken))
        self._events_taken[name] = taken
        return taken

    async def archive(self, row: Deployment, record: HistoryRecord | None, reason: str) -> None:
        """Move a deployment of another node to history, with the last lines that the node has sent along."""
        now = self._clock.now()
        kept = HistoryRecord(
            deployment=replace(row, removed_at=now),
            ended_at=record.ended_at if record else now,
            reason=reason,
            by=row.intent_by,
            last_lines=record.last_lines if record else (),
        )
        event = self._event(row.id, "removed", reason or "removed", by=row.intent_by)
        await self._registry.archive(kept, [event])
        failpoint("archived_elsewhere")
        self._live.forget(row.id)

    async def _adopt(self, report: Report) -> None:
        """Take over what a node was asked for by others than us. The number of instances that it brings along counts
        on top of what is desired already."""
        for target in report.targets:
            brought = sum(
                1 for item in report.deployments if item.target == target.name and self._registry.find(item.id) is None
            )
            try:
                await self._targets.adopt(_pinned(target, report.node.name), brought)
            except (Conflict, NotFound) as error:
                log.warning("target not adopted", target=target.name, node=report.node.name, reason=error.message)

    async def _adopt_deployment(self, node: NodeName, reported: Deployment) -> None:
        placement = reported.placement
        if placement is None or placement.node != node or reported.intent is Intent.REMOVE:
            return
        target = self._targets.find(reported.target)
        if target is None or await self._is_history(reported.id):
            return  # it is not ordered, so its node ends it
        spec = await asyncio.to_thread(self._targets.sealed, reported.spec, target.spec)
        event = self._event(reported.id, "adopted", f"found on {node}, where it runs already")
        adopted = replace(reported, spec=spec, origin=target.origin, revision=0)
        try:
            await self._registry.create(adopted, [event])
        except ModelGridError as error:
            log.warning("deployment not adopted", deployment=reported.id, reason=error.message)

    async def _is_history(self, deployment: DeploymentId) -> bool:
        try:
            await self._store.history_record(deployment)
        except NotFound:
            return False
        return True

    def _show_progress(self, report: Report, deployment: DeploymentId) -> None:
        said, live = report.progress.get(deployment), self._live.of(deployment)
        if said is None:
            live.phase, live.trouble, live.not_ready_because = "", "", ""
            live.trouble_since, live.pull = None, None
        else:
            live.phase, live.trouble, live.not_ready_because = said.phase, said.trouble, said.not_ready_because
            live.trouble_since, live.pull = said.trouble_since, said.pull


def _events_key(node: NodeName) -> str:
    return f"events_taken:{node}"


def _of_node(event: Event, node: NodeName) -> Event:
    subject_id = event.subject_id if event.subject is Subject.DEPLOYMENT else f"{node}/{event.subject_id}"
    return replace(event, seq=0, subject_id=subject_id, data={**event.data, "node": node})


def _pinned(target: Target, node: NodeName) -> Target:
    """What a node's own config.json asks for stays on that node."""
    if target.origin is not Origin.CONFIG:
        return target
    return replace(target, constraints=replace(target.constraints, node=node))
