"""Asks a replica for the usage of a stream whose client did not ask, without touching any other byte of the body."""

import re

import msgspec

from modelgrid.gateway.shapes import UNREADABLE, Fields, decode_options

_STRING_OR_MARK = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]:,]', re.DOTALL)
_SPACE = b" \t\r\n"
_NOT_SET = (b"", b"null", b"false")
_ASK = b'{"include_usage":true}'


def ask_for_usage(body: bytes, fields: Fields) -> bytes | None:
    """Return `body`, whose `fields` are given, with `stream_options.include_usage` set.

    None when it is to go as it is: no stream, usage was asked for, or the options are not what an engine accepts.
    """
    if not fields.stream or bytes(fields.stream) != b"true":
        return None
    options = bytes(fields.stream_options)
    if options in {b"", b"null"}:
        return with_field(body, "stream_options", _ASK)
    try:
        told = decode_options(options)
    except UNREADABLE:  # not an object: the engine says so
        return None
    if bytes(told.include_usage) not in _NOT_SET:
        return None
    options = with_field(options, "include_usage", b"true")
    if bytes(told.continuous_usage_stats) not in _NOT_SET:  # without usage it has no effect; it would have now
        options = with_field(options, "continuous_usage_stats", b"false")
    return with_field(body, "stream_options", options)


def with_field(text: bytes, name: str, value: bytes) -> bytes:
    """Return the JSON object in `text` (valid) with the member `name` set to the JSON `value`.

    Where it stands several times the last one counts, as it does for every parser of Python, and is replaced.
    """
    place = _place_of(text, name)
    if place is not None:
        return text[: place[0]] + value + text[place[1] :]
    end = len(text.rstrip(_SPACE)) - 1
    comma = b"" if text[:end].rstrip(_SPACE).endswith(b"{") else b","
    return b'%b%b"%b":%b%b' % (text[:end], comma, name.encode(), value, text[end:])


def _means(key: bytes, wanted: bytes) -> bool:
    """Whether a key is the wanted one, both as strings of JSON, the latter without escapes."""
    if b"\\" not in key:
        return key == wanted
    try:
        return msgspec.json.decode(key, type=str).encode() == wanted[1:-1]
    except (msgspec.MsgspecError, UnicodeError):  # not UTF-8, or half of a surrogate pair: no name of ours
        return False


def _place_of(text: bytes, name: str) -> tuple[int, int] | None:
    """Return where the value of the last member `name` of the outermost object begins and ends."""
    wanted = b'"%b"' % name.encode()
    depth, begin, is_key, is_name = 0, 0, False, False
    place: tuple[int, int] | None = None
    for found in _STRING_OR_MARK.finditer(text):
        mark = found[0][:1]
        if mark == b'"':
            if is_key:
                is_name, is_key = _means(found[0], wanted), False
            continue
        if depth == 1 and mark == b":":
            begin = found.end()
        elif depth == 1 and mark in b",}":
            if is_name:
                place = (begin, found.start())
            is_key = mark == b","
        if mark in b"{[":
            depth += 1
            is_key = depth == 1
        elif mark in b"}]":
            depth -= 1
    return place
