"""How somebody who logs in shows who they are. Passwords are one way; what follows from it is the same for all."""

from typing import Protocol

from modelgrid.domain.access import User


class Proof(Protocol):
    """What one person shows for one login."""

    @property
    def claimed(self) -> str:
        """Who they say they are: tries are counted by it before anything is known."""
        ...

    async def user(self) -> User:
        """Return who they are. Raises `Unauthenticated`; takes the same time whether there is such a user or not."""
        ...

    async def still_holds(self, user: User) -> bool:
        """Tell whether `user`, who was returned a moment ago, could still log in so."""
        ...
