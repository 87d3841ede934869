"""How much of the event loop those may take who look at the whole fleet whenever something changed."""

REST = 3.0
LONGEST_SECONDS = 1.0


def pause_after(worked_seconds: float, longest_seconds: float = LONGEST_SECONDS) -> float:
    """Return how long to wait after work of that length, so that what comes meanwhile is gathered.

    A fleet in which much happens at once, such as a thousand nodes that come back, still hears its heartbeats. In a
    small one these are milliseconds."""
    return min(longest_seconds, REST * max(0.0, worked_seconds))
