"""The frames of the stream: server-sent events whose data is one line of JSON."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic_core import to_json

LONGEST_POSITION = 200


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the stream of one run of the control process, written `<epoch>-<sequence number>`."""

    epoch: str
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"


def parse_position(text: str) -> Position | None:
    """Return the position that `text` names; `None` when it is none of ours."""
    epoch, dash, seq = text.strip().rpartition("-")
    if not dash or not epoch or not seq.isascii() or not seq.isdigit() or len(text) > LONGEST_POSITION:
        return None
    return Position(epoch, int(seq))


def frame(event: str, data: Mapping[str, object], position: Position) -> bytes:
    """Return one event with `data` as JSON. JSON has no line breaks, so it is one `data` line."""
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (str(position).encode(), event.encode(), to_json(data))


def change_frame(position: Position, topic: str, op: str, key: str, value: bytes) -> bytes:
    """Return the frame of a change whose value is JSON already."""
    head = b'{"topic":%b,"op":"%b","key":%b,"value":' % (to_json(topic), op.encode(), to_json(key))
    return b"id: %b\nevent: change\ndata: %b%b}\n\n" % (str(position).encode(), head, value)
