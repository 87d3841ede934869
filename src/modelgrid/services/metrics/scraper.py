"""Asks every running engine for its metrics, over and over."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import httpx

from modelgrid.adapters.egress import Egress
from modelgrid.decide.classify import classify
from modelgrid.domain.deployment import Deployment, DeploymentState
from modelgrid.domain.ids import DeploymentId, NodeName
from modelgrid.ports.clock import Clock
from modelgrid.services.metrics.engine import EngineFigures, parse
from modelgrid.services.registry import DeploymentRegistry

ENGINES_PER_SECOND = 20
"""One second between two scrapes of an engine while there are no more; with 100, five."""
TIMEOUT_SECONDS = 2.0
MOST_BYTES = 4 * 1024**2

_SERVES = frozenset({DeploymentState.RUNNING, DeploymentState.DRAINING})


class Scraper:
    """`figures` of deployments whose engine runs."""

    def __init__(self, registry: DeploymentRegistry, clock: Clock, node: NodeName | None = None) -> None:
        """`node`: this one, where there may be others. Each scrapes its own engines."""
        self._node = node
        self._registry = registry
        self._clock = clock
        self.figures: dict[DeploymentId, EngineFigures] = {}
        self._client = httpx.AsyncClient(
            transport=Egress(verify=False),
            timeout=TIMEOUT_SECONDS,
        )
        self._under_way: dict[DeploymentId, asyncio.Task[None]] = {}
        self._listeners: list[Callable[[DeploymentId], None]] = []

    def on_first_reading(self, listener: Callable[[DeploymentId], None]) -> None:
        """Call `listener` when an engine was read for the first time."""
        self._listeners.append(listener)

    async def close(self) -> None:
        for task in self._under_way.values():
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)
        await self._client.aclose()

    async def run(self) -> None:
        """Scrape until cancelled, evenly spread. An engine that does not answer is not asked twice at once."""
        while True:
            serving = self._serving()
            for gone in self.figures.keys() - {item.id for item in serving}:
                del self.figures[gone]
            for deployment in serving:
                self._begin(deployment)
                await self._clock.sleep(max(1.0 / len(serving), 1.0 / ENGINES_PER_SECOND))
            if not serving:
                await self._clock.sleep(1.0)

    def _serving(self) -> list[Deployment]:
        now = self._clock.now()
        here = (
            d
            for d in self._registry.all()
            if self._node is None or d.placement is None or d.placement.node == self._node
        )
        return [d for d in here if d.engine is not None and classify(d, now).state in _SERVES]

    def _begin(self, deployment: Deployment) -> None:
        if deployment.id not in self._under_way:
            task = asyncio.create_task(self._scrape(deployment))
            self._under_way[deployment.id] = task
            task.add_done_callback(lambda _: self._under_way.pop(deployment.id, None))

    async def _scrape(self, deployment: Deployment) -> None:
        assert deployment.engine is not None  # noqa: S101  (`_serving`)
        figures = self.figures.setdefault(deployment.id, EngineFigures())
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                reading = parse(await self._page(f"{deployment.engine.url}/metrics"))
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TimeoutError) as error:
            figures.failed = str(error) or type(error).__name__
            return
        first = figures.latest is None
        figures.take(reading, self._clock.monotonic())
        if first:
            for listener in self._listeners:
                listener(deployment.id)

    async def _page(self, url: str) -> str:
        """Raises `ValueError` for an answer that is no page of metrics."""
        async with self._client.stream("GET", url) as answer:
            if answer.status_code != httpx.codes.OK:
                raise ValueError(f"/metrics answers {answer.status_code}")
            body = bytearray()
            async for part in answer.aiter_bytes():
                body += part
                if len(body) > MOST_BYTES:
                    raise ValueError(f"/metrics has more than {MOST_BYTES // 1024**2} MiB")
        with suppress(UnicodeDecodeError):
            return body.decode()
        raise ValueError("/metrics is no text")
