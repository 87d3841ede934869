"""Two workers beside one: what sharing the port, the limits and the figures costs.

With four cores or more each worker has a core of its own, and the rate shows how it grows. With fewer both share the
gateway's core: then the rate cannot grow, and shows what is lost to the second process alone.
"""

from dataclasses import dataclass, replace
from statistics import median

from benchmarks import measure
from benchmarks.load import Wrk
from benchmarks.machine import Tree, free_port, say
from benchmarks.modelgrid import ModelGrid, secret
from benchmarks.peers import Place

CONNECTIONS = 64
"""The kernel deals them out among the workers, by chance."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Requests per second, and processor time per request, with one worker and with two."""

    one_rate: float
    two_rate: float
    one_cpu_us: float
    two_cpu_us: float


async def turn(wrk: Wrk, place: Place, seconds: float, cores: tuple[int, int]) -> Turn:
    """Measure one worker, then two."""
    one_rate, one_cpu = await _measured(wrk, place, seconds, cores[:1])
    two_rate, two_cpu = await _measured(wrk, place, seconds, cores)
    return Turn(one_rate, two_rate, one_cpu, two_cpu)


async def _measured(wrk: Wrk, place: Place, seconds: float, cores: tuple[int, ...]) -> tuple[float, float]:
    key = secret()
    place = replace(place, port=free_port(), key=key)
    say(f"ModelGrid with {len(cores)} worker{'s' if len(cores) > 1 else ''}")
    gateway = ModelGrid(place, cores)
    try:
        await gateway.start()
        await measure.wait_until_serving(place.port, key, lambda: gateway.ended, 20)
        trees = [Tree(pid) for pid in gateway.pids]
        before = sum(tree.cpu_seconds() for tree in trees)
        load = await replace(wrk, key=key).run(
            place.port, size=measure.SMALL, connections=CONNECTIONS, seconds=seconds, path=measure.CHAT
        )
        if load.wrong or gateway.ended:
            raise RuntimeError(f"{load.wrong} answers were errors")
        return load.per_second, (sum(tree.cpu_seconds() for tree in trees) - before) / max(load.requests, 1) * 1e6
    finally:
        await gateway.stop()


def text(turns: list[Turn], cores: tuple[int, int]) -> str:
    """Return what was found, as a sentence below the table."""
    rate = median(turn.two_rate / turn.one_rate for turn in turns)
    cpu = median(turn.two_cpu_us / turn.one_cpu_us for turn in turns)
    where = (
        "each on a core of its own"
        if cores[0] != cores[1]
        else "both on the one core that is left for them here, so the second can only cost something; two free cores"
        f" would give up to ×{2 / cpu:.2f}"
    )
    return f"Two workers of ModelGrid make ×{rate:.2f} the requests of one, at ×{cpu:.2f} the CPU time each; {where}."
