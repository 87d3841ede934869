"""The stream's core: what is kept, what is superseded, what a stream is sent and told."""

import asyncio
import json
from typing import Any

import pytest

from modelgrid.adapters.clock_system import SystemClock
from modelgrid.domain.errors import InvalidInput
from modelgrid.domain.event import Level
from modelgrid.domain.log_filter import LogFilter
from modelgrid.services.stream.backlog import LOG_TOPIC, Backlog, Bounds
from modelgrid.services.stream.frames import Position, parse_position
from modelgrid.services.stream.hub import MOST_STREAMS, Hub, Stream, TooManyStreams
from modelgrid.services.stream.wish import Wish, parse_topics

GPUS = Wish(topics=frozenset({"gpus"}))
ALL = Wish(topics=frozenset({"gpus", "deployments", LOG_TOPIC}))


def number(seq: int) -> bytes:
    return b"%d " % seq


def read(backlog: Backlog, wish: Wish, position: int) -> list[int]:
    return [int(part) for part in backlog.after(wish, position, 10**9).data.split()]


def frames(data: bytes) -> list[tuple[str, dict[str, Any]]]:
    """Return the name and data of each frame."""
    found = []
    for block in data.decode().split("\n\n")[:-1]:
        lines = dict(line.split(": ", 1) for line in block.split("\n"))
        assert parse_position(lines["id"]) is not None
        found.append((lines["event"], json.loads(lines["data"])))
    return found


def test_a_gauge_keeps_its_newest_value_only() -> None:
    backlog = Backlog()
    for key in ("a", "b", "a", "a"):
        backlog.add("gpus", key, number, gauge=True)
    assert read(backlog, GPUS, 0) == [2, 4]
    assert backlog.missing(GPUS, 0) == ()


def test_other_changes_are_all_kept_and_make_a_gauge_before_them_superfluous() -> None:
    backlog = Backlog()
    backlog.add("deployments", "d", number)
    backlog.add("deployments", "d", number, gauge=True)
    backlog.add("deployments", "d", number)
    backlog.add("deployments", "d", number, gauge=True)
    assert read(backlog, ALL, 0) == [1, 3, 4]
    backlog.add("deployments", "d", number)
    assert backlog.gauge("deployments", "d") is None, "what clients have is the later change, not the gauge"


def test_what_was_let_go_is_known_by_topic_and_lane() -> None:
    backlog = Backlog(state=Bounds(changes=3, size=10**6), logs=Bounds(changes=2, size=10**6))
    for _ in range(3):
        backlog.add(LOG_TOPIC, "", number, level=Level.INFO)
    backlog.add("gpus", "a", number)
    assert backlog.missing(ALL, 0) == (LOG_TOPIC,), "a chatty log pushes out nothing but the log"
    assert backlog.missing(GPUS, 0) == ()
    assert backlog.missing(GPUS, 99) == ("gpus",), "from the future: of another run"


def test_the_size_bound_leaves_the_newest() -> None:
    backlog = Backlog(state=Bounds(changes=100, size=5))
    for _ in range(3):
        backlog.add("gpus", "a", lambda seq: b"%d-------- " % seq)
    assert backlog.after(GPUS, 2, 10**6).data == b"3-------- "
    assert backlog.missing(GPUS, 1) == ("gpus",)


def test_a_batch_is_bounded_and_goes_on_where_it_stopped() -> None:
    backlog = Backlog()
    for _ in range(5):
        backlog.add("gpus", "", number)
    first = backlog.after(GPUS, 0, 4)
    assert (first.data, first.position) == (b"1 2 ", 2)
    assert backlog.after(GPUS, first.position, 100).data == b"3 4 5 "


def test_a_change_that_was_not_published_is_a_hole() -> None:
    backlog = Backlog()
    backlog.add("gpus", "a", number, gauge=True)
    backlog.skip("gpus")
    assert backlog.missing(GPUS, 1) == ("gpus",)
    assert backlog.missing(GPUS, 2) == ()
    assert backlog.missing(Wish(topics=frozenset({"nodes"})), 1) == ()
    assert backlog.gauge("gpus", "a") is None, "a client may have read what came in the hole"


def test_log_records_are_filtered_by_source_and_level() -> None:
    backlog = Backlog()
    backlog.add(LOG_TOPIC, "", number, source="daemon", level=Level.INFO)
    backlog.add(LOG_TOPIC, "", number, source="gateway", level=Level.ERROR)
    backlog.add("gpus", "a", number)
    assert read(backlog, ALL, 0) == [1, 2, 3]
    assert read(backlog, Wish(topics=ALL.topics, log=LogFilter(sources=frozenset({"daemon"}))), 0) == [1, 3]
    assert read(backlog, Wish(topics=ALL.topics, log=LogFilter(level=Level.WARNING)), 0) == [2, 3]


