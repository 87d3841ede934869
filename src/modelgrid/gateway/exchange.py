"""The life of one proxied request, from the choice of a replica to the last byte for the client.

    start → waiting (no replica ready yet) → connecting → sent → answering → over

Where it fails decides what happens: the table in `docs/architecture/gateway.md`.

What a replica has to do is counted in `_attempt` and given back in `_leave` (the prompt, for streams, at the first byte
in `_answering`), and nowhere else; `_over` runs once.
"""

import logging
from time import perf_counter
from typing import TYPE_CHECKING, Final

from modelgrid.gateway.affinity import NO_PROMPT, Prompt, prompt_of
from modelgrid.gateway.counters import CANCELLED, status_class
from modelgrid.gateway.errors import OWN_ERROR, RESTARTING, TOO_MUCH_HELD, Refusal, final_event
from modelgrid.gateway.fleet import ModelEntry
from modelgrid.gateway.heads import AnswerHead
from modelgrid.gateway.no_replica import line_full, none_to_wait_for, waited_too_long
from modelgrid.gateway.relay import Answer, EventAnswer, status_line
from modelgrid.gateway.replica import ReplicaEntry
from modelgrid.gateway.request import Request
from modelgrid.gateway.splice import ask_for_usage
from modelgrid.gateway.usage import NO_TOKENS, USAGE_TAIL_BYTES, usage_of

if TYPE_CHECKING:
    from modelgrid.gateway.core import Core
    from modelgrid.gateway.protocol import ClientConnection
    from modelgrid.gateway.upstream import UpstreamConnection

log = logging.getLogger(__name__)

BUSY: Final = frozenset((429, 503))
"""What an engine answers when it has no room: nothing was generated."""


