"""Runs pieces of database work in threads of their own, each as one transaction."""

import asyncio
import concurrent.futures
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from modelgrid.adapters.store_sql.engine import POSTGRESQL_CONNECTIONS, WRITE, shown_as
from modelgrid.adapters.store_sql.events import take_appended
from modelgrid.adapters.store_sql.faults import explain
from modelgrid.domain.errors import ModelGridError, StoreUnavailable
from modelgrid.domain.event import Event

P = ParamSpec("P")
R = TypeVar("R")

CALL_SECONDS = 15.0
"""After this a call is answered with `StoreUnavailable`. Above SQLite's busy timeout (5 s) and PostgreSQL's
statement timeout (10 s), so that it is reached only by a disk or a server that hangs."""

RETRY_SECONDS = 5.0
"""How long a transaction that left nothing behind is tried again: a PostgreSQL that restarts is back by then."""

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 0.5


class _LeftNothingBehindError(Exception):
    """The attempt failed in passing before it began to commit."""

    def __init__(self, error: ModelGridError) -> None:
        super().__init__(str(error))
        self.error = error


class Database:
    """One thread for SQLite (it has one writer anyway, and its connection never changes threads), a few for
    PostgreSQL. Nothing here ever runs on the event loop."""

    def __init__(self, engine: Engine) -> None:
        is_sqlite = engine.dialect.name == "sqlite"
        self._shown_as = shown_as(engine.url)
        self._engine = engine
        self._writer = engine.execution_options(**{WRITE: True})
        self._threads = concurrent.futures.ThreadPoolExecutor(
            max_workers=1 if is_sqlite else POSTGRESQL_CONNECTIONS, thread_name_prefix="modelgrid-store"
        )
        self._closed = False
        self._listeners: list[Callable[[tuple[Event, ...]], None]] = []

    async def read(self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `work` as one transaction that only reads; return its result."""
        return await self._run(lambda: self._read(lambda db: work(db, *args, **kwargs)))

    async def write(self, work: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run `work` as one transaction; return its result once the commit is durable.

        `work` may run again after it failed in passing, so it must change nothing but the database. A commit
        whose outcome is not known is never repeated: `StoreUnavailable` with `details["ambiguous"]`.
        Cancelling the caller does not undo a transaction that has begun."""
        result, appended = await self._run(lambda: self._write(lambda db: work(db, *args, **kwargs)))
        if appended:
            for listener in self._listeners:
                listener(appended)
        return result

    def on_events(self, listener: Callable[[tuple[Event, ...]], None]) -> None:
        """Call `listener` with the events of each transaction, on the event loop, once it is durable."""
        self._listeners.append(listener)

    async def prepare(self, work: Callable[[Engine], R]) -> R:
        """Run `work` with the engine itself, outside any transaction, once and without a time limit."""

        def translated() -> R:
            try:
                return work(self._engine)
            except SQLAlchemyError as error:
                fault = explain(error, database=self._shown_as)
                if fault is None:
                    raise
                raise fault.error from error

        return await asyncio.wrap_future(self._threads.submit(translated))

    async def close(self) -> None:
        """Wait for what runs, then close all connections. Closing twice is fine."""
        if not self._closed:
            self._closed = True
            await asyncio.to_thread(self._shut_down)

    def _shut_down(self) -> None:
        self._threads.shutdown(wait=True)
        self._engine.dispose()

    async def _run(self, attempt: Callable[[], R]) -> R:
        loop = asyncio.get_running_loop()
        give_up, pause = loop.time() + RETRY_SECONDS, _FIRST_PAUSE
        while True:
            try:
                return await self._in_thread(attempt)
            except _LeftNothingBehindError as failed:
                if loop.time() + pause > give_up:
                    raise failed.error from failed.__cause__
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _in_thread(self, attempt: Callable[[], R]) -> R:
        if self._closed:
            raise StoreUnavailable("The store is closed.", fix="The daemon is stopping; try again when it is up.")
        future = self._threads.submit(attempt)
        try:
            async with asyncio.timeout(CALL_SECONDS):  # wait_for may lose a cancellation when the answer comes with it
                return await asyncio.wrap_future(future)
        except TimeoutError as error:
            raise StoreUnavailable(
                f"The state database {self._shown_as} did not answer within {CALL_SECONDS:g} s.",
                fix="Read the state again before repeating a change: it may still be made.",
                database=self._shown_as,
                ambiguous=not future.cancelled(),
            ) from error

    def _read(self, work: Callable[[Connection], R]) -> R:
        try:
            with self._engine.connect() as connection:
                return work(connection)
        except (SQLAlchemyError, UnicodeEncodeError) as error:
            failure = self._failure(error)
            if failure is None:
                raise
            raise failure from error

    def _write(self, work: Callable[[Connection], R]) -> tuple[R, tuple[Event, ...]]:
        committing = False
        try:
            with self._writer.connect() as connection:
                take_appended(connection)  # of an attempt that failed
                result = work(connection)
                committing = True
                connection.commit()
                committing = False
                return result, take_appended(connection)
        except (SQLAlchemyError, UnicodeEncodeError) as error:
            failure = self._failure(error, committing=committing)
            if failure is None:
                raise
            raise failure from error

    def _failure(self, error: Exception, *, committing: bool = False) -> Exception | None:
        fault = explain(error, database=self._shown_as)
        if fault is None:
            return None
        if committing and isinstance(fault.error, StoreUnavailable):
            return StoreUnavailable(
                f"{fault.error.message} It happened during a commit, so whether the change was made is not known.",
                fix="Read the state again before repeating the change.",
                database=self._shown_as,
                ambiguous=True,
            )
        return _LeftNothingBehindError(fault.error) if fault.passing else fault.error
