"""The number of a start of the daemon, by which others tell what it said since from what it said before."""

from modelgrid.ports.clock import Clock
from modelgrid.ports.store import Store

SETTING = "epoch"


async def next_epoch(store: Store, clock: Clock) -> int:
    """Return a number larger than at every start before, and write it down: the time in nanoseconds, unless the clock
    was set back. Called once per start."""
    before = int((await store.settings([SETTING])).get(SETTING, "0"))
    epoch = max(int(clock.now() * 1e9), before + 1)
    await store.put_setting(SETTING, str(epoch))
    return epoch
