"""How the secret of an API key is written: `mg-`, 32 base62 characters, a checksum of 6. Tokens of the console API
begin with `mgt-` instead.

The checksum lets secret scanners rule out look-alikes, and lets a gateway refuse a mistyped key without looking it up.
It protects nothing: the 190 random bits do.
"""

import string
import zlib

PREFIX = "mg-"
TOKEN_PREFIX = "mgt-"  # noqa: S105  how tokens begin
SECRET_BITS = 192
SECRET_CHARACTERS = 32
"""Of base62: 190 bits, so that a fast hash is enough to store it."""
CHECKSUM_CHARACTERS = 6

_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_PREFIX_BYTES = PREFIX.encode()
_BODY_END = len(PREFIX) + SECRET_CHARACTERS
_LENGTH = _BODY_END + CHECKSUM_CHARACTERS


def base62(number: int, width: int) -> str:
    """Return the last `width` digits of `number`."""
    text = ""
    for _ in range(width):
        number, digit = divmod(number, 62)
        text = _BASE62[digit] + text
    return text


_PAIRS = tuple(base62(number, 2).encode() for number in range(62 * 62))
"""Two digits at a time: every request of the data plane is checked."""


def make_secret(randomness: int, prefix: str = PREFIX) -> str:
    """Return the secret that the `SECRET_BITS` random bits of `randomness` give."""
    body = base62(randomness, SECRET_CHARACTERS)
    return prefix + body + base62(zlib.crc32(body.encode()), CHECKSUM_CHARACTERS)


def is_well_formed(secret: bytes) -> bool:
    """Whether `secret` has the length, the prefix and the checksum of those that `make_secret` gives."""
    if len(secret) != _LENGTH or not secret.startswith(_PREFIX_BYTES):
        return False
    rest, last = divmod(zlib.crc32(secret[len(_PREFIX_BYTES) : _BODY_END]), 62 * 62)
    first, middle = divmod(rest, 62 * 62)
    return secret[_BODY_END:] == _PAIRS[first] + _PAIRS[middle] + _PAIRS[last]
