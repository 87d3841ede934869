"""The log store over real files: order, filters, paging, bounds, crashes, a disk that takes nothing."""

import asyncio
import errno
import gc
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from modelgrid.adapters.clock_system import SystemClock
from modelgrid.adapters.log_files import LogFiles
from modelgrid.adapters.log_files.archive import GAP, Bounds
from modelgrid.domain.errors import InvalidInput
from modelgrid.domain.event import Level
from modelgrid.domain.history import KEPT_LOG_LINES
from modelgrid.domain.log import DAEMON, LogRecord
from modelgrid.domain.log_filter import LogFilter
from modelgrid.services.logs import store as log_store
from modelgrid.services.logs.search import searcher
from modelgrid.services.logs.store import LogStore

BEGAN = round(time.time()) - 1_000.0
SMALL = Bounds(total_bytes=64_000, segment_bytes=8_000)


async def opened(folder: Path, bounds: Bounds | None = None) -> LogStore:
    store = LogStore(LogFiles(folder, bounds), SystemClock())
    await store.open()
    return store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LogStore]:
    found = await opened(tmp_path / "logs")
    yield found
    await found.close()


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.ndjson"))


def tear(segment: Path) -> None:
    """As a kill in the middle of a write leaves it."""
    with segment.open("ab") as file:
        file.write(b'{"seq":301,"at":1.0,"sou')


def fill(store: LogStore) -> None:
    for number in range(1, 301):
        source = ("daemon", "scheduler", "deployment:a-000001", "deployment:b-000002")[number % 4]
        store.add(source, Level.ERROR if number % 10 == 0 else Level.INFO, f"line {number}", at=BEGAN + number)


def numbers(records: tuple[LogRecord, ...]) -> list[int]:
    return [int(record.message.split()[1]) for record in records]


@pytest.mark.parametrize("from_disk", [False, True])
async def test_filters_and_paging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, from_disk: bool) -> None:
    if from_disk:
        monkeypatch.setattr(log_store, "TAIL_RECORDS", 10)
    store = await opened(tmp_path, SMALL)
    fill(store)
    if from_disk:
        await store.close()
        store = await opened(tmp_path, SMALL)
        assert len(segments(tmp_path)) > 1
    assert numbers((await store.last(3)).records) == [298, 299, 300]
    of_a = LogFilter(sources=frozenset({"deployment:a-000001"}))
    assert numbers((await store.last(2, of_a)).records) == [294, 298]
    assert numbers((await store.last(2, of_a, before=294)).records) == [286, 290]
    engines = LogFilter(sources=frozenset({"deployment"}), level=Level.WARNING)
    assert numbers((await store.last(2, engines)).records) == [270, 290]
    window = LogFilter(since=BEGAN + 10, until=BEGAN + 12)
    assert numbers((await store.last(100, window)).records) == [10, 11, 12]
    found = LogFilter(found_in=searcher(r"line 1\d7$"))
    assert numbers((await store.last(100, found)).records) == [107, 117, 127, 137, 147, 157, 167, 177, 187, 197]
    page = await store.following(100, 4, of_a)
    assert numbers(page.records) == [102, 106, 110, 114]
    page = await store.following(page.reached, 2, of_a)
    assert numbers(page.records) == [118, 122]
    walked, after = [], 0
    while (page := await store.following(after, 37)).records:
        walked += [record.seq for record in page.records]
        after = page.reached
    assert walked == list(range(1, 301))
    back, before = [], None
    while (page := await store.last(41, before=before)).records:
        back = [record.seq for record in page.records] + back
        before = page.reached
        if not before:
            break
    assert back == list(range(1, 301))
    await store.close()


