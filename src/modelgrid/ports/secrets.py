from typing import Protocol


class Secrets(Protocol):
    """Randomness, and sealing of values that must not stand in the database in plain text."""

    def token(self, bits: int) -> str:
        """Return at least `bits` random bits as URL-safe text."""
        ...

    def integer(self, bits: int) -> int:
        """Return a random integer below 2**bits."""
        ...

    def seal(self, plaintext: str) -> str:
        """Return `plaintext` encrypted and authenticated, as printable text. Different at each call."""
        ...

    def derive(self, purpose: str) -> bytes:
        """Return 256 bits that belong to `purpose`: the same at each call, kept nowhere, of no use to find the key."""
        ...

    def unseal(self, sealed: str) -> str:
        """Return the plain text. Raises `InvalidInput` when it was sealed by another state directory."""
        ...
