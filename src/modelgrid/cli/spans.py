"""Spans of time as people write them: 90s, 15m, 2h, 30d."""

import re

_SPAN = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


def span(text: str) -> float | None:
    """Return the seconds of a span; `None` when it is none."""
    found = _SPAN.fullmatch(text)
    return float(found[1]) * _SECONDS[found[2]] if found else None
