"""Keys, endpoints, the deadline sweep, counters and the routing cache."""

import asyncio
import hashlib
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelgrid.domain.key_format import is_well_formed, make_secret
from modelgrid.domain.routing import (
    LATENCY_BUCKETS_SECONDS,
    KeyGrant,
    ModelRoute,
    ModelState,
    Replica,
    RoutingTable,
)
from modelgrid.gateway.affinity import NO_PROMPT
from modelgrid.gateway.cache import TableCache
from modelgrid.gateway.core import Core
from modelgrid.gateway.counters import Histogram, status_class
from modelgrid.gateway.endpoints import resolve
from modelgrid.gateway.keys import KeyRing, bearer
from modelgrid.gateway.sheet import escape
from modelgrid.gateway.timers import LONGEST_TICK_SECONDS, NEVER, Deadlines

ONE, TWO = make_secret(1).encode(), make_secret(2).encode()


def key(secret: bytes, **fields: object) -> KeyGrant:
    return KeyGrant(id="k", label="l", digest=hashlib.sha256(secret).hexdigest(), **fields)  # type: ignore[arg-type]


def test_keys_are_found_by_digest_until_they_expire() -> None:
    ring = KeyRing([key(ONE, expires_at=100.0), key(TWO, models=("m", "n"))])
    assert ring.find(ONE, 99.9) is not None
    assert ring.find(ONE, 100.0) is None
    assert ring.find(make_secret(3).encode(), 0) is None
    assert ring.find(hashlib.sha256(ONE).hexdigest().encode(), 0) is None  # a stolen digest is no key
    bound = ring.find(TWO, 0)
    assert bound is not None
    assert bound.allows(frozenset(("x", "n")))
    assert not bound.allows(frozenset(("x",)))


def test_a_key_with_a_wrong_checksum_is_not_even_looked_up() -> None:
    mistyped = ONE[:10] + (b"a" if ONE[10:11] != b"a" else b"b") + ONE[11:]
    ring = KeyRing([key(mistyped), key(b"")])  # as if control had such keys
    assert [ring.find(secret, 0) for secret in (mistyped, b"", ONE[:-1], ONE + b"0", b"sk-" + ONE[3:])] == [None] * 5


@given(st.integers(0, 2**192 - 1), st.integers(0, 40), st.binary(min_size=1, max_size=1))
def test_secrets_are_well_formed_until_a_character_changes(randomness: int, at: int, other: bytes) -> None:
    secret = make_secret(randomness).encode()
    assert is_well_formed(secret)
    changed = secret[:at] + other + secret[at + 1 :]
    assert is_well_formed(changed) == (changed == secret)


@pytest.mark.parametrize(
    ("value", "secret"),
    [(b"Bearer a", b"a"), (b"bearer  a ", b"a"), (b"Basic a", None), (b"Bearer", None), (b"", None), (b"Bearer ", b"")],
)
def test_bearer(value: bytes, secret: bytes | None) -> None:
    assert bearer(value) == secret


@given(st.binary(max_size=40))
def test_only_plain_paths_reach_a_replica(tail: bytes) -> None:
    endpoint = resolve(b"/v1/" + tail)
    if endpoint is not None:
        assert not {b"", b".", b".."} & set(endpoint.path[1:].split(b"/"))
        assert b"%" not in endpoint.path
        assert b"\\" not in endpoint.path


def test_status_classes() -> None:
    assert [status_class(code) for code in (200, 204, 302, 404, 502, 999)] == ["2xx", "2xx", "3xx", "4xx", "5xx", "5xx"]


def test_histogram_bounds_are_inclusive() -> None:
    histogram = Histogram()
    for seconds in (0.0, LATENCY_BUCKETS_SECONDS[0], LATENCY_BUCKETS_SECONDS[-1], 1e9):
        histogram.observe(seconds)
    assert histogram.buckets[0] == 2
    assert histogram.buckets[-2:] == [1, 1]
    assert histogram.sum == pytest.approx(1e9 + LATENCY_BUCKETS_SECONDS[0] + LATENCY_BUCKETS_SECONDS[-1])


def test_labels_are_escaped() -> None:
    assert escape('a"b\\c\nd') == 'a\\"b\\\\c\\nd'


class Item:
    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.calls = 0
        self.called = asyncio.Event()

    def on_deadline(self) -> None:
        assert self.deadline == NEVER
        self.calls += 1
        self.called.set()


