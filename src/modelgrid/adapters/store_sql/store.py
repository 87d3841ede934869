"""`ports.Store` over SQL. What each call does stands in the file of its resource."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

from modelgrid.adapters.store_sql import (
    access_tokens,
    api_keys,
    audit,
    deployments,
    history,
    members,
    nodes,
    sessions,
    settings,
    targets,
    users,
)
from modelgrid.adapters.store_sql import events as timeline
from modelgrid.adapters.store_sql.database import Database
from modelgrid.adapters.store_sql.engine import make_engine
from modelgrid.adapters.store_sql.schema import ensure_schema
from modelgrid.domain.access import AccessToken, ApiKey, Session, User
from modelgrid.domain.audit import AuditCheckpoint, AuditEntry, AuditExtent
from modelgrid.domain.cluster import JoinToken, Member
from modelgrid.domain.deployment import Deployment
from modelgrid.domain.event import Event, Subject
from modelgrid.domain.history import HistoryRecord
from modelgrid.domain.node import NodeStatus
from modelgrid.domain.target import Target
from modelgrid.ports.store import Store


async def open_store(url: str) -> "SqlStore":
    """Return the store at `sqlite:////absolute/path/state.db` or `postgresql://user:password@host/database`.

    Creates what is missing (the SQLite file with mode 0600, the tables) and migrates an older schema.
    Raises `InvalidConfig` when the URL is not usable or a newer ModelGrid wrote the database,
    `StoreUnavailable` when it does not answer, `StorageFull` when there is no room to create it."""
    database = Database(await asyncio.to_thread(make_engine, url))
    try:
        await database.prepare(ensure_schema)
    except BaseException:
        await database.close()
        raise
    return SqlStore(database)


class SqlStore(Store):
    """Use `open_store`. Calls may overlap; on SQLite they run one after the other in the order of their start."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def close(self) -> None:
        """Wait for the calls under way, then let go of the database. Closing twice is fine."""
        await self._database.close()

    # targets
    async def targets(self) -> tuple[Target, ...]:
        return await self._database.read(targets.all_of_them)

    async def put_target(
        self, target: Target, *, expected_revision: int | None = None, events: Sequence[Event] = ()
    ) -> Target:
        return await self._database.write(targets.put, target, expected_revision, events)

    async def delete_target(
        self, name: str, *, expected_revision: int | None = None, events: Sequence[Event] = ()
    ) -> None:
        await self._database.write(targets.remove, name, expected_revision, events)

    # deployments
    async def deployments(self) -> tuple[Deployment, ...]:
        return await self._database.read(deployments.all_of_them)

    async def save_deployment(self, deployment: Deployment, *, events: Sequence[Event] = ()) -> Deployment:
        return await self._database.write(deployments.save, deployment, events)

    async def archive_deployment(self, record: HistoryRecord, *, events: Sequence[Event] = ()) -> None:
        await self._database.write(deployments.archive, record, events)

    # history
    async def put_history(self, record: HistoryRecord) -> None:
        await self._database.write(history.put, record)

    async def history(self, *, limit: int = 100, before: tuple[float, str] | None = None) -> tuple[HistoryRecord, ...]:
        return await self._database.read(history.newest, limit, before)

    async def history_record(self, deployment_id: str) -> HistoryRecord:
        return await self._database.read(history.one, deployment_id)

    async def forget_history(self, deployment_id: str) -> None:
        await self._database.write(history.forget, deployment_id)

    async def prune_history(self, *, keep: int, events_before: float) -> None:
        await self._database.write(history.prune, keep, events_before)

    # events
    def on_events(self, listener: Callable[[tuple[Event, ...]], None]) -> None:
        self._database.on_events(listener)

    async def add_events(self, events: Sequence[Event]) -> tuple[Event, ...]:
        return await self._database.write(timeline.append, events) if events else ()

    async def events(
        self,
        *,
        subject: Subject | None = None,
        subject_id: str | None = None,
        after: int = 0,
        before: int | None = None,
        limit: int = 500,
        newest_first: bool = False,
    ) -> tuple[Event, ...]:
        return await self._database.read(timeline.find, subject, subject_id, after, before, limit, newest_first)

    # API keys
    async def api_keys(self) -> tuple[ApiKey, ...]:
        return await self._database.read(api_keys.all_of_them)

    async def add_api_key(self, key: ApiKey, *, events: Sequence[Event] = ()) -> None:
        await self._database.write(api_keys.add, key, events)

    async def revoke_api_key(self, key_id: str, at: float, *, events: Sequence[Event] = ()) -> ApiKey:
        return await self._database.write(api_keys.revoke, key_id, at, events)

    async def touch_api_keys(self, last_used: Mapping[str, float]) -> None:
        if last_used:
            await self._database.write(api_keys.touch, dict(last_used))

    # access tokens
    async def access_tokens(self) -> tuple[AccessToken, ...]:
        return await self._database.read(access_tokens.all_of_them)

    async def add_access_token(self, token: AccessToken, *, events: Sequence[Event] = ()) -> None:
        await self._database.write(access_tokens.add, token, events)

    async def revoke_access_token(self, token_id: str, at: float, *, events: Sequence[Event] = ()) -> AccessToken:
        return await self._database.write(access_tokens.revoke, token_id, at, events)

    async def touch_access_tokens(self, last_used: Mapping[str, float]) -> None:
        if last_used:
            await self._database.write(access_tokens.touch, dict(last_used))

    # audit
    async def append_audit(
        self, entries: Sequence[AuditEntry], seal: Callable[[AuditEntry, str], AuditEntry]
    ) -> tuple[AuditEntry, ...]:
        return await self._database.write(audit.append, entries, seal)

    async def audit(
        self, *, before: int | None = None, limit: int = 100, who: str | None = None, action: str | None = None
    ) -> tuple[AuditEntry, ...]:
        return await self._database.read(audit.newest_first, before, limit, who, action)

    async def audit_from(self, after: int, limit: int) -> tuple[AuditEntry, ...]:
        return await self._database.read(audit.after, after, limit)

    async def audit_extent(self, since: float) -> AuditExtent | None:
        return await self._database.read(audit.extent, since)

    async def prune_audit(self, through: int, checkpoint: Callable[[AuditEntry], AuditCheckpoint]) -> None:
        await self._database.write(audit.prune, through, checkpoint)

    async def audit_checkpoint(self) -> AuditCheckpoint | None:
        return await self._database.read(audit.checkpoint)

    # users
    async def users(self) -> tuple[User, ...]:
        return await self._database.read(users.all_of_them)

    async def put_user(self, user: User, *, ends_sessions: bool = False, events: Sequence[Event] = ()) -> None:
        await self._database.write(users.put, user, ends_sessions, events)

    # sessions
    async def sessions(self) -> tuple[Session, ...]:
        return await self._database.read(sessions.all_of_them)

    async def put_session(self, session: Session) -> None:
        await self._database.write(sessions.put, session)

    async def sessions_seen(self, last_seen: Mapping[str, float]) -> None:
        if last_seen:
            await self._database.write(sessions.seen, dict(last_seen))

    async def delete_sessions(self, ids: Collection[str]) -> None:
        if ids:
            await self._database.write(sessions.remove, tuple(ids))

    # members
    async def members(self) -> tuple[Member, ...]:
        return await self._database.read(members.all_of_them)

    async def put_members(self, values: Sequence[Member], *, events: Sequence[Event] = ()) -> None:
        if values:
            await self._database.write(members.put, values, events)

    async def join_member(self, member: Member, *, token_id: str, at: float, events: Sequence[Event] = ()) -> None:
        await self._database.write(members.join, member, token_id, at, events)

    async def delete_member(self, name: str, *, events: Sequence[Event] = ()) -> None:
        await self._database.write(members.remove, name, events)

    async def join_tokens(self) -> tuple[JoinToken, ...]:
        return await self._database.read(members.tokens)

    async def add_join_token(self, token: JoinToken, *, events: Sequence[Event] = ()) -> None:
        await self._database.write(members.add_token, token, events)

    # nodes and settings
    async def node_status(self) -> Mapping[str, NodeStatus]:
        return await self._database.read(nodes.statuses)

    async def set_node_status(self, name: str, status: NodeStatus, *, events: Sequence[Event] = ()) -> None:
        await self._database.write(nodes.set_status, name, status, events)

    async def settings(self, names: Collection[str]) -> Mapping[str, str]:
        return await self._database.read(settings.get, tuple(names)) if names else {}

    async def put_setting(self, name: str, value: str) -> None:
        await self._database.write(settings.put, name, value)
