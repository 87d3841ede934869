"""One series in bounded memory: every second of 15 minutes, every 10 seconds of a day.

Seconds are 32-bit floats in a ring of 900. Ten-second means are 16-bit floats in hours of 360, made as time goes: a
series that lived for an hour takes 4.5 KB, one that lived for a day 21 KB.
"""

import math
import struct
from array import array
from collections.abc import Sequence

FINE_SECONDS = 900
COARSE_STEP = 10
COARSE_SECONDS = 86_400
_HOUR = 3_600
_SLOTS = _HOUR // COARSE_STEP
_LARGEST = 65_504.0
"""Of a 16-bit float."""
_HALF = struct.Struct("<e")
_NAN = float("nan")
_NAN_BITS = int.from_bytes(_HALF.pack(_NAN), "little")
_EMPTY_HOUR = array("H", [_NAN_BITS]) * _SLOTS
_EMPTY_RING = array("f", [_NAN]) * FINE_SECONDS


class Ring:
    """Times are whole Unix seconds and never go back: what comes late is left out."""

    __slots__ = ("_count", "_fine", "_hours", "_mean_of", "_scale", "_sum", "last")

    def __init__(self, scale: float = 1.0) -> None:
        self._scale = scale
        self._fine = array("f", _EMPTY_RING)
        self._hours: dict[int, array[int]] = {}
        self._mean_of = 0
        self._sum, self._count = 0.0, 0
        self.last = 0
        """Time of the newest value; 0 before the first."""

    def put(self, second: int, value: float) -> None:
        if second <= self.last or not math.isfinite(value):
            return
        if self.last:
            self._skip(self.last + 1, second)
        self._fine[second % FINE_SECONDS] = value
        self.last = second
        if second // COARSE_STEP != self._mean_of:
            self._finish_mean()
            self._mean_of = second // COARSE_STEP
        self._sum += value
        self._count += 1

    def values(self, times: Sequence[int], step: int) -> list[float | None]:
        """Return the mean of each `[time, time + step)`; `None` where nothing was measured.

        A `step` that is a multiple of ten reads the day, another one the last 15 minutes."""
        read, width = (self._coarse, COARSE_STEP) if step % COARSE_STEP == 0 else (self._second, 1)
        found: list[float | None] = []
        for time in times:
            known = [value for t in range(time, time + step, width) if not math.isnan(value := read(t))]
            found.append(sum(known) / len(known) if known else None)
        return found

    def size(self) -> int:
        """Return the bytes of the values, their containers aside."""
        return len(self._fine) * 4 + sum(len(hour) * 2 for hour in self._hours.values())

    def _second(self, time: int) -> float:
        return self._fine[time % FINE_SECONDS] if self.last - FINE_SECONDS < time <= self.last else _NAN

    def _coarse(self, time: int) -> float:
        if time // COARSE_STEP == self._mean_of:
            return self._sum / self._count if self._count else _NAN
        hour = self._hours.get(time // _HOUR)
        if hour is None:
            return _NAN
        bits = hour[time % _HOUR // COARSE_STEP]
        value: float = _HALF.unpack(bits.to_bytes(2, "little"))[0]
        return value * self._scale

    def _skip(self, begin: int, end: int) -> None:
        """Nothing was measured from `begin` until before `end`."""
        if end - begin >= FINE_SECONDS:
            self._fine[:] = _EMPTY_RING
            return
        first, after = begin % FINE_SECONDS, end % FINE_SECONDS
        if first <= after:
            self._fine[first:after] = _EMPTY_RING[first:after]
        else:
            self._fine[first:] = _EMPTY_RING[first:]
            self._fine[:after] = _EMPTY_RING[:after]

    def _finish_mean(self) -> None:
        if not self._count:
            return
        mean = self._sum / self._count / self._scale
        self._sum, self._count = 0.0, 0
        number = self._mean_of * COARSE_STEP // _HOUR
        hour = self._hours.get(number)
        if hour is None:
            hour = self._hours[number] = array("H", _EMPTY_HOUR)
            for old in [n for n in self._hours if n < number - COARSE_SECONDS // _HOUR]:
                del self._hours[old]
        bits = _HALF.pack(max(-_LARGEST, min(mean, _LARGEST)))
        hour[self._mean_of * COARSE_STEP % _HOUR // COARSE_STEP] = int.from_bytes(bits, "little")
