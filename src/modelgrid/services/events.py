"""How services write events: to the store, and one line each to the daemon's log."""

from collections.abc import Callable

from modelgrid.domain.event import Event, Level, Subject
from modelgrid.ports.clock import Clock


class EventMaker:
    """Makes events of one subject kind at the present time."""

    def __init__(self, clock: Clock, subject: Subject) -> None:
        self._clock = clock
        self._subject = subject

    def __call__(
        self, subject_id: str, kind: str, message: str, *, level: Level = Level.INFO, by: str = "", **data: object
    ) -> Event:
        return Event(
            at=self._clock.now(),
            subject=self._subject,
            subject_id=subject_id,
            kind=kind,
            message=message,
            level=level,
            by=by,
            data=data,
        )


class Notifier:
    """A list of listeners that are told, without arguments, that something changed."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[], None]] = []

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` on each change, on the event loop. It must not block or raise."""
        self._listeners.append(listener)

    def notify(self) -> None:
        for listener in self._listeners:
            listener()