async def test_the_sweep_calls_what_is_due_once() -> None:
    deadlines = Deadlines(asyncio.get_running_loop())
    due, later, gone = Item(deadlines.now), Item(deadlines.now + 1000), Item(deadlines.now)
    for item in (due, later, gone):
        deadlines.watch(item)
    deadlines.forget(gone)
    deadlines.start()
    await asyncio.wait_for(due.called.wait(), 10)
    deadlines.stop()
    assert (due.calls, later.calls, gone.calls) == (1, 0, 0)
    assert len(deadlines) == 2


async def test_time_in_which_nobody_listened_counts_as_one_late_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop)
    begin, late = loop.time(), 3600.0
    monkeypatch.setattr(loop, "time", lambda: begin + late)
    deadlines._tick()
    deadlines.stop()
    assert 0.0 < deadlines.now <= LONGEST_TICK_SECONDS


async def test_an_error_in_one_deadline_does_not_end_the_sweep() -> None:
    class Broken(Item):
        def on_deadline(self) -> None:
            super().on_deadline()
            raise RuntimeError("broken")

    loop = asyncio.get_running_loop()
    errors: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, context: errors.append(context))
    deadlines = Deadlines(loop)
    broken, other = Broken(deadlines.now), Item(deadlines.now + 0.4)
    deadlines.watch(broken)
    deadlines.watch(other)
    deadlines.start()
    await asyncio.wait_for(other.called.wait(), 10)
    deadlines.stop()
    assert broken.calls == 1
    assert len(errors) == 1


TABLE = RoutingTable(
    epoch="e",
    generation=3,
    models=(
        ModelRoute(
            id="m", names=("m",), state=ModelState.READY, created=1, replicas=(Replica(id="r", host="h", port=1),)
        ),
    ),
    keys=(key(ONE),),
    control_metrics="x 1\n",
)


def test_the_cache_keeps_the_table_private_and_without_metrics(tmp_path: Path) -> None:
    cache = TableCache(tmp_path / "routing.msgpack")
    assert cache.load() is None
    assert cache.differs(TABLE)
    cache.save(TABLE)
    assert not cache.differs(replace(TABLE, generation=4, control_metrics="y 2\n"))
    assert cache.differs(replace(TABLE, keys=()))
    assert TableCache(tmp_path / "routing.msgpack").load() == replace(TABLE, control_metrics="")
    assert stat.S_IMODE((tmp_path / "routing.msgpack").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["routing.msgpack"]


@pytest.mark.parametrize("content", [b"", b"\x00", b"nonsense", b"\x81\xa5epoch\x01"])
def test_a_cache_that_is_not_usable_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "routing.msgpack").write_bytes(content)
    assert TableCache(tmp_path / "routing.msgpack").load() is None


def test_a_new_gateway_begins_with_the_newest_table_of_the_others(tmp_path):
    for index, generation in ((0, 2), (1, 1)):
        TableCache(tmp_path / f"routing-{index}.msgpack").save(replace(TABLE, generation=generation))
        os.utime(tmp_path / f"routing-{index}.msgpack", ns=(0, generation))
    for index in range(3):
        assert TableCache(tmp_path / f"routing-{index}.msgpack").load().generation == 2


def test_a_save_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    cache = TableCache(tmp_path / "gone" / "routing.msgpack")
    with pytest.raises(OSError):
        cache.save(TABLE)
    assert cache.differs(TABLE)


async def test_older_tables_of_the_same_control_are_ignored_and_bad_ones_change_nothing() -> None:
    core = Core(asyncio.get_running_loop(), 0)
    assert core.apply(TABLE)
    assert not core.apply(TABLE)
    assert not core.apply(replace(TABLE, generation=2, models=()))
    with pytest.raises(ValueError, match="hexadecimal"):
        core.apply(replace(TABLE, generation=4, models=(), keys=(replace(TABLE.keys[0], digest="zz"),)))
    assert core.table == TABLE
    assert core.fleet.find("m") is not None
    assert core.apply(replace(TABLE, epoch="f", generation=1, models=()))
    assert core.fleet.find("m") is None


async def test_replicas_keep_their_counts_from_table_to_table() -> None:
    core = Core(asyncio.get_running_loop(), 0)
    core.apply(TABLE)
    (entry,) = core.fleet.replicas()
    entry.begin(NO_PROMPT)
    core.apply(replace(TABLE, generation=4))
    assert [replica is entry for replica in core.fleet.replicas()] == [True]
    moved = replace(TABLE.models[0], replicas=(Replica(id="r", host="h", port=2),))
    core.apply(replace(TABLE, generation=5, models=(moved,)))
    assert [replica is entry for replica in core.fleet.replicas()] == [False]
