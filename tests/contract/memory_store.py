"""A store in memory that keeps what `ports.Store` promises: durable as long as the object lives, one step per call.

For simulations of whole clusters, where a database per node and second would cost more than all else. The suite of the
stores holds it like the others.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from modelgrid.domain.access import AccessToken, ApiKey, Session, User
from modelgrid.domain.audit import AuditCheckpoint, AuditEntry, AuditExtent
from modelgrid.domain.cluster import JoinToken, Member
from modelgrid.domain.deployment import Deployment
from modelgrid.domain.errors import Conflict, InvalidInput, NotFound
from modelgrid.domain.event import Event, Subject
from modelgrid.domain.history import HistoryRecord
from modelgrid.domain.node import NodeStatus
from modelgrid.domain.target import Target


def _writable(*texts: str) -> None:
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidInput("A text is not Unicode.") from error


class MemoryStore:
    def __init__(self) -> None:
        self._targets: dict[str, Target] = {}
        self._deployments: dict[str, Deployment] = {}
        self._history: dict[str, HistoryRecord] = {}
        self._archived: set[str] = set()
        self._events: list[Event] = []
        self._last_seq = 0
        self._listeners: list[Callable[[tuple[Event, ...]], None]] = []
        self._keys: dict[str, ApiKey] = {}
        self._tokens: dict[str, AccessToken] = {}
        self._audit: list[AuditEntry] = []
        self._checkpoint: AuditCheckpoint | None = None
        self._users: dict[str, User] = {}
        self._sessions: dict[str, Session] = {}
        self._members: dict[str, Member] = {}
        self._invitations: dict[str, JoinToken] = {}
        self._statuses: dict[str, NodeStatus] = {}
        self._settings: dict[str, str] = {}

    async def close(self) -> None:
        self._listeners.clear()

    # targets

    async def targets(self) -> tuple[Target, ...]:
        return tuple(self._targets[name] for name in sorted(self._targets))

    async def put_target(
        self, target: Target, *, expected_revision: int | None = None, events: Sequence[Event] = ()
    ) -> Target:
        _writable(target.name)
        saved = replace(target, revision=self._guarded(target.name, expected_revision) + 1)
        self._targets[target.name] = saved
        self._append(events)
        return saved

    async def delete_target(
        self, name: str, *, expected_revision: int | None = None, events: Sequence[Event] = ()
    ) -> None:
        if name not in self._targets:
            raise NotFound(f"There is no target '{name}'.")
        self._guarded(name, expected_revision)
        del self._targets[name]
        self._append(events)

    def _guarded(self, name: str, expected: int | None) -> int:
        present = self._targets[name].revision if name in self._targets else 0
        if expected not in (None, present):
            raise Conflict(f"'{name}' is at revision {present}.", revision=present)
        return present

    # deployments and history

    async def deployments(self) -> tuple[Deployment, ...]:
        return tuple(sorted(self._deployments.values(), key=lambda item: (item.created_at, item.id)))

    async def save_deployment(self, deployment: Deployment, *, events: Sequence[Event] = ()) -> Deployment:
        present = self._deployments.get(deployment.id)
        revision = present.revision if present is not None else 0
        if deployment.revision != revision or (present is None and deployment.id in self._archived):
            raise Conflict(f"'{deployment.id}' is at revision {revision}.", revision=revision)
        saved = replace(deployment, revision=revision + 1)
        self._deployments[deployment.id] = saved
        self._append(events)
        return saved

    async def archive_deployment(self, record: HistoryRecord, *, events: Sequence[Event] = ()) -> None:
        name = record.deployment.id
        if name not in self._deployments and name in self._archived:
            return
        self._deployments.pop(name, None)
        self._archived.add(name)
        self._history[name] = record
        self._append(events)

    async def put_history(self, record: HistoryRecord) -> None:
        self._history[record.deployment.id] = record

    async def history(self, *, limit: int = 100, before: tuple[float, str] | None = None) -> tuple[HistoryRecord, ...]:
        places = ((record.ended_at, record.deployment.id, record) for record in self._history.values())
        found = (record for at, of, record in places if before is None or (at, of) < before)
        newest = sorted(found, key=lambda record: (record.ended_at, record.deployment.id), reverse=True)[:limit]
        return tuple(replace(record, last_lines=()) for record in newest)

    async def history_record(self, deployment_id: str) -> HistoryRecord:
        if deployment_id not in self._history:
            raise NotFound(f"There is no deployment '{deployment_id}' in the history.")
        return self._history[deployment_id]

    async def forget_history(self, deployment_id: str) -> None:
        self._history.pop(deployment_id, None)
        self._archived.discard(deployment_id)

    async def prune_history(self, *, keep: int, events_before: float) -> None:
        newest = await self.history(limit=keep)
        self._history = {item.deployment.id: self._history[item.deployment.id] for item in newest}
        self._archived = set(self._history)
        kept = {*self._deployments, *self._history}
        self._events = [
            event
            for event in self._events
            if event.at >= events_before or (event.subject is Subject.DEPLOYMENT and event.subject_id in kept)
        ]

    # events

    def on_events(self, listener: Callable[[tuple[Event, ...]], None]) -> None:
        self._listeners.append(listener)

    async def add_events(self, events: Sequence[Event]) -> tuple[Event, ...]:
        return self._append(events)

    def _append(self, events: Sequence[Event]) -> tuple[Event, ...]:
        _writable(*(event.message for event in events))
        first = self._last_seq + 1
        added = tuple(replace(event, seq=first + position) for position, event in enumerate(events))
        self._last_seq += len(added)
        self._events.extend(added)
        for listener in self._listeners if added else ():
            listener(added)
        return added

    async def events(
        self,
        *,
        subject: Subject | None = None,
        subject_id: str | None = None,
        after: int = 0,
        limit: int = 500,
        newest_first: bool = False,
    ) -> tuple[Event, ...]:
        # Numbers rise without gaps but for what was pruned: a follower does not read everything again each time.
        start = max(0, len(self._events) - (self._last_seq - after)) if not newest_first and self._events else 0
        found = [
            event
            for event in self._events[start:]
            if event.seq > after and subject in (None, event.subject) and subject_id in (None, event.subject_id)
        ]
        return tuple((found[::-1] if newest_first else found)[:limit])

    # keys and tokens

    async def api_keys(self) -> tuple[ApiKey, ...]:
        return tuple(sorted(self._keys.values(), key=lambda key: (key.created_at, key.id)))

    async def add_api_key(self, key: ApiKey, *, events: Sequence[Event] = ()) -> None:
        if key.id in self._keys or key.digest in {known.digest for known in self._keys.values()}:
            raise Conflict(f"A key '{key.id}' exists already.")
        self._keys[key.id] = key
        self._append(events)

    async def revoke_api_key(self, key_id: str, at: float, *, events: Sequence[Event] = ()) -> ApiKey:
        key = self._keys.get(key_id)
        if key is None:
            raise NotFound(f"There is no key '{key_id}'.")
        if key.revoked_at is None:
            key = self._keys[key_id] = replace(key, revoked_at=at)
            self._append(events)
        return key

    async def touch_api_keys(self, last_used: Mapping[str, float]) -> None:
        for name, at in last_used.items():
            if (key := self._keys.get(name)) is not None and (key.last_used_at or 0.0) < at:
                self._keys[name] = replace(key, last_used_at=at)

    async def access_tokens(self) -> tuple[AccessToken, ...]:
        return tuple(sorted(self._tokens.values(), key=lambda token: (token.created_at, token.id)))

    async def add_access_token(self, token: AccessToken, *, events: Sequence[Event] = ()) -> None:
        if token.id in self._tokens or token.digest in {known.digest for known in self._tokens.values()}:
            raise Conflict(f"A token '{token.id}' exists already.")
        self._tokens[token.id] = token
        self._append(events)

    async def revoke_access_token(self, token_id: str, at: float, *, events: Sequence[Event] = ()) -> AccessToken:
        token = self._tokens.get(token_id)
        if token is None:
            raise NotFound(f"There is no token '{token_id}'.")
        if token.revoked_at is None:
            token = self._tokens[token_id] = replace(token, revoked_at=at)
            self._append(events)
        return token

    async def touch_access_tokens(self, last_used: Mapping[str, float]) -> None:
        for name, at in last_used.items():
            if (token := self._tokens.get(name)) is not None and (token.last_used_at or 0.0) < at:
                self._tokens[name] = replace(token, last_used_at=at)

    # audit

    async def append_audit(
        self, entries: Sequence[AuditEntry], seal: Callable[[AuditEntry, str], AuditEntry]
    ) -> tuple[AuditEntry, ...]:
        added = []
        for entry in entries:
            newest, previous = (self._audit[-1].seq, self._audit[-1].hash) if self._audit else (0, "")
            self._audit.append(seal(replace(entry, seq=newest + 1), previous))
            added.append(self._audit[-1])
        return tuple(added)

    async def audit(
        self, *, before: int | None = None, limit: int = 100, who: str | None = None, action: str | None = None
    ) -> tuple[AuditEntry, ...]:
        found = (
            entry
            for entry in reversed(self._audit)
            if (before is None or entry.seq < before) and who in (None, entry.who) and action in (None, entry.action)
        )
        return tuple(found)[:limit]

    async def audit_from(self, after: int, limit: int) -> tuple[AuditEntry, ...]:
        return tuple(entry for entry in self._audit if entry.seq > after)[:limit]

    async def audit_extent(self, since: float) -> AuditExtent | None:
        if not self._audit:
            return None
        young = next((entry.seq for entry in self._audit if entry.at >= since), None)
        return AuditExtent(oldest=self._audit[0].seq, newest=self._audit[-1].seq, young=young)

    async def prune_audit(self, through: int, checkpoint: Callable[[AuditEntry], AuditCheckpoint]) -> None:
        self._checkpoint = checkpoint(next(entry for entry in self._audit if entry.seq == through))
        self._audit = [entry for entry in self._audit if entry.seq > through]

    async def audit_checkpoint(self) -> AuditCheckpoint | None:
        return self._checkpoint

    # people

    async def users(self) -> tuple[User, ...]:
        return tuple(self._users[name] for name in sorted(self._users))

    async def put_user(self, user: User, *, ends_sessions: bool = False, events: Sequence[Event] = ()) -> None:
        self._users[user.name] = user
        if ends_sessions:
            self._sessions = {name: item for name, item in self._sessions.items() if item.user != user.name}
        self._append(events)

    async def sessions(self) -> tuple[Session, ...]:
        return tuple(sorted(self._sessions.values(), key=lambda item: (item.created_at, item.id)))

    async def put_session(self, session: Session) -> None:
        self._sessions[session.id] = session

    async def sessions_seen(self, last_seen: Mapping[str, float]) -> None:
        for name, at in last_seen.items():
            if name in self._sessions:
                self._sessions[name] = replace(self._sessions[name], last_seen_at=at)

    async def delete_sessions(self, ids: Collection[str]) -> None:
        for name in ids:
            self._sessions.pop(name, None)

    # members

    async def members(self) -> tuple[Member, ...]:
        return tuple(self._members[name] for name in sorted(self._members))

    async def put_members(self, values: Sequence[Member], *, events: Sequence[Event] = ()) -> None:
        self._members.update({member.name: member for member in values})
        self._append(events)

    async def join_member(self, member: Member, *, token_id: str, at: float, events: Sequence[Event] = ()) -> None:
        token = self._invitations.get(token_id)
        if token is None or token.used_at is not None or token.expires_at <= at:
            raise Conflict("The invitation was used, or has expired.", id=token_id)
        self._invitations[token_id] = replace(token, used_at=at, used_by=member.name)
        await self.put_members([member], events=events)

    async def delete_member(self, name: str, *, events: Sequence[Event] = ()) -> None:
        if self._members.pop(name, None) is None:
            raise NotFound(f"There is no node '{name}' in the cluster.")
        self._append(events)

    async def join_tokens(self) -> tuple[JoinToken, ...]:
        return tuple(sorted(self._invitations.values(), key=lambda token: (token.created_at, token.id)))

    async def add_join_token(self, token: JoinToken, *, events: Sequence[Event] = ()) -> None:
        if token.id in self._invitations:
            raise Conflict(f"An invitation '{token.id}' exists already.")
        self._invitations[token.id] = token
        self._append(events)

    # nodes and settings

    async def node_status(self) -> Mapping[str, NodeStatus]:
        return dict(self._statuses)

    async def set_node_status(self, name: str, status: NodeStatus, *, events: Sequence[Event] = ()) -> None:
        self._statuses[name] = status
        self._append(events)

    async def settings(self, names: Collection[str]) -> Mapping[str, str]:
        return {name: self._settings[name] for name in names if name in self._settings}

    async def put_setting(self, name: str, value: str) -> None:
        _writable(name, value)
        self._settings[name] = value
