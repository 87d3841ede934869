"""`If-Match` (RFC 9110, section 13.1.1): a change that names what it was made from, and is refused with 412 when the
object is another by now."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Response

from modelgrid.domain.errors import PreconditionFailed

_TAG = r'(?:W/)?"[!#-~]*"'
_TAGS = rf"{_TAG}( *, *{_TAG})*"
_ETAG = re.compile(r'(W/)?"([!#-~]*)"')


@dataclass(frozen=True, slots=True)
class Precondition:
    """`etags` is `None` for `*`: whatever there is."""

    etags: Collection[str] | None

    def revision(self, name: str, present: int) -> int:
        """Return the revision that the change is made from; `present` is 0 where there is none.

        Raises `PreconditionFailed` when it is none that was named."""
        if present == 0 or (self.etags is not None and str(present) not in self.etags):
            raise PreconditionFailed.at_revision(f"{name!r}", present)
        return present


def if_match(
    if_match: Annotated[str | None, Header(pattern=rf"^(\*|{_TAGS})$", description="ETag of what was read.")] = None,
) -> Precondition | None:
    """Return what `If-Match` demands; `None` without one. A weak ETag never matches."""
    if if_match is None:
        return None
    if if_match == "*":
        return Precondition(None)
    return Precondition(frozenset(tag for weak, tag in _ETAG.findall(if_match) if not weak))


IfMatch = Annotated[Precondition | None, Depends(if_match)]


def set_etag(response: Response, tag: object) -> None:
    response.headers["ETag"] = f'"{tag}"'
