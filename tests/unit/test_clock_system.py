import time

from modelgrid.adapters.clock_system import SystemClock


async def test_the_system_clock_tells_the_time_and_sleeps() -> None:
    clock = SystemClock()
    before = time.time()
    assert before <= clock.now() <= time.time()
    began = clock.monotonic()
    await clock.sleep(0.02)
    assert clock.monotonic() - began >= 0.02
