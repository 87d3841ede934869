"""What of a prompt a replica has read before: prompts as chains of blocks, and a table of them per replica.

An engine's prefix cache holds the beginnings of prompts. Text is cut into blocks of 256 bytes, each hashed together
with all before it, so that one hash stands for a whole beginning. Nothing is tokenized, nothing is asked of the engine;
the table is a guess of what its cache holds, and a wrong one costs time only.
"""

from collections import OrderedDict

from xxhash import xxh3_64_intdigest

from modelgrid.gateway.shapes import Fields

BLOCK_BYTES = 256
"""About 64 tokens: four blocks of an engine's cache."""
BLOCKS_LIMIT = 1024
"""Blocks of a prompt that are looked at: 256 KiB. What comes after counts as work, not as known."""
DEFAULT_CAPACITY = 31_250
"""Blocks per replica when its cache's size is not known: 2 million tokens."""
MAX_CAPACITY = 125_000
"""Bounds the memory of a table at some 20 MB, whatever an engine says."""
ENGINE_BLOCKS_PER_BLOCK = 4
"""An engine's cache block has 16 tokens, of about 4 bytes each."""


class Prompt:
    """The part of a request that a prefix cache can know."""

    __slots__ = ("blocks", "size")

    def __init__(self, blocks: list[int], size: int) -> None:
        self.blocks = blocks
        """One hash per whole block, each for all the text up to its end."""
        self.size = size
        """Blocks of the whole text, those beyond BLOCKS_LIMIT included."""


NO_PROMPT = Prompt([], 0)


def prompt_of(fields: Fields, model: str) -> Prompt:
    """Return the prompt of a request for `model`, from the bytes of its text as they came.

    Of another model or with another `cache_salt`, the same text has other hashes.
    """
    text, lead = fields.messages or fields.prompt or fields.input, fields.system or fields.instructions
    length = len(text) + len(lead)
    if length < BLOCK_BYTES:
        return NO_PROMPT
    seen = bytes(memoryview(lead)[: BLOCK_BYTES * BLOCKS_LIMIT]) if lead else b""
    seen += memoryview(text)[: BLOCK_BYTES * BLOCKS_LIMIT - len(seen)]
    digest = xxh3_64_intdigest(model.encode() + b"\0" + bytes(fields.cache_salt))
    blocks = []
    for at in range(0, len(seen) - BLOCK_BYTES + 1, BLOCK_BYTES):
        digest = xxh3_64_intdigest(seen[at : at + BLOCK_BYTES], digest)
        blocks.append(digest)
    return Prompt(blocks, length // BLOCK_BYTES)


class PrefixTable:
    """The blocks that one replica has read last, as far as this gateway knows."""

    __slots__ = ("_blocks", "capacity")

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        self._blocks: OrderedDict[int, None] = OrderedDict()
        self.capacity = capacity

    def __len__(self) -> int:
        return len(self._blocks)

    def known(self, blocks: list[int]) -> int:
        """Return how many of the first of `blocks` are here.

        A block is never here without those before it: `learn` makes them newer, and the oldest go first. So the end of
        what is known can be found by halving.
        """
        table = self._blocks
        if not blocks or blocks[0] not in table:
            return 0
        low, high = 1, len(blocks)
        while low < high:
            middle = (low + high + 1) // 2
            if blocks[middle - 1] in table:
                low = middle
            else:
                high = middle - 1
        return low

    def learn(self, blocks: list[int]) -> int:
        """Note that the replica reads `blocks` now, and return how many of the first it had read before.

        From the end, so that beginnings outlive what follows them.
        """
        table, newest = self._blocks, self._blocks.move_to_end
        known = self.known(blocks)
        for block in reversed(blocks[known:]):
            table[block] = None
        for block in reversed(blocks[:known]):
            newest(block)
        while len(table) > self.capacity:
            table.popitem(last=False)
        return known

    def clear(self) -> None:
        """Forget all: the engine was started anew."""
        self._blocks.clear()


def capacity_of(cache_blocks: int | None) -> int:
    """Return the size of the table for an engine whose cache has `cache_blocks` blocks; None when that is not known."""
    if cache_blocks is None:
        return DEFAULT_CAPACITY
    return min(max(cache_blocks // ENGINE_BLOCKS_PER_BLOCK, 1), MAX_CAPACITY)