async def test_the_last_lines_of_a_deployment_are_at_hand_after_a_restart(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    source = "deployment:a-000001"
    assert await store.recall(source) == ()  # somebody keeps it
    for number in range(KEPT_LOG_LINES + 200):
        store.add(source, Level.INFO, f"line {number}")
        store.add(DAEMON, Level.INFO, "something else")
    last = [f"line {number}" for number in range(200, KEPT_LOG_LINES + 200)]
    assert [record.message for record in store.recent(source)] == last
    await store.close()
    store = await opened(tmp_path)
    assert [record.message for record in await store.recall(source)] == last
    store.add(source, Level.INFO, "and on")
    assert [record.message for record in await store.recall(source)] == [*last[1:], "and on"]
    await store.close()


async def test_waiting_ends_with_the_record_that_is_wanted(store: LogStore) -> None:
    wanted = LogFilter(sources=frozenset({"gateway"}))
    waiting = asyncio.create_task(store.following(0, 10, wanted, wait_seconds=30.0))
    store.add(DAEMON, Level.INFO, "something else")
    await asyncio.sleep(0.1)
    assert not waiting.done()
    store.add("gateway", Level.INFO, "this")
    assert [record.message for record in (await waiting).records] == ["this"]
    assert (await store.following(2, 10, wanted, wait_seconds=0.01)).records == ()
    waiting = asyncio.create_task(store.following(2, 10, wanted, wait_seconds=30.0))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    store.end_waits()
    assert (await asyncio.wait_for(waiting, 10)).records == ()


async def test_numbers_rise_over_a_crash(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    fill(store)
    await store.close()
    (segment,) = segments(tmp_path)
    tear(segment)
    store = await opened(tmp_path)
    assert store.next_seq == 301 + GAP
    store.add(DAEMON, Level.INFO, "line 301")
    await store.close()
    assert all(json.loads(line)["seq"] for line in segment.read_bytes().splitlines()), "the torn line is gone"
    store = await opened(tmp_path)
    assert store.next_seq == 302 + GAP, "an orderly end leaves no gap"
    assert numbers((await store.last(2)).records) == [300, 301]
    await store.close()


async def test_bounded_in_bytes_and_age(tmp_path: Path) -> None:
    store = await opened(tmp_path, SMALL)
    for number in range(3_000):
        store.add(DAEMON, Level.INFO, f"line {number} " + "x" * 100)
        if number % 50 == 0:
            await asyncio.sleep(0.001)
    await store.close()
    assert sum(path.stat().st_size for path in segments(tmp_path)) <= SMALL.total_bytes
    archive = LogFiles(tmp_path, SMALL, now=lambda: 1e11)
    archive.open()
    archive.close()
    assert len(segments(tmp_path)) == 1, "of what is too old only the newest file is left"


class SickArchive(LogFiles):
    """An archive whose disk is full until it is healed."""

    sick = True

    def append(self, records: Sequence[LogRecord]) -> int:
        if self.sick:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().append(records)


async def test_a_full_disk_holds_nobody_up_and_is_told(tmp_path: Path) -> None:
    archive = SickArchive(tmp_path)
    store = LogStore(archive, SystemClock())
    await store.open()
    store.add(DAEMON, Level.INFO, "before")
    await until(lambda: store.problem)
    assert store.problem == "No space left on device"
    said = [record.message for record in (await store.last(10)).records]
    assert said[0] == "before", "it is still in memory"
    assert "logs cannot be written to disk: No space left on device" in said[1]
    archive.sick = False
    store.add(DAEMON, Level.INFO, "after")
    await until(lambda: not store.problem)
    await store.close()
    store = await opened(tmp_path)
    kept = [record.message for record in (await store.last(10)).records]
    assert kept[0] == "after"
    assert kept[1].startswith("… ")
    assert "lines skipped: they could not be written to disk" in kept[1]
    await store.close()


async def test_a_flood_is_cut_and_says_so(store: LogStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_store, "MOST_PER_SECOND", 100)
    monkeypatch.setattr(log_store, "FAIR_SHARE", 20)
    for number in range(500):
        store.add("deployment:loud", Level.INFO, f"line {number}")
    store.add("deployment:quiet", Level.INFO, "line 1")
    found = await store.following(100, 10, wait_seconds=5.0)
    assert found.records[0].source == "deployment:quiet", "who says little loses nothing"
    found = await store.following(found.reached, 10, wait_seconds=5.0)
    (note,) = found.records
    assert (note.source, note.level) == ("deployment:loud", Level.WARNING)
    assert note.fields == {"skipped": 400}


async def test_any_text_comes_back_as_it_was_and_stays_one_record(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    texts = [
        "two\nlines",
        '","level":"error"}\n{"seq":9',
        "\x1b[31mred\x1b[0m\x00\u2028",
        "</script>",
        "x" * 70_000,
        "\ud800",
    ]
    for text in texts[:-1]:
        store.add(DAEMON, Level.INFO, text, {"name": text[:100]})
    store.add(DAEMON, Level.INFO, texts[-1].encode("utf-8", "replace").decode(), {})
    await store.close()
    again = await opened(tmp_path)
    found = (await again.last(10)).records
    assert [record.message for record in found[:4]] == texts[:4]
    assert len(found[4].message) < 66_000
    assert len(found) == 6
    await again.close()


@pytest.mark.parametrize("pattern", ["(", "(?=a)", "a{5000}", "x" * 2_000, "\ud800"])
def test_expressions_that_are_refused(pattern: str) -> None:
    with pytest.raises(InvalidInput):
        searcher(pattern)


def test_a_search_is_bounded_in_time() -> None:
    assert not searcher("(a|a|aa)+$")("a" * 60_000 + "b")
    assert not searcher("(.*)*x(.*)*y(.*)*z")("x" * 60_000)


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  the state is another task's
            await asyncio.sleep(0.01)


async def test_what_is_said_after_the_end_fails_nowhere(tmp_path: Path) -> None:
    failed: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failed.append(context))
    store = await opened(tmp_path / "logs")
    store.add(DAEMON, Level.INFO, "the last one")
    await store.close()
    store.add(DAEMON, Level.INFO, "too late")
    await asyncio.sleep(2 * log_store.FLUSH_SECONDS)
    gc.collect()
    assert failed == []
    again = await opened(tmp_path / "logs")
    assert [record.message for record in (await again.last(10)).records] == ["the last one"]
    await again.close()
