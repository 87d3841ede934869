"""The page that gateway processes share, with several real processes on it."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from modelgrid.gateway import board as module
from modelgrid.gateway.board import Board, BoardError, tag_of
from modelgrid.gateway.process import _shared_board

TAG = tag_of("key", "k")

OTHER = """
import sys
from modelgrid.gateway.board import Board, tag_of
board = Board(int(sys.argv[1]), 2)
board.join()
record = board.record(tag_of("key", "k"))
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""

COUNT = """
import sys, time
from modelgrid.decide.admission import Limits, admit
from modelgrid.gateway.board import Board, tag_of
board = Board(int(sys.argv[1]), 2)
board.join()
record = board.record(tag_of("key", "k"))
print("ready", flush=True)
sys.stdin.readline()
board.look_around()
assert board.others
passed = missed = 0
for _ in range(4000):
    locked = board.lock(record)
    missed += not locked
    verdict = admit(Limits(1000, None, None), board.spent(record), 0, 0, 500.0)
    if verdict.refused_by is None:
        board.spend(record, verdict.requests_full_at, 0.0)
        passed += 1
    if locked:
        board.unlock(record)
print(passed, missed, flush=True)
sys.stdin.readline()
"""


class Other:
    """Another gateway process that does what it is told."""

    def __init__(self, descriptor: int, program: str = OTHER) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, str(descriptor)],
            pass_fds=[descriptor], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def do(self, line: str) -> None:
        self.tell(line)
        assert self.hear() == "done"

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def descriptor() -> Iterator[int]:
    number = os.memfd_create("board")
    yield number
    os.close(number)


def test_what_one_process_counts_the_other_sees_until_it_dies(descriptor: int) -> None:
    mine = Board(descriptor, 2)
    mine.join()
    other = Other(descriptor)
    try:
        other.do("board.add(record, 3); board.spend(record, 7.5, 8.5)")
        mine.look_around()
        record = mine.record(TAG)
        mine.add(record, 1)
        assert (mine.under_way(record), mine.elsewhere(record)) == (4, 3)
        assert mine.spent(record) == (7.5, 8.5)
        assert len(mine.others) == 1
    finally:
        other.end()
    mine.look_around()
    assert (mine.under_way(record), mine.elsewhere(record), mine.others) == (1, 0, ())
    assert mine.spent(record) == (7.5, 8.5), "what was used up stays used up"


def test_a_process_that_leaves_is_gone_at_once(descriptor: int) -> None:
    mine = Board(descriptor, 2)
    mine.join()
    other = Other(descriptor)
    try:
        other.do("board.leave()")
        mine.look_around()
        assert mine.others == ()
    finally:
        other.end()


def test_two_processes_together_let_no_request_too_many_pass(descriptor: int) -> None:
    others = [Other(descriptor, COUNT) for _ in range(2)]
    try:
        for other in others:
            assert other.hear() == "ready"
        for other in others:
            other.tell("go")
        counts = [tuple(map(int, other.hear().split())) for other in others]
    finally:
        for other in others:
            other.end()
    passed, missed = (sum(column) for column in zip(*counts, strict=True))
    print(f"passed {passed}, locks done without {missed}")
    assert 1000 <= passed <= 1000 + missed


def test_a_process_that_stops_inside_a_critical_section_stops_nobody_else(descriptor: int) -> None:
    mine = Board(descriptor, 2)
    mine.join()
    other = Other(descriptor)
    try:
        other.do("board._lock(0)")  # the lock of the first record, held for good
        mine.look_around()
        assert mine.lock(mine.record(TAG)) is False
    finally:
        other.end()
    assert mine.lock(mine.record(TAG)) is True


def test_a_full_page_forgets_what_was_full_for_the_longest(descriptor: int) -> None:
    board = Board(descriptor, 1)
    board.join()
    for number in range(module.RECORDS - 3):
        board.add(board.record(tag_of("key", str(number))), 1)
    old, busy, recent = (board.record(tag_of("key", name)) for name in ("old", "busy", "recent"))
    board.spend(old, 10.0, 0.0)
    board.spend(recent, 20.0, 0.0)
    board.add(busy, 1)
    new = board.record(tag_of("key", "new"))
    assert (new, board.spent(new)) == (old, (0.0, 0.0))
    assert board.record(tag_of("key", "busy")) == busy
    for record in (new, recent):
        board.add(record, 1)
    with pytest.raises(BoardError):
        board.record(tag_of("key", "another"))


def test_a_page_of_another_version_is_left_alone(descriptor: int) -> None:
    Board(descriptor, 2)
    Board(descriptor, 2)
    with pytest.raises(BoardError, match="another version"):
        Board(descriptor, 3)
    another = (module._LAYOUT + 1).to_bytes(module._CELL, sys.byteorder)
    os.pwrite(descriptor, another, module._LAYOUT_CELL * module._CELL)
    with pytest.raises(BoardError, match="another version"):
        Board(descriptor, 2)
    assert _shared_board(descriptor, 2).size == Board.private().size, "serving goes on with a page of its own"


def test_all_slots_taken(descriptor: int) -> None:
    others = [Other(descriptor) for _ in range(6)]
    try:
        for other in others:
            other.do("pass")
        with pytest.raises(BoardError, match="6 slots"):
            Board(descriptor, 2).join()
    finally:
        for other in others:
            other.end()
