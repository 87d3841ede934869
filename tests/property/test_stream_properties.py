"""Whatever is published, and however clients come, go and read: each sees every change it asked for exactly once and
in order, or is told that it missed something."""

import hypothesis.strategies as st
from hypothesis import given
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from modelgrid.domain.event import Level
from modelgrid.services.stream.backlog import LOG_TOPIC, Backlog, Bounds, Change
from modelgrid.services.stream.wish import Wish

TOPICS = ("gpus", "deployments", LOG_TOPIC)
KEYS = st.sampled_from("ab")
WISHES = st.frozensets(st.sampled_from(TOPICS), min_size=1).map(lambda topics: Wish(topics=topics))


class Client:
    def __init__(self, wish: Wish, position: int) -> None:
        self.wish, self.position = wish, position
        self.seen: list[int] = []
        self.since = position
        """What came later must have been seen."""


class Streams(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.backlog = Backlog(state=Bounds(changes=6, size=10**6), logs=Bounds(changes=3, size=10**6))
        self.published: list[Change] = []
        self.holes: dict[int, str] = {}
        self.clients: list[Client] = []

    @rule(topic=st.sampled_from(TOPICS), key=KEYS, gauge=st.booleans())
    def publish(self, topic: str, key: str, gauge: bool) -> None:
        gauge = gauge and topic != LOG_TOPIC
        self.published.append(self.backlog.add(topic, key, lambda seq: b"%d " % seq, gauge=gauge, level=Level.INFO))

    @rule(topic=st.sampled_from(TOPICS))
    def change_unheard(self, topic: str) -> None:
        self.backlog.skip(topic)
        self.holes[self.backlog.head] = topic

    @rule(wish=WISHES)
    def connect(self, wish: Wish) -> None:
        self.clients.append(Client(wish, self.backlog.head))

    @rule(data=st.data(), most=st.sampled_from([1, 5, 1000]))
    def read(self, data: st.DataObject, most: int) -> None:
        """What a stream does, and a new one that resumes: ask whether something is missing, then read on."""
        if not self.clients:
            return
        client = data.draw(st.sampled_from(self.clients))
        if lost := self.backlog.missing(client.wish, client.position):
            self.assert_really_lost(client, lost)
            client.position = client.since = self.backlog.head
            client.seen.clear()
            return
        batch = self.backlog.after(client.wish, client.position, most)
        assert batch.position > client.position or client.position == self.backlog.head
        client.position = batch.position
        client.seen += [int(part) for part in batch.data.split()]

    def assert_really_lost(self, client: Client, lost: tuple[str, ...]) -> None:
        for topic in lost:
            assert topic in client.wish.topics
            missed = [change for change in self.published if change.topic == topic and change.seq > client.position]
            skipped = [seq for seq, hole in self.holes.items() if hole == topic and seq > client.position]
            lane = 3 if topic == LOG_TOPIC else 6
            newer = sum(
                (c.topic == LOG_TOPIC) == (topic == LOG_TOPIC) for c in self.published if c.seq > client.position
            )
            assert skipped or (newer > lane and (missed or topic in client.wish.topics)), "nothing was lost"

    @invariant()
    def every_client_saw_what_it_should(self) -> None:
        for client in self.clients:
            assert client.seen == sorted(set(client.seen)), "twice, or out of order"
            wanted = [
                c for c in self.published if client.since < c.seq <= client.position and c.topic in client.wish.topics
            ]
            allowed = {c.seq for c in wanted}
            assert allowed.issuperset(client.seen), "never asked for"
            for change in wanted:
                if change.seq in client.seen:
                    continue
                later = [
                    c for c in self.published if c.seq > change.seq and (c.topic, c.key) == (change.topic, change.key)
                ]
                assert change.gauge, f"{change} was missed"
                assert later, f"{change} was missed and not superseded"

    @invariant()
    def the_backlog_is_bounded(self) -> None:
        kept = self.backlog.after(Wish(topics=frozenset(TOPICS)), 0, 10**6).data.split()
        assert len(kept) <= 9


def test_streams_see_everything_once_or_are_told() -> None:
    run_state_machine_as_test(Streams)


@given(st.lists(st.tuples(st.sampled_from(["gpus", "deployments"]), KEYS, st.booleans()), max_size=40))
def test_who_reads_all_knows_the_newest_of_each_key(changes: list[tuple[str, str, bool]]) -> None:
    backlog = Backlog()
    newest = {}
    for topic, key, gauge in changes:
        newest[topic, key] = backlog.add(topic, key, lambda seq: b"%d " % seq, gauge=gauge).seq
    seen = {int(part) for part in backlog.after(Wish(topics=frozenset(TOPICS)), 0, 10**6).data.split()}
    assert seen.issuperset(newest.values())
