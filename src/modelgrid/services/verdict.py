"""The verdict on the fleet at present: gathers the facts that `decide.verdict` judges."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from modelgrid.decide.first_seen import Seen, dated
from modelgrid.decide.verdict import FleetFacts, FleetVerdict, judge
from modelgrid.domain.node import Node
from modelgrid.domain.routing import GatewayReport
from modelgrid.ports.clock import Clock
from modelgrid.services.catalog import CatalogService
from modelgrid.services.logs.store import LogStore
from modelgrid.services.registry import DeploymentRegistry
from modelgrid.services.targets import TargetService

LOOK_SECONDS = 1.0


class VerdictService:
    """`judge` gives the verdict of this moment, `word` that of the last look; `run` looks once a second, and remembers
    for as long as the process lives since when each reason is seen."""

    def __init__(
        self,
        *,
        nodes: Callable[[], Sequence[Node]],
        registry: DeploymentRegistry,
        targets: TargetService,
        gateways: Callable[[], Sequence[GatewayReport]],
        gateways_wanted: int,
        served_elsewhere: Callable[[], bool],
        problems: Callable[[], Sequence[str]],
        logs: LogStore,
        catalog: CatalogService,
        state_dir: Path,
        clock: Clock,
        on_change: Callable[[], None],
    ) -> None:
        """`served_elsewhere` says whether nodes that are not among `nodes` serve a model. `on_change` is called on the
        event loop when `word` is another; it must neither block nor raise."""
        self._nodes = nodes
        self._registry = registry
        self._targets = targets
        self._gateways = gateways
        self._gateways_wanted = gateways_wanted
        self._served_elsewhere = served_elsewhere
        self._problems = problems
        self._logs = logs
        self._catalog = catalog
        self._state_dir = state_dir
        self._clock = clock
        self._on_change = on_change
        self._started_at = clock.now()
        self._seen: Seen = {}
        self.word = ""
        """Empty before the first look."""

    def judge(self) -> FleetVerdict:
        """Return the verdict, with each reason dated. Blocks for one look at the file system's free space."""
        disk = shutil.disk_usage(self._state_dir)
        facts = FleetFacts(
            nodes=tuple(self._nodes()),
            targets=self._targets.all(),
            deployments=self._registry.all(),
            gateways=len(self._gateways()),
            gateways_wanted=self._gateways_wanted,
            served_elsewhere=self._served_elsewhere(),
            problems=tuple(self._problems()),
            log_problem=self._logs.problem,
            catalog_problems={s.name: s.problem for s in self._catalog.sources if s.problem},
            disk_free_bytes=disk.free,
            disk_total_bytes=disk.total,
            started_at=self._started_at,
        )
        now = self._clock.now()
        found, self._seen = dated(judge(facts, now), self._seen, now)
        return found

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            word = self.judge().word.value
            if word != self.word:
                self.word = word
                self._on_change()
            await self._clock.sleep(LOOK_SECONDS)
