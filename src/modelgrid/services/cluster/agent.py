"""The node's side: tells the control plane all it knows, hears its orders, and goes on without it when it is gone."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import structlog

from modelgrid.decide.assignment import told
from modelgrid.decide.liveness import answer_seconds
from modelgrid.decide.routing_change import with_change
from modelgrid.domain.cluster import Orders, Progress, Report, SharedRouting
from modelgrid.domain.deployment import Deployment, Intent
from modelgrid.domain.errors import ControlPlaneUnreachable, ModelGridError, NotFound, RuntimeUnavailable
from modelgrid.domain.event import Event, Subject
from modelgrid.domain.gpu import GpuInventory
from modelgrid.domain.history import HistoryRecord
from modelgrid.domain.ids import DeploymentId
from modelgrid.domain.node import Node, NodeStatus
from modelgrid.domain.routing import GatewayReport
from modelgrid.domain.target import EngineSpec, Target
from modelgrid.ports.clock import Clock
from modelgrid.ports.control_plane import ControlPlaneLink
from modelgrid.ports.store import Store
from modelgrid.services.cluster.fence import Fence
from modelgrid.services.cluster.obedience import Obedience
from modelgrid.services.events import Notifier
from modelgrid.services.gpu_inventory import offers_more
from modelgrid.services.live import LiveFacts
from modelgrid.services.registry import DeploymentRegistry
from modelgrid.services.targets import TargetService

PAUSE_SECONDS = 1.0
"""Before the control plane is asked again after it did not answer."""
FENCE_LOOKS = 4
"""How often in a heartbeat's time it is asked whether the node is cut off: what passes until it is noticed is taken
from the time in which exclusive engines have to end."""
GATHER_SECONDS = 0.05
"""Changes within so long travel in one report."""

EVENTS_AT_ONCE = 200
ORDERED = ("assigned", "_ordered", "removed")
"""How kinds of events end that the control plane has in its own timeline."""
_TOLD = frozenset({Subject.DEPLOYMENT, Subject.GPU})

T = TypeVar("T")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a report says beside the deployments."""

    node: Callable[[], Node]
    gateways: Callable[[], tuple[GatewayReport, ...]]
    wanted_models: Callable[[], dict[str, float]]
    key_last_used: Callable[[], dict[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """How it stands between the node and its control plane, for whoever shows it."""

    control_plane: str
    """Its node name."""
    url: str
    console_url: str = ""
    """Where its console is, as it says itself; empty before it has."""
    since: float | None = None
    """Unix time of the last answer."""
    problem: str = ""


class NodeAgent:
    """Call `load` and `start` once, then run every one of `loops`."""

    def __init__(
        self,
        *,
        link: ControlPlaneLink,
        contact: Contact,
        obedience: Obedience,
        registry: DeploymentRegistry,
        targets: TargetService,
        store: Store,
        live: LiveFacts,
        clock: Clock,
        around: Surroundings,
        epoch: int,
        version: str,
        heartbeat_seconds: float,
        take_routing: Callable[[SharedRouting], None],
        take_credential: Callable[[str], None],
        take_status: Callable[[NodeStatus], Awaitable[None]],
    ) -> None:
        self._link = link
        self._obedience = obedience
        self._registry = registry
        self._targets = targets
        self._store = store
        self._live = live
        self._clock = clock
        self._around = around
        self._version = version
        self._take_routing = take_routing
        self._take_credential = take_credential
        self._take_status = take_status
        self._epoch = epoch
        self._sequence = 0
        self._control_epoch = 0
        """Of the control plane that answered last."""
        self._orders: Orders | None = None
        self._heartbeat_seconds = heartbeat_seconds
        self._first_told: dict[DeploymentId, int] = {}
        """Sequence of the first report to this control plane that named a deployment."""
        self._told_epoch = 0
        self._events_taken: int | None = None
        self._gpus_told: GpuInventory | None = None
        """As the last report had them."""
        self._obeying = asyncio.Lock()
        self._due = asyncio.Event()
        self._back = asyncio.Event()
        """Set, and cleared at once, when a report is answered after one was not."""
        self._fence = Fence(store, clock)
        self.contact = contact
        self.changed = Notifier()

    async def load(self) -> None:
        """Read when the control plane has last answered. Engines that run since then may have been given away."""
        await self._fence.load()

    def start(self) -> None:
        """Report at once whenever a deployment changes."""
        self._registry.on_change(lambda _: self._due.set())

    def take_inventory(self, inventory: GpuInventory) -> None:
        """Report at once when there is more room than the control plane was told: somebody may wait for it. What was
        taken can wait for the next heartbeat, as it was promised there before."""
        if self._gpus_told is not None and offers_more(self._gpus_told, inventory):
            self._due.set()

    def loops(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """Return what has to run for as long as the process does."""
        return (self._beat(), self._listen(), self._hear_routing(), self._watch_fence())

    async def beat_once(self) -> None:
        """Send one report and obey the answer. Raises what the link raises."""
        report = await self._report()
        sent_at = self._clock.monotonic()
        try:
            orders = await self._link.heartbeat(report, answer_seconds(self._heartbeat_seconds))
        except ModelGridError as error:
            refused = isinstance(error, ControlPlaneUnreachable) and bool(error.details.get("refused"))
            self._fence.unanswered(sent_at, refused=refused)
            raise
        self._control_epoch = orders.epoch
        if orders.heard >= report.sequence:
            self._fence.answered(sent_at)
        else:
            self._due.set()  # it started since it answered last, and takes only what was said to it
        if self.contact.problem:
            self._back.set()
            self._back.clear()
        self._note(problem="")
        self._events_taken = orders.events_taken
        if len(report.events) == EVENTS_AT_ONCE:
            self._due.set()
        if orders.credential:
            self._take_credential(orders.credential)
        await self._obey(orders)
        if report.targets and orders.heard >= report.sequence:
            await self._targets.hand_over()

    async def _beat(self) -> None:
        while True:
            self._due.clear()
            try:
                await self.beat_once()
            except ModelGridError as error:
                self._failed(error)
                await self._clock.sleep(PAUSE_SECONDS)
                continue
            try:
                async with asyncio.timeout(self._heartbeat_seconds):
                    await self._due.wait()
                    await asyncio.sleep(GATHER_SECONDS)
            except TimeoutError:
                continue

    async def _listen(self) -> None:
        while True:
            known = self._orders
            try:
                epoch, sequence = (known.epoch, known.sequence) if known else (0, 0)
                orders = await self._unless_back(self._link.orders(epoch, sequence))
                if orders is not None:
                    self._control_epoch = orders.epoch
                    await self._obey(orders)
            except ModelGridError:  # the heartbeat says so
                await self._clock.sleep(PAUSE_SECONDS)

    async def _hear_routing(self) -> None:
        nothing = known = SharedRouting(epoch=0, generation=0)
        while True:
            try:
                said = await self._unless_back(self._link.routing(known.epoch, known.generation))
                if said is not None:
                    routing = with_change(known, said)
                    self._take_routing(routing)
                    known = routing
            except ModelGridError:  # the heartbeat says so
                await self._clock.sleep(PAUSE_SECONDS)
            except ValueError as error:
                log.warning("news of the routing did not fit; all of it is asked for", reason=str(error))
                known = nothing
                await self._clock.sleep(PAUSE_SECONDS)

    async def _unless_back(self, question: Coroutine[Any, Any, T | None]) -> T | None:
        """Return the answer to a question that the control plane holds until there is news; `None` when it is to be
        asked again, because the control plane is back: what was asked before may never be answered."""
        answer, back = asyncio.create_task(question), asyncio.create_task(self._back.wait())
        try:
            await asyncio.wait({answer, back}, return_when=asyncio.FIRST_COMPLETED)
            return answer.result() if answer.done() else None
        finally:
            answer.cancel()
            back.cancel()

    async def _watch_fence(self) -> None:
        while True:
            await self._clock.sleep(self._heartbeat_seconds / FENCE_LOOKS)
            if not self._fence.must_stop(self._heartbeat_seconds):
                continue
            try:
                stopped = await self._obedience.stop_exclusive()
            except ModelGridError as error:
                log.warning("exclusive deployments not stopped yet; tried again", error=str(error))
                continue
            if stopped:
                log.warning("cut off from the control plane: exclusive deployments stop", deployments=list(stopped))

    def check_start(self, deployment: DeploymentId) -> None:
        """Raise `RuntimeUnavailable` for an exclusive deployment while nobody can say that it runs nowhere else."""
        if self._obedience.is_exclusive(deployment) and not self._fence.may_start(self._heartbeat_seconds):
            raise RuntimeUnavailable("It may run only once, and waits for the control plane to say that it is here.")

    def stop_grace_seconds(self, deployment: DeploymentId) -> float | None:
        """Return how long an exclusive engine may take to end; `None` for all others."""
        exclusive = self._obedience.is_exclusive(deployment)
        return self._fence.stop_grace_seconds(self._heartbeat_seconds) if exclusive else None

    async def _obey(self, orders: Orders) -> None:
        async with self._obeying:
            known = self._orders
            if known is not None and (orders.epoch, orders.sequence) < (known.epoch, known.sequence):
                return
            if orders.unchanged and known is not None:
                orders = replace(orders, orders=known.orders, unchanged=False)
            if any(order.exclusive for order in orders.orders):  # before any of them can have an engine
                await self._fence.remember(orders.heartbeat_seconds)
            heard = (
                max(orders.heard, known.heard) if known is not None and known.epoch == orders.epoch else orders.heard
            )
            orders = replace(orders, heard=heard, credential="")
            told = {item for item, since in self._first_told.items() if since <= heard}
            if orders.epoch != self._told_epoch:
                told = set()
            await self._obedience.obey(orders, told)
            if orders.console_url != self.contact.console_url:
                self.contact = replace(self.contact, console_url=orders.console_url)
                self.changed.notify()
            if known is None or known.status is not orders.status:
                await self._take_status(orders.status)
            if known is None or (orders.epoch, orders.sequence) > (known.epoch, known.sequence):
                removed = [order.id for order in orders.orders if order.intent is Intent.REMOVE]
                if any(self._registry.find(item) is None for item in removed):
                    self._due.set()  # it never was here, so no change tells of its end, which somebody may wait for
            self._orders = orders
            self._heartbeat_seconds = orders.heartbeat_seconds

    async def _report(self) -> Report:
        self._sequence += 1
        rows = self._registry.all()
        orders = self._orders
        epoch = orders.epoch if orders else 0
        if epoch != self._told_epoch:
            self._first_told, self._told_epoch = {}, epoch
        here = {row.id for row in rows}
        self._first_told = {item: since for item, since in self._first_told.items() if item in here}
        for row in rows:
            self._first_told.setdefault(row.id, self._sequence)
        ordered = {order.id for order in orders.orders} if orders else set()
        node = self._around.node()
        self._gpus_told = node.inventory
        return Report(
            node=node,
            version=self._version,
            epoch=self._epoch,
            sequence=self._sequence,
            at=self._clock.now(),
            to=self._control_epoch,
            obeyed=(orders.epoch, orders.sequence) if orders else (0, 0),
            may_omit=True,
            deployments=tuple(self._told(row, known=row.id in ordered) for row in rows),
            departed=await self._departed(ordered - here),
            progress={row.id: progress for row in rows if (progress := self._progress(row.id)) is not None},
            events=await self._events(),
            targets=tuple(self._opened(target) for target in self._targets.all()),
            gateways=tuple(replace(report, lines=()) for report in self._around.gateways()),
            wanted_models=self._around.wanted_models(),
            key_last_used=self._around.key_last_used(),
        )

    def _told(self, row: Deployment, *, known: bool) -> Deployment:
        """What the control plane ordered it knows; of others it needs all, the environment open, to keep it."""
        return told(row) if known else replace(row, spec=replace(row.spec, env=self._targets.opened_env(row.spec)))

    def _opened(self, target: Target) -> Target:
        return replace(target, spec=replace(target.spec, env=self._targets.opened_env(target.spec)))

    async def _events(self) -> tuple[Event, ...]:
        """Return what happened here and the control plane has not heard yet. What it ordered itself it knows."""
        if self._events_taken is None:
            return ()
        found = await self._store.events(after=self._events_taken, limit=EVENTS_AT_ONCE)
        told = tuple(event for event in found if event.subject in _TOLD and not event.kind.endswith(ORDERED))
        if found and not told:
            self._events_taken = found[-1].seq
        return told

    async def _departed(self, missing: set[DeploymentId]) -> tuple[HistoryRecord, ...]:
        found = []
        for item in sorted(missing):
            try:
                record = await self._store.history_record(item)
            except NotFound:
                continue
            found.append(replace(record, deployment=replace(record.deployment, spec=EngineSpec())))
        return tuple(found)

    def _progress(self, deployment: DeploymentId) -> Progress | None:
        live = self._live.of(deployment)
        if not (live.phase or live.trouble or live.not_ready_because or live.pull):
            return None
        return Progress(
            phase=live.phase,
            trouble=live.trouble,
            trouble_since=live.trouble_since,
            not_ready_because=live.not_ready_because,
            pull=live.pull,
        )

    def _failed(self, error: ModelGridError) -> None:
        if self.contact.problem != error.message:
            log.warning("the control plane was not reached", reason=str(error))
        self._note(problem=error.message)

    def _note(self, *, problem: str) -> None:
        before = self.contact
        since = before.since if problem else self._clock.now()
        self.contact = replace(before, since=since, problem=problem)
        if before.problem != problem:
            if not problem:
                log.info("the control plane answers", url=before.url)
            self.changed.notify()
