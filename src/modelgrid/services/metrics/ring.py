"""One series in bounded memory: every second of 15 minutes, every 10 seconds of a day.

Seconds are 32-bit floats. Ten-second means, made as time goes, are 16-bit floats in blocks of an hour. A series that
changes all the time takes 5 KB, and 0.8 KB more for each hour; one that stays the same takes next to nothing.
"""

import math
import struct
from collections.abc import Sequence

from modelgrid.services.metrics.lane import Lane

FINE_SECONDS = 900
COARSE_STEP = 10
COARSE_SECONDS = 86_400
HOUR_SECONDS = 3_600
_FINE_BLOCK = 100
_LARGEST = 65_504.0
"""Of a 16-bit float."""
_HALF = struct.Struct("<e")
_NAN = float("nan")
_NAN_BITS = int.from_bytes(_HALF.pack(_NAN), "little")


class Ring:
    """Times are whole Unix seconds and never go back: what comes late is left out."""

    __slots__ = ("_coarse", "_count", "_fine", "_mean_of", "_scale", "_sum", "last")

    def __init__(self, scale: float = 1.0) -> None:
        self._scale = scale
        self._fine = Lane("f", width=_FINE_BLOCK, blocks=FINE_SECONDS // _FINE_BLOCK + 1, blank=_NAN)
        width = HOUR_SECONDS // COARSE_STEP
        self._coarse = Lane("H", width=width, blocks=COARSE_SECONDS // HOUR_SECONDS + 1, blank=_NAN_BITS)
        self._mean_of = 0
        self._sum, self._count = 0.0, 0
        self.last = 0
        """Time of the newest value; 0 before the first."""

    def put(self, second: int, value: float) -> None:
        if second <= self.last or not math.isfinite(value):
            return
        self._fine.put(second, value)
        self.last = second
        if second // COARSE_STEP != self._mean_of:
            self._finish_mean()
            self._mean_of = second // COARSE_STEP
        self._sum += value
        self._count += 1

    def values(self, times: Sequence[int], step: int) -> list[float | None]:
        """Return the mean of each `[time, time + step)`; `None` where nothing was measured.

        A `step` that is a multiple of ten reads the day, another one the last 15 minutes."""
        read, width = (self._ten_seconds, COARSE_STEP) if step % COARSE_STEP == 0 else (self._second, 1)
        found: list[float | None] = []
        for time in times:
            known = [value for t in range(time, time + step, width) if not math.isnan(value := read(t))]
            found.append(sum(known) / len(known) if known else None)
        return found

    def forget(self, before: int) -> None:
        """Let go of ten-second means of the hours before `before`."""
        self._coarse.forget(before // COARSE_STEP)

    @property
    def size(self) -> int:
        """Bytes of what changed."""
        return self._fine.size + self._coarse.size

    def _second(self, time: int) -> float:
        return self._fine.get(time) if time > self.last - FINE_SECONDS else _NAN

    def _ten_seconds(self, time: int) -> float:
        if time // COARSE_STEP == self._mean_of:
            return self._sum / self._count if self._count else _NAN
        bits = int(self._coarse.get(time // COARSE_STEP))
        value: float = _HALF.unpack(bits.to_bytes(2, "little"))[0]
        return value * self._scale

    def _finish_mean(self) -> None:
        if not self._count:
            return
        mean = self._sum / self._count / self._scale
        self._sum, self._count = 0.0, 0
        bits = _HALF.pack(max(-_LARGEST, min(mean, _LARGEST)))
        self._coarse.put(self._mean_of, int.from_bytes(bits, "little"))