class Exchange:
    """One request between one client and the replica that answers it."""

    # Defaults live in the class: most requests set few of them, and making an exchange is on the hot path.
    _asked_again = False
    _probe = False
    _paused = False
    _prompt: Prompt | None = None
    """None until a replica has to be chosen among several."""
    _unread = 0
    """Blocks of the prompt counted as the replica's load."""
    _tried: frozenset[str] = frozenset()
    _upstream: "UpstreamConnection | None" = None
    _answer: Answer | None = None
    _status = 0
    _first_byte = 0.0
    _given_at = 0.0
    _joined_at = 0.0
    of_peer = False  # then another node's gateway counts it for its client
    replica: ReplicaEntry | None = None
    _told = False  # the client has the whole answer
    done = False

    def __init__(
        self, core: "Core", client: "ClientConnection", request: Request, model: ModelEntry, body: bytes
    ) -> None:
        self._core = core
        self._client = client
        self._request = request
        self._model = model
        self._upstream_id = core.next_request_id()
        self._id = request.client_id or self._upstream_id
        fields, shape = request.fields, request.endpoint
        asking = ask_for_usage(body, fields) if fields and fields.stream and shape and shape.usage_on_request else None
        self._body, self._hides_usage = asking or body, asking is not None
        self._whole_at = perf_counter()

    # From the client

    def start(self) -> None:
        """Send the request to a replica, or wait for one."""
        self._core.exchanges.add(self)
        self._route()

    def pause(self) -> None:
        """The client does not keep up."""
        self._paused = True
        if self._upstream is not None:
            self._upstream.pause()

    def resume(self) -> None:
        """The client keeps up again."""
        self._paused = False
        if self._upstream is not None:
            self._upstream.resume()

    def client_gone(self) -> None:
        """Nobody waits for the answer any more: stop the engine's work on it."""
        if not self.done:
            self._let_go()
            self._over(CANCELLED, self._answer.tail if self._answer is not None else b"")

    def wait_expired(self) -> None:
        """No replica took it in time."""
        self._turn_away(waited_too_long(self._model))

    @property
    def has_alternative(self) -> bool:
        """Another replica would take it now."""
        tried = self._tried | {self.replica.id} if self.replica is not None else self._tried
        return not self._asked_again and self._model.has_place_but(tried)

    @property
    def waiting(self) -> bool:
        """In the model's line."""
        return not self.done and self.replica is None

    def drain_expired(self) -> None:
        """The gateway ends and this request is not over."""
        self._fail(RESTARTING)

    def crashed(self) -> None:
        """An error of the gateway's own came in the way (whoever caught it has logged it): no replica is to blame."""
        try:
            if not (self.done or self._told):
                self._fail(OWN_ERROR)
                return
        except Exception:
            log.exception("request %s could not even be refused", self._id.decode())
        self._client.abort()

    # From the fleet

    def try_replica(self) -> bool:
        """Go to a replica that has a place, if there is one."""
        replica = self._pick(self._tried)
        if replica is None:
            return False
        self._client.wait_over()
        if self._joined_at:
            self._note_wait()
        self._attempt(replica)
        return True

    def table_changed(self, *, removed: bool) -> None:
        """There is a new routing table, and this request still waits: does it have to? Not for what was `removed`."""
        if removed or not self._may_wait():
            self._client.wait_over()
            self._refuse_waiting()

    # From the connection

    def connect_failed(self, replica: ReplicaEntry, reason: str) -> None:
        """No connection to `replica`: nothing was sent."""
        if not self.done:
            self._core.counters.upstream_failures[replica.id, "connect"] += 1
            self._elsewhere(replica, reason)

    def connected(self, connection: "UpstreamConnection") -> None:
        """Send the request over `connection`."""
        replica: ReplicaEntry = self.replica  # type: ignore[assignment]  # the pool asked; set in _attempt
        self._upstream = connection
        head = self._request.head_for(replica.host_header, self._upstream_id, len(self._body))
        connection.send(self, head, self._body)

    def connection_failed(self, connection: "UpstreamConnection", reason: str, *, accepted: bool) -> None:
        """The connection ended before an answer. `accepted`: the replica has the whole request."""
        replica: ReplicaEntry = self.replica  # type: ignore[assignment]  # a connection belongs to a replica
        self._upstream = None
        if not accepted and connection.reused:
            self._core.counters.resends[replica.id] += 1
            replica.pool.open(self)
        elif not accepted:
            self.connect_failed(replica, reason)
        else:
            self.broken("accepted", f"{reason} after it had accepted the request and before it answered")

    def turned_away(self, reason: str, *, busy: bool) -> None:
        """The gateway at the replica's node gave it to no engine. `busy`: none had a place."""
        replica, self._upstream = self.replica, None
        assert replica is not None  # noqa: S101 (a connection belongs to a replica)
        self._elsewhere(replica, reason, busy=busy)

    def answer_began(self, status: int, lines: bytes, length: int | None, *, sse: bool) -> None:
        """Head of the answer: `lines` are the headers to pass on, each with its line end."""
        request = self._request
        self._status = status
        if status not in BUSY:  # it has taken the request, which therefore goes nowhere else
            self._let_body_go()
            self._client.let_body_go()
        head = self._client.head_of(request, self._id, status_line(status) + lines)
        chunked = request.version == "1.1"
        if sse:
            self._answer = EventAnswer(head, form=request.form, chunked=chunked, hides_usage=self._hides_usage)
        else:
            self._answer = Answer(head, length=length, chunked=chunked, hold=status in BUSY)

    def answer_payload(self, data: bytes) -> None:
        """A piece of payload; passed on by the `answer_continues` or `answer_ended` that follows."""
        if not self._first_byte:
            self._answering()
        self._answer.add(data)  # type: ignore[union-attr]  # the head came first

    def answer_continues(self) -> bool:
        """All that arrived together was handed over. Return whether the next bytes are due within the idle time."""
        self._client.write(self._answer.take())  # type: ignore[union-attr]  # called after the head only
        return self._first_byte > 0 and not self._paused

    def answer_chunk(self, chunk: bytes, begin: int) -> bool:
        """A chunk came by itself, whose payload begins at `begin`: what the two above do, in one."""
        answer = self._answer
        if isinstance(answer, EventAnswer) and answer.passes(chunk):
            self._client.write(chunk)
            return not self._paused
        self.answer_payload(chunk[begin:-2])
        return self.answer_continues()

    def answer_ended(self, connection: "UpstreamConnection", *, reusable: bool) -> None:
        """The answer is whole."""
        answer = self._answer
        assert answer is not None  # noqa: S101 (the head came first)
        self._upstream = None  # a client that has no room for the end must not pause it for its next request
        if self._status in BUSY and not answer.started and self._ask_another(connection, reusable=reusable):
            return
        self._client.write(answer.end())
        self._answered(connection, status_class(self._status), answer.tail, reusable=reusable)

    def answer_whole(self, connection: "UpstreamConnection", head: AnswerHead, payload: bytes, reusable: bool) -> None:
        """A good answer came at once: what the three above do, in one."""
        self._status = 200
        self._first_byte = perf_counter()
        self._let_body_go()
        self._upstream = None  # as in `answer_ended`
        lines = self._client.head_of(self._request, self._id, head.lines)
        self._client.write(b"%bContent-Length: %d\r\n\r\n%b" % (lines, len(payload), payload))
        self._answered(connection, "2xx", payload[-USAGE_TAIL_BYTES:], reusable=reusable)

    def _ask_another(self, connection: "UpstreamConnection", *, reusable: bool) -> bool:
        """The replica is too busy and has generated nothing: once, ask another one, if there is one with a place."""
        replica: ReplicaEntry = self.replica  # type: ignore[assignment]  # a connection belongs to a replica
        tried = self._tried | {replica.id}
        other = None if self._asked_again else self._pick(tried)
        if other is None:
            return False
        self._part(connection, reusable=reusable)
        self._core.counters.failovers[replica.id] += 1
        self._asked_again, self._tried = True, tried
        self._answer, self._first_byte, self._status = None, 0.0, 0
        self._leave()
        self._attempt(other)
        return True

    def _part(self, connection: "UpstreamConnection", *, reusable: bool) -> None:
        """The replica has answered, and goes on without this request."""
        replica: ReplicaEntry = self.replica  # type: ignore[assignment]  # a connection belongs to a replica
        if reusable:
            replica.pool.give_back(connection)
        else:
            connection.abort()
        replica.answered(self._status, probe=self._probe)

    def _answered(self, connection: "UpstreamConnection", status: str, tail: bytes, *, reusable: bool) -> None:
        self._told = True
        self._part(connection, reusable=reusable)
        self._over(status, tail)
        self._client.exchange_over()

    def broken(self, kind: str, reason: str, *, status: int = 502) -> None:
        """The replica has the request, and its answer will not be whole. Its connection is closed."""
        replica, self._upstream = self.replica, None
        assert replica is not None  # noqa: S101 (a connection belongs to a replica)
        log.warning("replica %s %s; request %s", replica.id, reason, self._id.decode())
        self._fail(replica.broke(kind, reason, status, self._model.route.id))

    # Inside

    def _pick(self, tried: frozenset[str]) -> ReplicaEntry | None:
        model, prompt, request = self._model, self._prompt, self._request
        if prompt is None and request.fields is not None and len(model.replicas) > 1:
            self._prompt = prompt = prompt_of(request.fields, model.route.id)
        return model.pick(self._core.deadlines.clock, tried, prompt or NO_PROMPT, request.session)

    def _let_body_go(self) -> None:
        self._body, self._request.fields = b"", None  # the fields are parts of the body, and keep it

    def _route(self) -> None:
        """Go to a replica, or stand in line behind those who wait already."""
        if self._model.line.waiting or not self.try_replica():
            self._wait()

    def _may_wait(self) -> bool:
        """Whether a replica that has not been tried is there, or on its way."""
        return self._model.may_serve(self._tried)

    def _wait(self) -> None:
        model = self._model
        if not model.has_ready_replica:
            self._core.want(model.route.id)
        if not self._may_wait():
            self._refuse_waiting()
            return
        place = model.line.look()
        if place.waits and not self._client.hold(len(self._body)):
            self._fail(TOO_MUCH_HELD)
        elif place.waits:
            self._joined_at = perf_counter()
            model.line.join(self)
            self._client.wait_for(self._core.settings.queue_seconds)
        else:
            self._turn_away(line_full(model))

    def _refuse_waiting(self) -> None:
        removed = self._core.fleet.find(self._model.route.id) is not self._model
        self._turn_away(none_to_wait_for(self._model, removed=removed, tried=bool(self._tried)))

    def _attempt(self, replica: ReplicaEntry) -> None:
        self.replica = replica
        self._given_at = perf_counter()
        self._probe = replica.breaker.half_open
        self._unread = replica.begin(self._prompt or NO_PROMPT)
        replica.pool.serve(self)

    def _answering(self) -> None:
        """The first payload byte is here."""
        self._first_byte = perf_counter()
        replica: ReplicaEntry = self.replica  # type: ignore[assignment]  # it answers
        if isinstance(self._answer, EventAnswer):
            replica.has_read(self._unread)
            self._unread = 0
            if self._probe and self._status < 400:  # a stream may last: that it began is proof enough
                replica.succeeded(probe=True)

    def _leave(self) -> None:
        replica, self.replica = self.replica, None
        if replica is not None:
            replica.end(self._unread)

    def _elsewhere(self, replica: ReplicaEntry, reason: str, *, busy: bool = False) -> None:
        if not busy:
            log.warning("replica %s %s; request %s goes elsewhere", replica.id, reason, self._id.decode())
            replica.failed(reason, unreachable=True)
        self._core.counters.failovers[replica.id] += 1
        self._tried |= {replica.id}
        self._leave()
        self._route()

    def _turn_away(self, refusal: Refusal) -> None:
        self._core.counters.shed[self._model.route.id, refusal.code] += 1
        self._fail(refusal)

    def _fail(self, refusal: Refusal) -> None:
        """End with `refusal`: as an answer, as the last event of the stream, or by cutting the connection."""
        if self.done:
            return
        self._let_go()
        answer, request = self._answer, self._request
        if answer is None or not answer.started:
            self._over(status_class(refusal.status))
            self._client.refuse(request, refusal, self._id)
            self._client.exchange_over()
            return
        if not self.of_peer:  # the gateway at the other end says it, to its client
            self._client.write(answer.fail(final_event(refusal, request.form, self._id.decode(), answer.first)))
        log.warning("request %s ended in the middle of its answer: %s", self._id.decode(), refusal.code)
        self._over(status_class(refusal.status), answer.tail)
        self._client.will_close = True
        self._client.exchange_over()

    def _let_go(self) -> None:
        """Leave the queue and the connection, whichever holds this request."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.abort()
        if self.replica is None:
            self._model.line.leave(self)
            if self._joined_at:
                self._note_wait()

    def _note_wait(self) -> None:
        """Count the time in line; it is not the gateway's own."""
        now = perf_counter()
        self._core.counters.queue_waits[self._model.route.id].observe(now - self._joined_at)
        self._joined_at, self._whole_at = 0.0, now

    def _over(self, status: str, tail: bytes = b"") -> None:
        """Count the request, whose answer ends with `tail`, and give back everything it held. Runs once."""
        self.done, usage = True, NO_TOKENS
        core, request, replica, now = self._core, self._request, self.replica, perf_counter()
        core.exchanges.discard(self)
        worked = replica is not None and self._status < 400  # a replica that refuses has generated nothing
        try:
            usage = usage_of(tail)
            counters = core.peer_counters if self.of_peer else core.counters
            model, first_byte, name = self._model, self._first_byte, self._model.route.id
            counters.over(request, name, replica.id if replica else "", status, now, first_byte, usage)
            if first_byte and worked:
                model.line.served(now - self._given_at)
                if not self._tried:
                    counters.overheads[name].observe(self._given_at - self._whole_at)
        finally:
            if request.ticket is not None:
                request.ticket.close(sum(usage) or (None if worked else 0))
            self._leave()
