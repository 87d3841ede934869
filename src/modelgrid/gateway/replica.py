"""One replica as this gateway sees it: its connections, what it has to do, what it has read, how it has behaved."""

from math import inf
from typing import TYPE_CHECKING, Final

from modelgrid.decide.breaker import CLOSED, after_failure, after_success
from modelgrid.domain.routing import Replica, ReplicaState
from modelgrid.gateway.affinity import PrefixTable, Prompt, capacity_of
from modelgrid.gateway.board import tag_of
from modelgrid.gateway.errors import Refusal
from modelgrid.gateway.line import WaitingLine
from modelgrid.gateway.upstream import Pool

if TYPE_CHECKING:
    from modelgrid.gateway.core import Core

STOPPED: Final = "replica_stopped"
"""Code and reason where a replica that was asked to end did so before a request was over."""
_CUT: Final = frozenset(("accepted", "mid_stream"))


class ReplicaEntry:
    """See the module. `begin`, `has_read` and `end` are the only places where its load changes."""

    __slots__ = (
        "_board",
        "_core",
        "_line",
        "_record",
        "_tag",
        "aside_until",
        "breaker",
        "host_header",
        "id",
        "last_failure",
        "last_failure_at",
        "last_success_at",
        "leaving",
        "load",
        "outstanding",
        "place",
        "places",
        "pool",
        "prefixes",
        "ready",
    )  # fmt: skip

    def __init__(self, core: "Core", replica: Replica, line: WaitingLine) -> None:
        self._core = core
        self.id = replica.id
        self._board = core.board
        self._line = line
        self._tag = tag_of("replica", replica.id)
        self._record = core.board.record(self._tag)
        self.place: object = (replica.host, replica.port)
        """Where it is; a replica of the same id somewhere else is another one."""
        self.places = replica.places or inf
        """Requests it can work on at once, from all gateways."""
        self.ready = replica.state is ReplicaState.READY
        self.leaving = not self.ready
        """It drains, or is no longer in the table: that it ends is no failure."""
        self.outstanding = 0
        """Requests that this process gave to it and that are not yet over."""
        self.load = 0
        """Blocks of prompts it has still to read, plus `outstanding`."""
        self.prefixes = PrefixTable(capacity_of(replica.cache_blocks))
        self.breaker = CLOSED
        self.aside_until = 0.0
        """Of the breaker; without end while a probe is under way."""
        self.last_success_at: float | None = None
        self.last_failure_at: float | None = None
        self.last_failure = ""
        host = f"[{replica.host}]" if ":" in replica.host else replica.host
        self.host_header = f" HTTP/1.1\r\nHost: {host}:{replica.port}\r\n".encode()
        """What follows the target in every request to this replica."""
        self.pool = Pool(core, self, replica.host, replica.port)

    def update(self, replica: Replica) -> None:
        """Take over what a new table says; the address is the same."""
        ready = replica.state is ReplicaState.READY
        if ready and not self.ready:  # control has seen it well: what was held against the old engine is over
            self.breaker = CLOSED
            self.aside_until = 0.0
            self.prefixes.clear()
        self.ready, self.leaving = ready, not ready
        self.places = replica.places or inf
        self.prefixes.capacity = capacity_of(replica.cache_blocks)

    def leave(self) -> None:
        """It is no longer in the table: requests under way go on, and what is kept for others goes at once."""
        self.leaving = True
        self.pool.close()
        self.prefixes.clear()

    def takes(self, now: float) -> bool:
        """Whether it may be given a request, looked at alone. `now`: the loop's clock."""
        return self.ready and self.aside_until <= now and not self.full

    @property
    def full(self) -> bool:
        """Holds as many requests as it can work on.

        With several gateway processes, one whose requests wait elsewhere keeps to its share of the places.
        """
        own, others = self.outstanding, self._board.others
        if own >= self.places or not others:
            return own >= self.places
        if own + self._board.elsewhere(self._record) >= self.places:
            return True
        return self._line.elsewhere > 0 and own * (1 + len(others)) >= self.places

    def refresh(self) -> None:
        """Keep its record on the shared page."""
        self._record = self._board.record(self._tag)
        self._board.touch(self._record)
        self._board.put(self._record, self.outstanding)

    def begin(self, prompt: Prompt) -> int:
        """Count a request that is given to it; return the blocks it has to read for it, for `has_read` or `end`."""
        self.outstanding = number = self.outstanding + 1
        self._board.put(self._record, number)
        if self.breaker.failures and self.breaker.half_open:
            self.aside_until = inf
        unread = prompt.size
        if unread:
            unread -= self.prefixes.learn(prompt.marks)
        self.load += unread + 1
        return unread

    def has_read(self, unread: int) -> None:
        """It has read the prompt of a request that goes on."""
        self.load -= unread

    def end(self, unread: int) -> None:
        """A request is over, and whoever waits may have its place; `unread`: blocks not yet given to `has_read`."""
        self.outstanding = number = self.outstanding - 1
        self._board.put(self._record, number)
        self.load -= unread + 1
        if self.aside_until == inf:
            self.aside_until = self.breaker.aside_until
        if self._line.waiting:
            self._line.advance()

    def answered(self, status: int, *, probe: bool) -> None:
        """It gave a whole answer. One with a 4xx status says nothing about it."""
        if status < 400:
            self.succeeded(probe=probe)
        elif status >= 500:
            self.failed(f"answered {status}")

    def succeeded(self, *, probe: bool) -> None:
        """It answered. `probe`: a request that was given to it while its breaker was half-open."""
        core = self._core
        self.last_success_at = core.deadlines.wall
        breaker = self.breaker
        if breaker is not CLOSED:
            seconds = core.settings.eject_seconds
            self.breaker = breaker = after_success(breaker, core.loop.time(), seconds=seconds, probe=probe)
            self.aside_until = breaker.aside_until

    def broke(self, kind: str, reason: str, status: int, model: str) -> Refusal:
        """Its answer to a request will not be whole. Return what the client is told, with this `status`."""
        if self.leaving and kind in _CUT:
            self._core.counters.shed[model, STOPPED] += 1
            said = f"Replica '{self.id}' was taken out of service and has ended before its answer was whole. Try again."
            return Refusal(status=503, code=STOPPED, message=said, retry_after=1)
        self.failed(reason)
        self._core.counters.upstream_failures[self.id, kind] += 1
        return Refusal(status=status, code="replica_failed", message=f"Replica '{self.id}' {reason}.")

    def failed(self, reason: str, *, unreachable: bool = False) -> None:
        """The transport failed, or it answered with a 5xx. `unreachable`: there was no connection."""
        core = self._core
        self.last_failure = reason
        self.last_failure_at = core.deadlines.wall
        self.breaker = after_failure(
            self.breaker, core.loop.time(), seconds=core.settings.eject_seconds, unreachable=unreachable
        )
        self.aside_until = self.breaker.aside_until
