"""What of a prompt a replica has read before: prompts as chains of marks, and a table of them per replica.

An engine's prefix cache holds the beginnings of prompts. Text is cut at marks, and what is between two of them hashed
together with all before it, so that one hash stands for a whole beginning. Up to 2 KiB there is a mark every 256 bytes,
beyond four in each power of two (2.5, 3, 3.5, 4, 5, … KiB): a long beginning is known to a quarter of its length at
worst, for 17 hashes in 10 KiB instead of 40. Nothing is tokenized, nothing is asked of the engine; the table is a guess
of what its cache holds, and a wrong one costs time only.
"""

from collections import OrderedDict
from itertools import pairwise
from typing import Final

from xxhash import xxh3_64_intdigest

from modelgrid.gateway.shapes import Fields

BLOCK_BYTES: Final = 256
"""About 64 tokens: four blocks of an engine's cache. The unit of all sizes here."""
BLOCKS_LIMIT: Final = 1024
"""Blocks of a prompt that are looked at: 256 KiB. What comes after counts as work, not as known."""
DEFAULT_CAPACITY: Final = 31_250
"""Blocks per replica when its cache's size is not known: 2 million tokens."""
MAX_CAPACITY: Final = 125_000
"""Bounds the memory of a table at some 20 MB, whatever an engine says."""
ENGINE_BLOCKS_PER_BLOCK: Final = 4
"""An engine's cache block has 16 tokens, of about 4 bytes each."""


def _marks() -> tuple[int, ...]:
    marks, step = [0], 1
    while marks[-1] < BLOCKS_LIMIT:
        marks.append(marks[-1] + step)
        if marks[-1] == 8 * step:
            step *= 2
    return tuple(marks)


MARKS: Final = _marks()
"""Where a prompt is cut, in blocks: `MARKS[n]` are before the n-th mark."""
_WEIGHTS: Final = tuple(after - before for before, after in pairwise(MARKS))


class Prompt:
    """The part of a request that a prefix cache can know."""

    __slots__ = ("marks", "size")

    def __init__(self, marks: list[int], size: int) -> None:
        self.marks = marks
        """One hash per mark, each for all the text before it."""
        self.size = size
        """Blocks of the whole text, those beyond BLOCKS_LIMIT included."""


NO_PROMPT: Final = Prompt([], 0)


def prompt_of(fields: Fields, model: str) -> Prompt:
    """Return the prompt of a request for `model`, from the bytes of its text as they came.

    Of another model or with another `cache_salt`, the same text has other hashes.
    """
    text, lead = fields.messages or fields.prompt or fields.input, fields.system or fields.instructions
    length = len(text) + len(lead)
    if length < BLOCK_BYTES:
        return NO_PROMPT
    seen = memoryview(text)[: BLOCK_BYTES * BLOCKS_LIMIT]
    if lead:
        seen = memoryview(b"".join((memoryview(lead)[: BLOCK_BYTES * BLOCKS_LIMIT], seen)))
    blocks = length // BLOCK_BYTES
    digest = xxh3_64_intdigest(model.encode() + b"\0" + bytes(fields.cache_salt))
    marks: list[int] = []
    begin = 0
    for mark in MARKS[1:]:
        if mark > blocks:
            break
        end = mark * BLOCK_BYTES
        digest = xxh3_64_intdigest(seen[begin:end], digest)
        marks.append(digest)
        begin = end
    return Prompt(marks, blocks)


class PrefixTable:
    """The beginnings that one replica has read last, as far as this gateway knows."""

    __slots__ = ("_held", "_marks", "capacity")

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        """`capacity`: in blocks."""
        self._marks: OrderedDict[int, int] = OrderedDict()
        """Of each mark: the blocks since the one before."""
        self._held = 0
        self.capacity = capacity

    def __len__(self) -> int:
        """How many blocks."""
        return self._held

    def known(self, marks: list[int]) -> int:
        """Return how many blocks of the beginning of the text with these `marks` are here."""
        return MARKS[self._known(marks)]

    def _known(self, marks: list[int]) -> int:
        """Return how many of the first of `marks` are here.

        A mark is never here without those before it: `learn` makes them newer, and the oldest go first. So the end of
        what is known can be found by halving.
        """
        table = self._marks
        if not marks or marks[0] not in table:
            return 0
        low, high = 1, len(marks)
        while low < high:
            middle = (low + high + 1) // 2
            if marks[middle - 1] in table:
                low = middle
            else:
                high = middle - 1
        return low

    def learn(self, marks: list[int]) -> int:
        """Note that the replica reads a text with these `marks` now, and return how many blocks it had read before.

        From the end, so that beginnings outlive what follows them.
        """
        table, newest = self._marks, self._marks.move_to_end
        known, at = self._known(marks), len(marks)
        while at > known:
            at -= 1
            table[marks[at]] = _WEIGHTS[at]
        self._held += MARKS[len(marks)] - MARKS[known]
        while at > 0:
            at -= 1
            newest(marks[at])
        while self._held > self.capacity:
            self._held -= table.popitem(last=False)[1]
        return MARKS[known]

    def clear(self) -> None:
        """Forget all: the engine was started anew."""
        self._marks.clear()
        self._held = 0


def capacity_of(cache_blocks: int | None) -> int:
    """Return the size of the table for an engine whose cache has `cache_blocks` blocks; None when that is not known."""
    if cache_blocks is None:
        return DEFAULT_CAPACITY
    return min(max(cache_blocks // ENGINE_BLOCKS_PER_BLOCK, 1), MAX_CAPACITY)
