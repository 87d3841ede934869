"""The limits of API keys: asked once per request, before it is given to a replica."""

import time
from math import ceil
from typing import TYPE_CHECKING, Final

from modelgrid.decide.admission import Bound, Limits, admit, remaining, reservable, settle
from modelgrid.domain.routing import KeyGrant
from modelgrid.gateway.board import Board, BoardError, tag_of
from modelgrid.gateway.errors import Refusal
from modelgrid.gateway.scan import answer_tokens
from modelgrid.gateway.shapes import Fields

if TYPE_CHECKING:
    from modelgrid.gateway.request import Request

BYTES_PER_TOKEN: Final = 4
"""Of text, for the estimate. What a request really took is charged when the replica has said it."""

_UNITS: Final = {Bound.REQUESTS: "requests per minute", Bound.TOKENS: "tokens per minute"}
_OVERLOADED: Final = Refusal(
    status=503, code="overloaded", message="Too many keys are in use at once. Try again.", retry_after=1
)


def estimate(fields: Fields, size: int, context: int | None) -> int:
    """Return how many tokens a request with a body of `size` bytes may take: its text and the answer it allows.

    No more than `context` where that is known: images in a body are not four bytes a token.
    """
    tokens = size // BYTES_PER_TOKEN + answer_tokens(fields)
    return tokens if context is None or tokens < context else context


class Limiter:
    """The limits of one key. What it has used up is on the shared page, so that it holds for all gateways together."""

    __slots__ = ("_board", "_label", "_limits", "_lines", "_tag")

    def __init__(self, board: Board, key: KeyGrant, limits: Limits) -> None:
        self._board = board
        self._tag = tag_of("key", key.id)
        self._label = key.label
        self._limits = limits
        self._lines = _lines_of(b"requests", limits.requests) + _lines_of(b"tokens", limits.tokens)

    def admit(self, request: "Request", fields: Fields, size: int, context: int | None) -> Refusal | None:
        """Charge one request with a body of `size` bytes, or return why it may not pass.

        When it passes, `request.ticket` holds what is to be given back; in both cases `request.extra_headers` tells
        the client how much is left.
        """
        board, limits, now = self._board, self._limits, time.monotonic()
        tokens = estimate(fields, size, context) if limits.tokens is not None else 0
        try:
            record = board.record(self._tag)
        except BoardError:
            return _OVERLOADED
        locked = board.lock(record)
        try:
            refused_by, wait, requests_full_at, tokens_full_at = admit(
                limits, board.spent(record), board.under_way(record), tokens, now
            )
            if refused_by is None:
                board.charge(record, requests_full_at, tokens_full_at)
        finally:
            if locked:
                board.unlock(record)
        request.extra_headers = self._headers(requests_full_at, tokens_full_at, now)
        if refused_by is not None:
            return self._refusal(refused_by, wait)
        reserved = reservable(limits.tokens, tokens) if limits.tokens is not None else 0
        request.ticket = Ticket(board, record, limits.tokens, reserved)
        return None

    def _headers(self, requests_full_at: float, tokens_full_at: float, now: float) -> bytes:
        """Return the headers that tell what is left, in OpenAI's names."""
        requests, tokens, _ = self._limits
        told: tuple[int | bytes, ...] = ()
        if requests is not None:
            told = remaining(requests, requests_full_at, now), _duration(requests_full_at - now)
        if tokens is not None:
            told += remaining(tokens, tokens_full_at, now), _duration(tokens_full_at - now)
        return self._lines % told

    def _refusal(self, bound: Bound, wait: float) -> Refusal:
        if bound is Bound.CONCURRENCY:
            said = f"{self._limits.concurrent} of its requests run already. Wait for one to end"
        else:
            limit = self._limits.requests if bound is Bound.REQUESTS else self._limits.tokens
            said = f"its limit is {limit} {_UNITS[bound]}. Try again in {_duration(wait).decode()}"
        return Refusal(
            status=429,
            code="rate_limit_exceeded",
            kind=bound.value,
            message=f"Rate limit reached for the key '{self._label}': {said}.",
            retry_after=max(1, ceil(wait)),
        )


def limiter_of(board: Board, key: KeyGrant, default_requests: int | None) -> Limiter | None:
    """Return what holds the limits of `key`, None when it has none.

    `default_requests`: per minute, for keys without a bound of their own.
    """
    requests = key.requests_per_minute if key.requests_per_minute is not None else default_requests
    limits = Limits(requests, key.tokens_per_minute, key.concurrent_requests)
    return None if limits == (None, None, None) else Limiter(board, key, limits)


class Ticket:
    """What one admitted request holds of its key's limits until it is over."""

    __slots__ = ("_board", "_limit", "_record", "_reserved")

    def __init__(self, board: Board, record: int, limit: int | None, reserved: int) -> None:
        self._board = board
        self._record = record
        self._limit = limit
        self._reserved = reserved

    def close(self, used: int | None) -> None:
        """The request is over. `used`: its tokens; None when nobody knows: the estimate stands. Called once."""
        board, record = self._board, self._record
        if self._limit is not None and used is not None and used != self._reserved:
            locked = board.lock(record)
            try:
                requests_full_at, tokens_full_at = board.spent(record)
                now = time.monotonic()
                board.spend(record, requests_full_at, settle(self._limit, tokens_full_at, self._reserved, used, now))
            finally:
                if locked:
                    board.unlock(record)
        board.add(record, -1)


def _lines_of(unit: bytes, limit: int | None) -> bytes:
    """Return the header lines of one bound, with places for what remains and for when it is full again."""
    if limit is None:
        return b""
    return (
        b"x-ratelimit-limit-%b: %d\r\nx-ratelimit-remaining-%b: %%d\r\nx-ratelimit-reset-%b: %%b\r\n"
        % (unit, limit, unit, unit)
    )  # fmt: skip


def _duration(seconds: float) -> bytes:
    """Return a time as OpenAI writes it: `120ms`, `1.500s`, `6m0s`."""
    if seconds <= 0.0:
        return b"0ms"
    milliseconds = int(seconds * 1000) + 1
    if milliseconds < 1000:
        return b"%dms" % milliseconds
    if milliseconds < 60_000:
        return b"%d.%03ds" % divmod(milliseconds, 1000)
    return b"%dm%ds" % divmod(ceil(seconds), 60)
