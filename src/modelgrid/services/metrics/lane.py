"""One number a step of time, for so many blocks of steps.

A block in which the number never changed is kept as that one number. That is what most series of a fleet are: those of
deployments that nobody asks for, and of memory that an engine took once.
"""

from array import array
from typing import Literal

_OVERHEAD_BYTES = 64
"""Of an array, its numbers aside."""


class Lane:
    """Steps are whole numbers, and each is put after those before it."""

    __slots__ = ("_blank", "_blocks", "_code", "_first", "_last", "_width", "size")

    def __init__(self, code: Literal["f", "H"], *, width: int, blocks: int, blank: float) -> None:
        """Keep `blocks` blocks of `width` numbers, which `array` calls `code`. `blank` is what is not known."""
        self._code, self._width, self._blank = code, width, blank
        self._blocks: list[float | array[float]] = [blank] * blocks
        self._first = self._last = -1
        self.size = 0
        """Bytes of the blocks in which something changed."""

    def put(self, step: int, number: float) -> None:
        """Have `number` at `step`, and blanks since the step before that had one."""
        width, last = self._width, self._last
        if last < 0 or step - last >= width * len(self._blocks):
            self.forget()
            self._first = step
            self._open(step // width, number)
        else:
            begin = last + 1
            while begin < step:
                end = min(step, (begin // width + 1) * width)
                self._run(begin, end, self._blank)
                begin = end
            self._run(step, step + 1, number)
        self._last = step

    def get(self, step: int) -> float:
        """Return the number at `step`, or the blank."""
        number, at = divmod(step, self._width)
        if not self._first <= step <= self._last or number <= self._last // self._width - len(self._blocks):
            return self._blank
        block = self._blocks[number % len(self._blocks)]
        return block[at] if isinstance(block, array) else block

    def forget(self, before: int | None = None) -> None:
        """Let go of what lies before the block of step `before`; without one, of everything."""
        newest = self._last // self._width
        oldest = newest - len(self._blocks) + 1
        kept = newest + 1 if before is None else max(before // self._width, oldest)
        for number in range(oldest, min(kept, newest + 1)):
            self._open(number, self._blank)
        self._first = max(self._first, kept * self._width)

    def _run(self, begin: int, end: int, number: float) -> None:
        """Have `number` from `begin` until before `end`, which is in the same block, the last one or the next."""
        block_number, at = divmod(begin, self._width)
        if at == 0:
            self._open(block_number, number)
            at = 1
        index = block_number % len(self._blocks)
        block = self._blocks[index]
        if not isinstance(block, array):
            if block is number or block == number:
                return
            block = self._blocks[index] = self._written_out(block, max(self._first - begin + at, 0), at)
        for place in range(at, at + end - begin):
            block[place] = number

    def _written_out(self, number: float, begin: int, end: int) -> "array[float]":
        block: array[float] = array(self._code, [self._blank]) * self._width
        for at in range(begin, end):
            block[at] = number
        self.size += _OVERHEAD_BYTES + len(block) * block.itemsize
        return block

    def _open(self, block_number: int, number: float) -> None:
        """Begin a block anew, with the same number everywhere."""
        index = block_number % len(self._blocks)
        block = self._blocks[index]
        if isinstance(block, array):
            self.size -= _OVERHEAD_BYTES + len(block) * block.itemsize
        self._blocks[index] = number
