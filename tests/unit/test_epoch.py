"""The number of a daemon's start: whatever its clock does, a later one is larger."""

from memory_store import MemoryStore
from set_clock import SetClock

from modelgrid.services.epoch import next_epoch


async def test_each_start_has_a_larger_number_although_the_clock_was_set_back() -> None:
    store, clock = MemoryStore(), SetClock()
    numbers = [await next_epoch(store, clock)]
    for shift in (0.0, 5.0, -3_600.0, -86_400.0, 7_200.0):
        clock.at += shift
        numbers.append(await next_epoch(store, clock))
    assert numbers == sorted(set(numbers))
    clock.at += 100_000.0
    assert await next_epoch(store, clock) == int(clock.at * 1e9), "it is a time, once the clock is ahead again"
