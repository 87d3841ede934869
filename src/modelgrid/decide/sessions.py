"""When a login session is over."""

from modelgrid.domain.access import Session

IDLE_SECONDS = 3600.0
"""Without a call and without an open stream for this long, a session ends."""
LONGEST_SECONDS = 12 * 3600.0
"""No session lasts longer, however busy it is."""


def is_over(session: Session, now: float, *, in_use: bool = False) -> bool:
    """`in_use`: a call or a stream of it is open, so it is not idle."""
    idle = not in_use and now - session.last_seen_at > IDLE_SECONDS
    return now >= session.expires_at or idle
