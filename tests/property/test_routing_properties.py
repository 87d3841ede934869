"""Routing over many requests: what is counted is given back, prompts come home, nobody is left out or alone."""

import asyncio
import sys
from collections import Counter, OrderedDict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from gateway_kit import model

from modelgrid.decide.route import SPILL_BLOCKS
from modelgrid.domain.routing import Replica, RoutingTable
from modelgrid.gateway.affinity import (
    BLOCK_BYTES,
    BLOCKS_LIMIT,
    MARKS,
    MAX_CAPACITY,
    NO_PROMPT,
    PrefixTable,
    Prompt,
    capacity_of,
    prompt_of,
)
from modelgrid.gateway.core import Core
from modelgrid.gateway.fleet import ModelEntry
from modelgrid.gateway.replica import ReplicaEntry
from modelgrid.gateway.scan import fields_of
from modelgrid.gateway.shapes import Fields

NONE: frozenset[str] = frozenset()


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def fleet(loop: asyncio.AbstractEventLoop, count: int, cache_blocks: int | None = None) -> ModelEntry:
    core = Core(loop, 0)
    replicas = [Replica(id=f"r{n}", host="127.0.0.1", port=n + 1, cache_blocks=cache_blocks) for n in range(count)]
    core.apply(RoutingTable(epoch="e", generation=1, models=(model("m", replicas),)))
    entry = core.fleet.find("m")
    assert entry is not None
    return entry


def prompt(text: str) -> Prompt:
    return prompt_of(Fields(model="m", prompt=msgspec.Raw(msgspec.json.encode(text))), "m")


def give(entry: ModelEntry, of: Prompt, session: bytes = b"") -> tuple[ReplicaEntry, int]:
    replica = entry.pick(0.0, NONE, of, session)
    assert replica is not None
    return replica, replica.begin(of)


def words(number: int, blocks: int) -> str:
    return (f"{number:08d}" * (BLOCK_BYTES // 8)) * blocks


def test_a_conversation_comes_home(loop: asyncio.AbstractEventLoop) -> None:
    """Each of 20 conversations of 10 turns stays on the replica of its first turn, among the others."""
    entry = fleet(loop, 3)
    homes: dict[int, str] = {}
    for turn in range(1, 11):
        for talk in range(20):
            replica, unread = give(entry, prompt(words(talk, 5) + words(talk + 100, turn)))
            assert homes.setdefault(talk, replica.id) == replica.id
            assert turn == 1 or unread <= 2
            replica.end(unread)
    assert len(set(homes.values())) == 3
    assert [(replica.load, replica.outstanding) for replica in entry.replicas] == [(0, 0)] * 3


def test_a_prompt_that_all_share_does_not_pile_up_on_one_and_the_others_learn_it(
    loop: asyncio.AbstractEventLoop,
) -> None:
    entry, shared = fleet(loop, 3), words(1, 20)
    held = [give(entry, prompt(shared + words(number, 1))) for number in range(600)]
    shares = Counter(replica.id for replica, _ in held)
    assert len(shares) == 3
    assert max(shares.values()) - min(shares.values()) <= SPILL_BLOCKS + 20
    assert all(replica.prefixes.known(prompt(shared).marks) == 20 for replica in entry.replicas)
    for replica, unread in held:
        replica.end(unread)


@given(
    st.integers(1, 4),
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 12), st.sampled_from(["", "", "s1", "s2"]), st.integers(0, 30)),
        min_size=1, max_size=80,
    ),
)  # fmt: skip
def test_what_is_counted_is_given_back_exactly(
    loop: asyncio.AbstractEventLoop, count: int, requests: list[tuple[int, int, str, int]]
) -> None:
    """Requests begin, read and end in any order; the load is always what those under way make it, and 0 at the end."""
    entry = fleet(loop, count, cache_blocks=40)
    running: list[list[object]] = []
    for talk, blocks, session, which in requests:
        replica, unread = give(entry, prompt(words(talk, blocks)), session.encode())
        assert 0 <= unread <= blocks
        running.append([replica, unread])
        if which < len(running):
            held = running[which]
            replica, unread = held  # type: ignore[assignment]
            if which % 2:
                replica.has_read(unread)
                held[1] = 0
            else:
                replica.end(unread)
                del running[which]
        for item in entry.replicas:
            mine = [int(left) for owner, left in running if owner is item]  # type: ignore[call-overload]
            assert (item.load, item.outstanding) == (sum(mine) + len(mine), len(mine))
            assert len(item.prefixes) <= 10
    for replica, unread in running:  # type: ignore[assignment]
        replica.end(unread)
    assert [(item.load, item.outstanding) for item in entry.replicas] == [(0, 0)] * count


