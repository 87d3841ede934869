"""Sizes and durations as people write them."""

from functools import lru_cache

KIB = 1024
MIB = 1024**2
GIB = 1024**3


@lru_cache(maxsize=4096)  # few sizes, and sentences of placements say them over and over
def format_bytes(size: int | None) -> str:
    """Return `size` bytes with three significant digits and a binary unit; `—` when not known.

    >>> format_bytes(17_600_000_000), format_bytes(512), format_bytes(None)
    ('16.4 GiB', '512 B', '—')
    """
    if size is None:
        return "—"
    if abs(size) < KIB:
        return f"{size} B"
    value = float(size)
    for unit in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        value /= 1024
        if abs(value) < 999.5 or unit == "PiB":
            break
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:.{digits}f} {unit}"


def format_duration(seconds: float | None) -> str:
    """Return a duration the way `kubectl` does: the two largest units, no fractions above ten seconds.

    >>> format_duration(0.42), format_duration(61), format_duration(90_000)
    ('0.4s', '1m1s', '1d1h')
    """
    if seconds is None:
        return "—"
    if seconds < 10:
        return f"{max(seconds, 0):.1f}s"
    whole = int(seconds)
    parts: list[str] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        count, whole = divmod(whole, size)
        if count or parts:
            parts.append(f"{count}{unit}" if count else "")
        if len(parts) == 2:
            break
    return "".join(parts)
