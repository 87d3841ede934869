"""Which prompts begin with text that was seen before: vLLM's automatic prefix caching, by hashes alone."""

from modelgrid.simulator.settings import BLOCK_TOKENS
from modelgrid.simulator.text import BYTES_PER_TOKEN

_BLOCK_BYTES = BLOCK_TOKENS * BYTES_PER_TOKEN


class PrefixCache:
    """Hashes of whole blocks, each chained to the one before it, least recently used first out."""

    def __init__(self, capacity: int) -> None:
        """`capacity` is in blocks of `BLOCK_TOKENS` tokens."""
        self._capacity = capacity
        self._blocks: dict[int, None] = {}
        self.queries = 0
        """Prompt tokens looked up."""
        self.hits = 0
        """Prompt tokens that were found."""

    def admit(self, prompt: bytes, tokens: int) -> int:
        """Look `prompt` up, keep it, and return how many of its `tokens` were there.

        At least one token is always computed, as in vLLM: its logits begin the answer."""
        chain = 0
        hashes: list[int] = []
        for at in range(0, len(prompt) - _BLOCK_BYTES + 1, _BLOCK_BYTES):
            chain = hash((chain, prompt[at : at + _BLOCK_BYTES]))
            hashes.append(chain)
        found = 0
        for block in hashes[: (tokens - 1) // BLOCK_TOKENS]:
            if block not in self._blocks:
                break
            found += BLOCK_TOKENS
        # Tail first, so that heads, which more prompts share, are the last to go.
        for block in reversed(hashes):
            self._blocks.pop(block, None)
            self._blocks[block] = None
        while len(self._blocks) > self._capacity:
            del self._blocks[next(iter(self._blocks))]
        self.queries += tokens
        self.hits += found
        return found

    def clear(self) -> None:
        self._blocks.clear()
