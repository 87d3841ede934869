"""Steady traffic for the demonstration: a few clients that talk to the models that run, with pauses in between."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import httpx

TALKERS = 8
_TOPICS = (
    "What is a mixture of experts?", "Write a haiku about queues.", "Why is the sky blue?",
    "Summarise the plot of Hamlet in two sentences.", "Name three uses of a heat pump.", "Explain paged attention.",
    "Translate 'good morning' into five languages.",
)  # fmt: skip
_SHARES = (0, 1, 0, 2, 0, 3, 0, 1, 0, 2)
"""Which of the models is asked next: the first one, which runs twice, gets half of all requests."""
_PATIENCE_SECONDS = 30.0
_REST_SECONDS = 1.0
"""After a request that failed."""


@dataclass(slots=True)
class Traffic:
    """`bases`: the API base URL of each node; each gateway is used in turn. `models` may change while it runs."""

    bases: Sequence[str]
    key: str = field(repr=False)
    models: Sequence[str]
    answered: int = 0
    refused: int = 0

    async def run(self) -> None:
        """Talk until cancelled."""
        headers = {"Authorization": f"Bearer {self.key}"}
        limits = httpx.Limits(max_connections=2 * TALKERS)
        async with (
            httpx.AsyncClient(headers=headers, timeout=_PATIENCE_SECONDS, limits=limits, trust_env=False) as http,
            asyncio.TaskGroup() as talkers,
        ):
            for number in range(TALKERS):
                talkers.create_task(self._talk(http, number))

    async def _talk(self, http: httpx.AsyncClient, number: int) -> None:
        turn = number * 7
        while True:
            turn += 1
            # Pauses grow and shrink, so that lines on the console have a shape; the sequence is always the same.
            await asyncio.sleep(0.1 + 1.2 * ((turn * 7919) % 13) / 13)
            base = self.bases[turn % len(self.bases)]
            model = self.models[_SHARES[(turn + number) % len(_SHARES)] % len(self.models)]
            if not await self._ask(http, base, model, _TOPICS[turn % len(_TOPICS)], stream=turn % 4 != 0):
                self.refused += 1
                await asyncio.sleep(_REST_SECONDS)
            else:
                self.answered += 1

    async def _ask(self, http: httpx.AsyncClient, base: str, model: str, text: str, *, stream: bool) -> bool:
        messages = [{"role": "user", "content": text}]
        body = {"model": model, "messages": messages, "max_tokens": 40 + 12 * (len(text) % 7), "stream": stream}
        with contextlib.suppress(httpx.HTTPError):
            async with http.stream("POST", f"{base}/chat/completions", json=body) as answer:
                async for _ in answer.aiter_raw():
                    pass
                return answer.status_code == 200
        return False