@given(st.integers(2, 5), st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), min_size=30, max_size=60))
def test_nobody_is_left_out_and_nobody_is_alone(
    loop: asyncio.AbstractEventLoop, count: int, requests: list[tuple[int, int]]
) -> None:
    """When requests do not end, no replica is ever further behind than the spill bound and one prompt."""
    entry = fleet(loop, count)
    for _ in range(4):
        for talk, blocks in requests:
            give(entry, prompt(words(talk, blocks)))
            loads = [replica.load for replica in entry.replicas]
            assert max(loads) - min(loads) <= SPILL_BLOCKS + 9 + 10
    short = fleet(loop, count)
    for _ in range(count):
        give(short, NO_PROMPT)
    assert all(replica.outstanding == 1 for replica in short.replicas)


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=8), max_size=30), st.integers(1, 12))
def test_the_table_is_an_lru_of_beginnings(paths: list[list[int]], capacity: int) -> None:
    """Against a plain model: the oldest go first, a block never stands without those before it, halving finds all."""
    table, plain = PrefixTable(capacity), OrderedDict[int, None]()
    for path in paths:
        blocks = [hash(tuple(path[: end + 1])) for end in range(len(path))]
        known = 0
        while known < len(blocks) and blocks[known] in plain:
            known += 1
        assert table.known(blocks) == known
        table.learn(blocks)
        for block in reversed(blocks):
            plain.pop(block, None)
            plain[block] = None
        while len(plain) > capacity:
            plain.popitem(last=False)
        assert list(table._marks) == list(plain)


@given(st.text(max_size=2000), st.text(max_size=600), st.text(max_size=600))
def test_texts_share_their_blocks_as_far_as_their_bytes_are_the_same(begin: str, one: str, other: str) -> None:
    def blocks(text: str, **fields: object) -> list[int]:
        messages = [{"role": "user", "content": text}]
        body = msgspec.json.encode({"model": "m", "n": 1, "messages": messages} | fields)
        return prompt_of(fields_of(body, b"application/json"), "m").marks

    first, second = blocks(begin + one), blocks(begin + other)
    raw = [msgspec.json.encode([{"role": "user", "content": begin + end}]) for end in (one, other)]
    same = next((at for at, (a, b) in enumerate(zip(*raw, strict=False)) if a != b), min(map(len, raw)))
    shared = next(
        (at for at, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )
    assert shared == sum(mark <= same // BLOCK_BYTES for mark in MARKS[1:])
    assert blocks(begin, temperature=1) == blocks(begin)
    salted = blocks(begin, cache_salt="s")
    assert not set(salted) & set(blocks(begin))


def test_other_models_and_leading_fields_make_other_prompts() -> None:
    long = msgspec.Raw(b'"' + b"x" * 5000 + b'"')
    plain = Fields(model="m", messages=long)
    assert prompt_of(plain, "m").marks != prompt_of(plain, "n").marks
    led = Fields(model="m", messages=long, system=msgspec.Raw(b'"' + b"y" * 300 + b'"'))
    assert not set(prompt_of(led, "m").marks) & set(prompt_of(plain, "m").marks)
    assert prompt_of(Fields(model="m", input=long, instructions=led.system), "m").marks == prompt_of(led, "m").marks


def test_prompts_and_tables_are_bounded() -> None:
    huge = prompt_of(Fields(model="m", prompt=msgspec.Raw(b"x" * 2_000_000)), "m")
    assert (MARKS[len(huge.marks)], huge.size) == (BLOCKS_LIMIT, 2_000_000 // BLOCK_BYTES)
    assert len(huge.marks) == 36
    assert all(after - before <= max(1, before / 4) for before, after in pairwise(MARKS))
    assert prompt_of(Fields(model="m"), "m") is NO_PROMPT
    assert [capacity_of(blocks) for blocks in (None, 0, 8, 40_000, 10**9)] == [31_250, 1, 2, 10_000, MAX_CAPACITY]
