"""Domain values as JSON text, and back with their types.

A body may be older than the class: fields it lacks take their defaults, so a field added to a stored class must
have one. It may also carry fields the class has dropped; they are ignored.
"""

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import msgspec

from modelgrid.domain.errors import InvalidInput, StoreUnavailable

T = TypeVar("T")


def _plain(value: object) -> object:
    if isinstance(value, Mapping):  # read-only views of a dict, for example
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot be stored as JSON")


_encoder = msgspec.json.Encoder(enc_hook=_plain)


def encode(value: object) -> str:
    """Return `value` as JSON text. Raises `InvalidInput` for text that is not Unicode (a lone surrogate) and
    `TypeError` for values that JSON has no form for."""
    try:
        return _encoder.encode(value).decode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            "A text to be stored is not valid Unicode.", fix="Decode foreign bytes with errors='replace'."
        ) from error


class Decoder(Generic[T]):
    """Reads bodies of one class; made once, at import."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self._decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(kind)

    def __call__(self, text: str) -> T:
        """Raises `StoreUnavailable` when `text` is not what this version, or an older one, wrote."""
        try:
            return self._decoder.decode(text)
        except msgspec.DecodeError as error:
            raise StoreUnavailable(
                f"A stored {getattr(self._kind, '__name__', self._kind)} cannot be read: {error}.",
                fix="Restore the database from a backup, or run the version of ModelGrid that wrote it.",
            ) from error