@pytest.mark.parametrize(
    "text", ["", ",", "gpu", "gpus,secrets", "deployment:", "deployment:a b", "deployment:" + "a" * 200]
)
def test_topics_that_do_not_exist_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="topic"):
        parse_topics(text)


def test_topics_are_read_from_a_list() -> None:
    assert parse_topics("gpus, overview,deployment:qwen-abc123,gpus") == {"gpus", "overview", "deployment:qwen-abc123"}


def test_a_position_is_written_and_read() -> None:
    assert parse_position(str(Position("a-b_c", 12))) == Position("a-b_c", 12)
    for text in ("", "-", "a", "a-", "-1", "a-b", "a-1.5", "a-²", "a" * 300 + "-1"):
        assert parse_position(text) is None, text


async def ready(stream: Stream) -> list[tuple[str, dict[str, Any]]]:
    async with asyncio.timeout(10):
        await stream.ready()
    return frames(stream.take())


async def test_a_stream_says_hello_and_then_what_changes() -> None:
    hub = Hub("E", SystemClock())
    stream = hub.open(GPUS)
    [(event, hello)] = await ready(stream)
    assert (event, hello["epoch"], hello["id"]) == ("hello", "E", "E-0")
    hub.publish("gpus", "upsert", "here/nvidia-0", lambda: {"x": "a\nb"})
    hub.publish("nodes", "upsert", "here", lambda: pytest.fail("nobody listens to nodes"))
    assert await ready(stream) == [
        ("change", {"topic": "gpus", "op": "upsert", "key": "here/nvidia-0", "value": {"x": "a\nb"}})
    ]
    hub.close()


async def test_an_equal_gauge_is_not_published_again() -> None:
    hub = Hub("E", SystemClock())
    hub.open(GPUS)
    for value in (1, 1, 2, 2):
        hub.publish("gpus", "upsert", "a", lambda value=value: value, gauge=True)
    assert hub.position.seq == 2
    hub.publish("gpus", "remove", "a", lambda: None, gauge=True)
    hub.publish("gpus", "upsert", "a", lambda: 2, gauge=True)
    assert hub.position.seq == 4, "after it was gone the same value is news"
    hub.close()


async def test_a_stream_goes_on_where_another_ended() -> None:
    hub = Hub("E", SystemClock())
    first = hub.open(GPUS)
    hub.publish("gpus", "upsert", "a", lambda: 1)
    first.end()
    hub.publish("gpus", "upsert", "a", lambda: 2)
    again = hub.open(GPUS, resume="E-1")
    assert [data["value"] for event, data in await ready(again) if event == "change"] == [2]
    hub.close()


@pytest.mark.parametrize(("resume", "reason"), [("F-0", "restarted"), ("E-7", "too long"), ("nonsense", "restarted")])
async def test_what_cannot_be_continued_is_reset(resume: str, reason: str) -> None:
    hub = Hub("E", SystemClock())
    [_, (event, reset)] = await ready(hub.open(ALL, resume=resume))
    assert event == "reset"
    assert reason in reset["reason"]
    assert reset["topics"] == sorted(ALL.topics)
    hub.close()


async def test_what_changed_while_nobody_listened_is_reset_by_topic() -> None:
    hub = Hub("E", SystemClock())
    hub.publish("gpus", "upsert", "a", lambda: 1)
    [_, (event, reset)] = await ready(hub.open(ALL, resume="E-0"))
    assert (event, reset["topics"]) == ("reset", ["gpus"])
    hub.close()


async def test_who_falls_behind_is_told_and_ended() -> None:
    hub = Hub("E", SystemClock(), Backlog(state=Bounds(changes=2, size=10**6)))
    slow, quick = hub.open(GPUS), hub.open(GPUS)
    await ready(slow)
    for value in range(4):
        hub.publish("gpus", "upsert", "a", lambda value=value: value)
        await ready(quick)
    [(event, said)] = await ready(slow)
    assert event == "lagged"
    assert "gpus" in said["reason"]
    assert slow.ended
    assert not quick.ended
    assert hub.streams == 1
    hub.close()


async def test_streams_are_bounded_and_end_with_the_hub_or_their_owner() -> None:
    hub = Hub("E", SystemClock())
    streams = [hub.open(GPUS, owner=f"user-{number % 2}") for number in range(MOST_STREAMS)]
    with pytest.raises(TooManyStreams):
        hub.open(GPUS)
    assert hub.end("user-0") == MOST_STREAMS // 2
    assert hub.streams == MOST_STREAMS // 2
    hub.close()
    assert all(stream.ended for stream in streams)
    with pytest.raises(TooManyStreams, match="stopping"):
        hub.open(GPUS)
