"""The engine that is simulated: who runs, who waits, when the next token is due, and what is counted."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from modelgrid.simulator.faults import Faults
from modelgrid.simulator.metrics import EngineMetrics
from modelgrid.simulator.prefix_cache import PrefixCache
from modelgrid.simulator.settings import BLOCK_TOKENS, EngineSettings
from modelgrid.simulator.text import count_tokens

_BURST = 256
"""Tokens sent in one turn of the loop when many are due at once, so that others get theirs."""


class Sequence:
    """One choice of an answer: its tokens as text, and why it ends."""

    __slots__ = ("finish_reason", "pieces", "stop_reason")

    def __init__(self, pieces: list[str], finish_reason: str = "stop", stop_reason: str | None = None) -> None:
        self.pieces = pieces
        self.finish_reason = finish_reason
        self.stop_reason = stop_reason


class Sink(Protocol):
    """Where the tokens of a generation go. The engine calls it; it writes to the client."""

    def tokens(self, generation: "Generation", first: int, last: int) -> None:
        """Send the tokens `first` up to, not including, `last` of every sequence. Only called for streams."""

    def finished(self, generation: "Generation") -> None:
        """Send the end, or without a stream the whole answer."""

    def broken(self, generation: "Generation", message: str) -> None:
        """Send `message` as the error that ends a stream."""


class Generation:
    """One request on its way through the engine."""

    __slots__ = (
        "arrived", "blocks", "cached_tokens", "due_from", "ended", "first_at", "itl", "last_at", "max_tokens",
        "output_tokens", "paused", "prompt_tokens", "prompts", "sent", "sequences", "sink", "started", "steps",
        "stream", "timer",
    )  # fmt: skip

    def __init__(
        self,
        *,
        prompts: tuple[bytes, ...],
        sequences: list[Sequence],
        sink: Sink,
        stream: bool,
        max_tokens: int = 0,
    ) -> None:
        """`prompts` are as they are counted and cached; `max_tokens` is what was asked, 0 when nothing was."""
        self.prompts = prompts
        self.prompt_tokens = sum(count_tokens(prompt) for prompt in prompts)
        self.sequences = sequences
        self.sink = sink
        self.stream = stream
        self.max_tokens = max_tokens
        self.steps = max((len(sequence.pieces) for sequence in sequences), default=0)
        self.output_tokens = sum([len(sequence.pieces) for sequence in sequences])
        self.blocks = -(-(self.prompt_tokens + self.output_tokens) // BLOCK_TOKENS)
        self.cached_tokens = 0
        self.sent = 0
        self.arrived = self.started = self.first_at = self.last_at = self.due_from = self.itl = 0.0
        self.paused = self.ended = False
        self.timer: asyncio.Handle | None = None


class Engine:
    """Scheduler of generations. Everything happens on the event loop's thread; no call blocks."""

    def __init__(
        self,
        settings: EngineSettings,
        metrics: EngineMetrics,
        *,
        loop: asyncio.AbstractEventLoop,
        die: Callable[[str], None],
        kill: Callable[[], None],
    ) -> None:
        """`die` ends the process with code 1 and a reason, `kill` with SIGKILL."""
        self._settings = settings
        self._metrics = metrics
        self._loop = loop
        self._die = die
        self._kill = kill
        self._cache = PrefixCache(settings.cache_blocks if settings.prefix_caching else 0)
        self._active: dict[Generation, None] = {}
        self._waiting: dict[Generation, None] = {}
        self._hung: dict[Generation, None] = {}
        self._admitting = False
        self._blocks_used = 0
        self._busy_since: float | None = None
        self._busy_seconds = 0.0
        self._answered = 0
        self._faults = settings.faults
        self.running = 0
        """Sequences that generate."""
        self.waiting = 0
        """Sequences that wait for their turn."""

    @property
    def faults(self) -> Faults:
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._faults = faults
        self._answered = 0
        if not faults.hang:
            hung, self._hung = self._hung, {}
            for generation in hung:
                self._begin(generation)

    @property
    def cache_usage(self) -> float:
        """Share of the KV cache that running requests hold, 0 to 1."""
        return min(1.0, self._blocks_used / self._settings.cache_blocks) if self._settings.cache_blocks else 0.0

    @property
    def cache_queries(self) -> int:
        return self._cache.queries

    @property
    def cache_hits(self) -> int:
        return self._cache.hits

    def busy_seconds(self) -> float:
        """Return for how long at least one request was running since the engine started."""
        since = self._busy_since
        return self._busy_seconds + (self._loop.time() - since if since is not None else 0.0)

    def submit(self, generation: Generation) -> None:
        """Start `generation`, or let it wait for its turn. May already have called its sink when this returns."""
        generation.arrived = self._loop.time()
        if self._waiting or not self._fits(generation):
            self._waiting[generation] = None
            self.waiting += len(generation.sequences)
        else:
            self._start(generation)

    def abort(self, generation: Generation) -> None:
        """Forget `generation`: its client is gone. Its sink is not called again. Repeating does nothing."""
        if generation.ended:
            return
        self._metrics.success["abort"] += len(generation.sequences)
        self._end(generation)

    def pause(self, generation: Generation) -> None:
        """Hold back tokens until `resume`: the client reads too slowly."""
        generation.paused = True

    def resume(self, generation: Generation) -> None:
        if generation.paused:
            generation.paused = False
            if generation in self._active and generation.timer is None and generation not in self._hung:
                self._advance(generation)

    def _fits(self, generation: Generation) -> bool:
        if not self.running:
            return True  # whatever is asked alone must be served, or it would wait for ever
        return (
            self.running + len(generation.sequences) <= self._settings.max_sequences
            and self._blocks_used + generation.blocks <= self._settings.cache_blocks
        )

    def _start(self, generation: Generation) -> None:
        generation.started = self._loop.time()
        self._active[generation] = None
        if not self.running:
            self._busy_since = generation.started
        self.running += len(generation.sequences)
        self._blocks_used += generation.blocks
        if self._settings.prefix_caching:
            for prompt in generation.prompts:
                generation.cached_tokens += self._cache.admit(prompt, count_tokens(prompt))
        if self._faults.hang:
            self._hung[generation] = None
        else:
            self._begin(generation)

    def _begin(self, generation: Generation) -> None:
        settings = self._settings
        computed = generation.prompt_tokens - generation.cached_tokens
        prefill = computed / settings.prefill_rate if settings.prefill_rate else 0.0
        generation.itl = settings.token_seconds * self._faults.slow
        delay = (settings.first_token_seconds + prefill) * self._faults.slow
        generation.due_from = self._loop.time() + delay
        self._metrics.prompt_tokens += generation.prompt_tokens
        self._metrics.cached_tokens += generation.cached_tokens
        if not generation.stream:
            delay += max(0, generation.steps - 1) * generation.itl
        if delay > 0:
            generation.timer = self._loop.call_later(delay, self._advance, generation)
        else:
            self._advance(generation)

    def _advance(self, generation: Generation) -> None:
        """Send what is due. Called by the timer of the next token, and when a slow client reads again."""
        generation.timer = None
        if not generation.stream:
            generation.first_at = generation.due_from
            generation.last_at = self._loop.time()
            self._metrics.generation_tokens += generation.output_tokens
            if generation.steps > 1:
                pace = (generation.last_at - generation.first_at) / (generation.steps - 1)
                self._metrics.inter_token.observe(pace, generation.output_tokens - len(generation.sequences))
            self._finish(generation)
            return
        if generation.paused:
            return
        now = self._loop.time()
        itl = generation.itl
        due = generation.steps
        if itl > 0:
            due = min(due, int((now - generation.due_from) / itl + 1e-6) + 1)
        due = min(due, generation.sent + _BURST)
        if self._faults.mid_stream:
            due = self._limit_to_fault(generation, due)
        if due > generation.sent:
            self._send(generation, due, now)
        if generation.ended:
            return
        if self._faults.mid_stream and self._break_stream(generation):
            return
        if generation.sent >= generation.steps:
            self._finish(generation)
        elif not generation.paused:
            at = generation.due_from + generation.sent * itl
            if at <= now:
                generation.timer = self._loop.call_soon(self._advance, generation)
            else:
                generation.timer = self._loop.call_at(at, self._advance, generation)

    def _send(self, generation: Generation, due: int, now: float) -> None:
        first, metrics = generation.sent, self._metrics
        count = sum(
            min(due, len(sequence.pieces)) - min(first, len(sequence.pieces)) for sequence in generation.sequences
        )
        metrics.generation_tokens += count
        if first == 0:
            generation.first_at = generation.last_at = now
            count -= len(generation.sequences)
        if count > 0:
            metrics.inter_token.observe((now - generation.last_at) / max(1, due - first), count)
        generation.last_at = now
        generation.sent = due
        generation.sink.tokens(generation, first, due)

    def _limit_to_fault(self, generation: Generation, due: int) -> int:
        faults = self._faults
        limits = (faults.die_mid_stream, faults.drop_mid_stream, faults.error_mid_stream)
        return max(generation.sent, min(due, *(limit for limit in limits if limit is not None)))

    def _break_stream(self, generation: Generation) -> bool:
        faults = self._faults
        if faults.die_mid_stream is not None and generation.sent >= faults.die_mid_stream:
            # Later, so that what was written reaches the socket first.
            generation.timer = self._loop.call_later(0.01, self._kill)
            return True
        if faults.error_mid_stream is not None and generation.sent >= faults.error_mid_stream:
            self._metrics.success["error"] += len(generation.sequences)
            self._end(generation)
            generation.sink.broken(generation, "Internal server error")
            return True
        if faults.drop_mid_stream is not None and generation.sent >= faults.drop_mid_stream:
            self._metrics.success["error"] += len(generation.sequences)
            self._end(generation)
            generation.sink.broken(generation, "")
            return True
        return False

    def _finish(self, generation: Generation) -> None:
        metrics, sequences = self._metrics, generation.sequences
        for sequence in sequences:
            metrics.success[sequence.finish_reason] += 1
            metrics.request_generation_tokens.observe(len(sequence.pieces))
        metrics.request_prompt_tokens.observe(generation.prompt_tokens)
        metrics.prefill_computed.observe(generation.prompt_tokens - generation.cached_tokens)
        metrics.max_generation_tokens.observe(generation.steps)
        metrics.params_n.observe(len(sequences))
        metrics.preemptions.observe(0)
        if generation.max_tokens:
            metrics.params_max_tokens.observe(generation.max_tokens)
        now = self._loop.time()
        metrics.e2e.observe(now - generation.arrived)
        metrics.queue.observe(generation.started - generation.arrived)
        metrics.inference.observe(now - generation.started)
        if generation.steps:
            first = generation.first_at
            metrics.first_token.observe(first - generation.arrived)
            metrics.prefill.observe(first - generation.started)
            metrics.decode.observe(generation.last_at - first)
            if generation.steps > 1:
                metrics.time_per_token.observe((generation.last_at - first) / (generation.steps - 1))
        generation.ended = True
        generation.sink.finished(generation)
        self._release(generation)
        self._answered += 1
        if self._faults.exit_after is not None and self._answered >= self._faults.exit_after:
            self._die(f"simulated fault: exit-after={self._faults.exit_after}")

    def _end(self, generation: Generation) -> None:
        generation.ended = True
        self._hung.pop(generation, None)
        if generation.timer is not None:
            generation.timer.cancel()
            generation.timer = None
        self._release(generation)

    def _release(self, generation: Generation) -> None:
        if generation in self._waiting:
            del self._waiting[generation]
            self.waiting -= len(generation.sequences)
        else:
            del self._active[generation]
            self.running -= len(generation.sequences)
            self._blocks_used -= generation.blocks
            if not self.running and self._busy_since is not None:
                self._busy_seconds += self._loop.time() - self._busy_since
                self._busy_since = None
        if self._admitting:
            return  # a generation that ends as it starts: the loop below is our caller
        self._admitting = True
        try:
            while self._waiting and self._fits(following := next(iter(self._waiting))):
                del self._waiting[following]
                self.waiting -= len(following.sequences)
                self._start(following)
        finally:
            self._admitting = False
