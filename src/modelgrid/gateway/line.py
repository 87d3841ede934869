"""The requests that wait for a replica of one model: first come, first served, and bounded."""

import logging
from collections import deque
from typing import TYPE_CHECKING, Final

from modelgrid.decide.waiting import Line, Place, load_left, stand_in_line
from modelgrid.gateway.board import tag_of

if TYPE_CHECKING:
    from modelgrid.gateway.core import Core
    from modelgrid.gateway.exchange import Exchange
    from modelgrid.gateway.fleet import ModelEntry

log = logging.getLogger(__name__)

_WEIGHT: Final = 0.05
"""Of the newest service time in the mean: about the last 40 requests count."""
POLL_SECONDS: Final = 0.01
"""How often a line looks for a place that another gateway process gave up; its own are given on at once."""


class WaitingLine:
    """See the module. Its length is on the shared page, so that the bound holds for all gateways together."""

    def __init__(self, core: "Core", model: "ModelEntry") -> None:
        self._core = core
        self._model = model
        self._tag = tag_of("model", model.route.id)
        self._record = core.board.record(self._tag)
        self.waiting: deque[Exchange] = deque()
        """In order. For looking only: `join` and `leave` change it."""
        self._service: float | None = None
        self._polling = False

    def __len__(self) -> int:
        return len(self.waiting)

    def __contains__(self, exchange: "Exchange") -> bool:
        return exchange in self.waiting

    @property
    def elsewhere(self) -> int:
        """Requests that wait for the model in other gateway processes."""
        return self._core.board.elsewhere(self._record)

    def served(self, seconds: float) -> None:
        """A replica held a request for so long."""
        mean = self._service
        self._service = seconds if mean is None else mean + _WEIGHT * (seconds - mean)

    def look(self) -> Place:
        """Return what one more request would be told."""
        route, settings = self._model.route, self._core.settings
        places = sum(replica.places for replica in self._model.replicas if replica.ready)
        left = load_left(route.retry_after_seconds, route.loading_since, self._core.deadlines.wall)
        return stand_in_line(
            Line(
                waiting=len(self.waiting) + self.elsewhere,
                limit=settings.queue_limit,
                patience=settings.queue_seconds,
                places=places,
                service=self._service,
                load_left=0.0 if places else left,
            )
        )

    def join(self, exchange: "Exchange") -> None:
        """Wait at the end of the line."""
        self.waiting.append(exchange)
        self._changed()
        if not self._polling and self._core.board.others:
            self._polling = True
            self._core.loop.call_later(POLL_SECONDS, self._poll)

    def leave(self, exchange: "Exchange") -> None:
        """No longer wait; nothing happens to one that does not."""
        if exchange in self.waiting:
            self.waiting.remove(exchange)
            self._changed()

    def advance(self) -> None:
        """Give replicas that have a place to those who wait, in order."""
        for exchange in tuple(self.waiting):
            if not self._model.has_place:
                return
            try:
                if exchange.try_replica():
                    self.leave(exchange)
            except Exception:  # it must not be taken for one of whoever gave up the place
                log.exception("the gateway itself failed at giving a replica to a request")
                self.leave(exchange)
                exchange.crashed()

    def everyone(self) -> tuple["Exchange", ...]:
        """Return who waits, in order."""
        return tuple(self.waiting)

    def refresh(self) -> None:
        """Keep the record on the shared page."""
        self._record = self._core.board.record(self._tag)
        self._core.board.touch(self._record)
        self._changed()

    def _changed(self) -> None:
        self._core.board.put(self._record, len(self.waiting))

    def _poll(self) -> None:
        self._polling = False
        self.advance()
        if self.waiting:
            self._polling = True
            self._core.loop.call_later(POLL_SECONDS, self._poll)
