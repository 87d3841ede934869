"""What API keys and tokens have in common: their labels, and how people name them."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

from modelgrid.domain.errors import InvalidInput, NotFound

MAX_LABEL = 100


class Named(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def prefix(self) -> str: ...


T = TypeVar("T", bound=Named)


def checked_label(label: str) -> str:
    """Return the label without blanks around it. Raises `InvalidInput` when it is empty, too long or not printable."""
    label = label.strip()
    if not label or len(label) > MAX_LABEL or not label.isprintable():
        raise InvalidInput(
            f"A label has 1 to {MAX_LABEL} printable characters.", fix="Name who or what uses it.", path="label"
        )
    return label


def resolve(items: Iterable[T], text: str, *, noun: str, listed_by: str) -> T:
    """Return the item with the id, or the only one with the label or prefix `text`. Raises `NotFound`."""
    known = tuple(items)
    matches = [item for item in known if item.id == text]
    matches = matches or [item for item in known if text in {item.label, item.prefix}]
    if len(matches) == 1:
        return matches[0]
    many = f"{len(matches)} {noun}s are called {text!r}; name one by its id."
    raise NotFound(many if matches else f"There is no {noun} {text!r}.", fix=f"`{listed_by}` shows the ids.")
