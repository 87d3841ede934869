"""Raw requests of public HTTP/1.1 suites against one real gateway: one answer each, the right one, and the connection
closed where its framing cannot be trusted. What is behind an attack on the connection must never reach a replica."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
import pytest_asyncio
from gateway_kit import KEY, PATIENCE, Client, Gateway, Upstream, answers, gateway, request
from http_cases import AUTH, GROUPS, Case
from http_suite_cases import GROUPS as SUITE_GROUPS

pytestmark = pytest.mark.asyncio(loop_scope="module")

CASES = {f"{group}-{case.name}": case for group, cases in (GROUPS | SUITE_GROUPS).items() for case in cases}
SUITES = Path(__file__).parent / "http_suites.txt"
BEHIND = request("POST", "/v1/chat/completions", {"model": "m"}, headers=[("X-Behind", "yes")])
"""A good request sent right behind each attack, in the same write."""


@dataclass
class Bed:
    grid: Gateway
    upstream: Upstream


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bed]:
    async with (
        Upstream(answers) as upstream,
        gateway(tmp_path_factory.mktemp("gateway"), upstream.replica(), header_timeout_seconds=1.0) as grid,
    ):
        yield Bed(grid, upstream)


def verdict_of(case: Case) -> str:
    """What `http_suites.txt` says of a case."""
    statuses = " or ".join(map(str, case.statuses)) + "".join(f", then {status}" for status in case.then)
    passed = ", passed on" if case.body is not None else ""
    return f"{statuses}{passed}, {'kept' if case.keeps else 'closed'}"


async def _answers(client: Client, method: str) -> tuple[list[int], bool]:
    """All statuses until the connection ends, and whether each answer was whole and in the right shape."""
    statuses: list[int] = []
    shaped = True
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            answer = await client.response(method)
            statuses.append(answer.status)
            shaped = shaped and answer.complete
            if answer.status >= 400:
                error = answer.json()["error"]
                shaped = shaped and {"message", "type", "param", "code"} <= set(error)
    return statuses, shaped


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_an_attack_gets_one_right_answer(bed: Bed, case: Case) -> None:
    bed.upstream.seen.clear()
    method = case.raw.lstrip().partition(b" ")[0].decode("latin-1")
    async with bed.grid.client() as client:
        await client.send(case.raw if case.alone else case.raw + BEHIND)
        first = await client.response(method)
        assert first.status in case.statuses
        if case.keeps:
            second = await client.response()
            assert second.status == 200, "the request behind it, on the same connection"
        else:
            rest, shaped = await asyncio.wait_for(_answers(client, method), PATIENCE)
            assert rest == list(case.then), "nothing behind it is answered"
            assert shaped
            assert case.then or first.header("connection") == "close"
        if first.status >= 400 and method != "HEAD":
            assert {"message", "type", "param", "code"} <= set(first.json()["error"])
    taken = [seen for seen in bed.upstream.seen if seen.header("x-behind") is None]
    behind = [seen for seen in bed.upstream.seen if seen.header("x-behind") is not None]
    assert len(behind) == (1 if case.keeps else 0)
    if case.body is None or first.status != 200:
        assert taken == []
    else:
        assert [seen.body for seen in taken] == [case.body]
        assert taken[0].header("transfer-encoding") is None
        assert [value for name, value in taken[0].headers if name.lower() == "content-length"] == [str(len(case.body))]


async def test_without_a_key_nothing_reaches_a_replica(bed: Bed) -> None:
    bed.upstream.seen.clear()
    for name, case in CASES.items():
        raw = case.raw.replace(AUTH, b"")
        method = raw.lstrip().partition(b" ")[0].decode("latin-1")
        if case.alone or method == "HEAD":
            continue
        async with bed.grid.client() as client:
            await client.send(raw + BEHIND.replace(KEY.encode(), b"mg-wrong"))
            status = (await client.response(method)).status
            assert status >= 400 or (method == "OPTIONS" and status == 204), name
    assert bed.upstream.seen == []


async def test_an_attack_behind_a_known_head_is_still_seen(bed: Bed) -> None:
    """Heads that were accepted are known by their bytes: what differs from one must not pass for it."""
    good = request("POST", "/v1/chat/completions", b'{"model":"m"}')
    for name, case in CASES.items():
        if case.statuses != (400,) or case.keeps:
            continue
        bed.upstream.seen.clear()
        async with bed.grid.client() as client:
            await client.send(good)
            assert (await client.response()).status == 200
            await client.send(good + case.raw + BEHIND)
            assert (await client.response()).status == 200
            assert (await client.response()).status == 400, name
            assert await client.closed() == b""
        assert [seen.body for seen in bed.upstream.seen] == [b'{"model":"m"}'] * 2, name


async def test_every_split_gives_the_same_verdict(bed: Bed) -> None:
    for name in ("conflict-cl_te", "chunk-size_ends_with_lf", "coding-folded", "chunk-whole", "host-two"):
        case = CASES.get(name) or CASES[name.replace("folded", "coding_folded")]
        for at in range(1, len(case.raw), 7):
            async with bed.grid.client() as client:
                await client.send(case.raw[:at])
                await asyncio.sleep(0)  # the kernel may join the two: the verdict is the same then, too
                await client.send(case.raw[at:])
                assert (await client.response()).status in case.statuses, (name, at)


async def test_what_our_own_answers_carry(bed: Bed) -> None:
    """The rest of the suites: not how bytes are read, but what stands in the answers."""
    async with bed.grid.client() as client:
        models = await client.ask("GET", "/v1/models")
        assert models.header("content-type") == "application/json"
        date = models.header("date")
        assert date is not None
        assert abs(parsedate_to_datetime(date).timestamp() - time.time()) <= 5
        assert date.endswith(" GMT")
        wrong = await client.ask("DELETE", "/v1/models")
        assert (wrong.status, wrong.header("allow")) == (405, "GET, HEAD")
        allowed = await client.ask("OPTIONS", "/v1/models", headers=[("Origin", "http://a.example")])
        assert (allowed.status, allowed.header("content-length"), allowed.body) == (204, None, b"")
        assert allowed.header("allow") == "GET, HEAD, POST, OPTIONS"
        trace = await client.ask("TRACE", "/v1/models", headers=[("Cookie", "secret=1")])
        assert trace.status == 405
        assert KEY.encode() not in trace.body
        assert b"secret" not in trace.body


async def test_a_connection_that_says_nothing_is_closed_without_an_answer(bed: Bed) -> None:
    async with bed.grid.client() as client:
        assert await client.closed() == b""


async def test_every_case_of_the_public_suites_has_its_verdict() -> None:
    """`http_suites.txt` is what is said about each; a case that changes its verdict changes the table."""
    rows = [line.split(" | ") for line in SUITES.read_text().splitlines() if line and not line.startswith("#")]
    tests = {name for name in globals() if name.startswith("test_")}
    for suite, name, found, verdict in rows:
        if found in CASES:
            assert verdict == verdict_of(CASES[found]), (suite, name)
        else:
            assert found in tests, (suite, name)
    names = [(suite, name) for suite, name, *_ in rows]
    assert len(names) == len(set(names))
    count = Counter(suite for suite, _ in names)
    assert count["Http11Probe"] >= 215
    print(dict(count))


async def test_nothing_is_left_over(bed: Bed) -> None:
    await bed.grid.idle()
    await bed.grid.wait_for_metric("modelgrid_client_connections", 1)
    assert len(CASES) > 250
    print(f"S2: {sum(name.startswith('host-') for name in CASES)} heads with a wrong Host: 400, closed")
    print(f"S1: {len(CASES)} attacks, each one right answer; 0 second answers")
