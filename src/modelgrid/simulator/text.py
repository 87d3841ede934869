"""Made-up text that is the same for the same prompt, and the rule by which it is counted.

A prompt has one token per four bytes of UTF-8, begun ones counted. In an answer each piece is one token.
"""

from zlib import crc32

BYTES_PER_TOKEN = 4
OPENING = ("Simulated", " answer", ":")
"""How every generated text begins, so that nobody takes it for a model's."""
_WORDS = (  # noqa: SIM905 (a list of words reads better as words)
    "harbour lantern meadow quiet river copper orchard signal winter canvas thread garden marble compass "
    "letter window summit silver anchor forest engine mirror paper candle bridge valley market island "
    "pocket ribbon saddle timber velvet wagon yellow amber basket cedar desert ember falcon glacier hollow "
    "ivory jasmine kettle ladder magnet needle ocean pepper quartz rocket spiral temple umbrella violin "
    "walnut zephyr carries follows crosses gathers measures answers borrows collects opens reaches returns "
    "settles turns watches writes below beside beyond under along across behind between during without"
).split()
_PERIOD = 4096
_SENTENCE = 11


def count_tokens(data: bytes) -> int:
    """Return the length of a prompt of these bytes in tokens; at least 1."""
    return max(1, -(-len(data) // BYTES_PER_TOKEN))


def seed_of(data: bytes, index: int = 0) -> int:
    """Return what choice `index` of an answer to this prompt is drawn from."""
    return crc32(data, index)


def answer(seed: int, tokens: int) -> list[str]:
    """Return `tokens` pieces of text; joined they are the answer. ASCII without quotes or backslashes."""
    offset = seed % _PERIOD
    if tokens <= len(OPENING):
        return list(OPENING[:tokens])
    wanted = tokens - len(OPENING)
    pieces = [*OPENING, *_TEXT[offset : offset + wanted]]
    while len(pieces) < tokens:
        pieces += _TEXT[: tokens - len(pieces)]
    return pieces


def _text() -> tuple[str, ...]:
    # A fixed shuffle by a linear congruential generator (constants of Numerical Recipes): the same on every machine.
    pieces: list[str] = []
    state = 1
    for position in range(_PERIOD):
        state = (state * 1664525 + 1013904223) % 2**32
        word = _WORDS[(state >> 16) % len(_WORDS)]
        if position % _SENTENCE == 0:
            word = word.capitalize()
        pieces.append(f" {word}." if position % _SENTENCE == _SENTENCE - 1 else f" {word}")
    return tuple(pieces)


_TEXT = _text()


def token_ids(data: bytes) -> list[int]:
    """Return one id per four bytes. The id holds the bytes and how many they are, so that it can be undone."""
    return [
        (1 << 8 * len(part)) | int.from_bytes(part, "big")
        for part in (data[at : at + BYTES_PER_TOKEN] for at in range(0, len(data), BYTES_PER_TOKEN))
    ]


def token_bytes(ids: list[int]) -> bytes:
    """Return the bytes of ids made by `token_ids`; other ids give as many bytes as they need."""
    return b"".join(
        (number ^ (1 << number.bit_length() - 1)).to_bytes((number.bit_length() - 1) // 8, "big")
        if number.bit_length() % 8 == 1
        else number.to_bytes(-(-number.bit_length() // 8), "big")
        for number in ids
        if number > 0
    )
