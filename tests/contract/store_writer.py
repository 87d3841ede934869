"""Processes that write to a store until they are killed.

Run as a program it loads everything once and then, for each line `PATH START` on its standard input, forks a writer
(so that a kill costs no start of Python). The writer makes numbered changes from START and says `ack N` after each
one the store acknowledged; the parent says `pid P` before and `dead` after.
"""

import asyncio
import os
import sys
from collections.abc import Iterable

import alembic.command  # noqa: F401  # loaded before the fork, or most kills would hit its import
from store_values import api_key, deployment, event, record, target

from modelgrid.adapters.store_sql import SqlStore, open_store
from modelgrid.domain.event import Subject


async def change(store: SqlStore, number: int) -> None:
    """Make change `number`; four kinds take turns."""
    fact = event("changed", subject=Subject.DAEMON, subject_id=str(number))
    match number % 4:
        case 0:
            await store.put_target(target(f"t{number}"), expected_revision=0, events=[fact])
        case 1:
            await store.save_deployment(deployment(f"d{number}"), events=[fact])
        case 2:
            ended = await store.save_deployment(deployment(f"d{number}"))
            await store.archive_deployment(record(deployment=ended), events=[fact])
        case _:
            await store.add_api_key(api_key(f"k{number}"), events=[fact])


async def missing(store: SqlStore, numbers: Iterable[int]) -> set[int]:
    """Return those of `numbers` whose change is not in the store whole."""
    targets = {t.name for t in await store.targets()}
    live = {str(d.id) for d in await store.deployments()}
    ended = {str(r.deployment.id) for r in await store.history(limit=1_000_000)}
    keys = {k.id for k in await store.api_keys()}
    facts = {e.subject_id for e in await store.events(limit=1_000_000)}

    def is_there(number: int) -> bool:
        kind = number % 4
        rows = (targets, live, ended - live, keys)[kind]
        return ("t", "d", "d", "k")[kind] + str(number) in rows and str(number) in facts

    return {number for number in numbers if not is_there(number)}


async def write_until_killed(path: str, number: int) -> None:
    store = await open_store(f"sqlite:///{path}")
    while True:
        await change(store, number)
        os.write(1, b"ack %d\n" % number)
        number += 1


def main() -> None:
    for line in sys.stdin:
        path, start = line.split()
        child = os.fork()
        if child == 0:
            try:
                asyncio.run(write_until_killed(path, int(start)))
            finally:
                os._exit(3)
        os.write(1, b"pid %d\n" % child)
        os.waitpid(child, 0)
        os.write(1, b"dead\n")


if __name__ == "__main__":
    main()
