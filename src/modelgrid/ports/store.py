"""The state of the cluster. Every call that returned is durable; every call is one transaction.

Raises `StorageFull` when the disk is full (nothing was written), `StoreUnavailable` when the database does
not answer, `NotFound` and `Conflict` as said. All calls are coroutines that never block the loop.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from modelgrid.domain.access import AccessToken, ApiKey, Session, User
from modelgrid.domain.audit import AuditCheckpoint, AuditEntry, AuditExtent
from modelgrid.domain.cluster import JoinToken, Member
from modelgrid.domain.deployment import Deployment
from modelgrid.domain.event import Event, Subject
from modelgrid.domain.history import HistoryRecord
from modelgrid.domain.node import NodeStatus
from modelgrid.domain.target import Target


class Store(Protocol):
    async def close(self) -> None: ...

    # targets
    async def targets(self) -> tuple[Target, ...]: ...

    async def put_target(
        self, target: Target, *, expected_revision: int | None = None, events: Sequence[Event] = ()
    ) -> Target:
        """Create or replace by name; return it with its new revision (1 on creation).

        `expected_revision` guards the write: 0 demands that it does not exist, n that it is at n; otherwise
        `Conflict` with `details["revision"]`, and nothing is written."""
        ...

    async def delete_target(
        self, name: str, *, expected_revision: int | None = None, events: Sequence[Event] = ()
    ) -> None:
        """Raises `NotFound` or `Conflict`."""
        ...

    # deployments (those not yet removed)
    async def deployments(self) -> tuple[Deployment, ...]: ...

    async def save_deployment(self, deployment: Deployment, *, events: Sequence[Event] = ()) -> Deployment:
        """Create (revision 0) or update (at the revision it carries); return it with the next revision.

        `Conflict` when somebody else wrote it meanwhile."""
        ...

    async def archive_deployment(self, record: HistoryRecord, *, events: Sequence[Event] = ()) -> None:
        """Move a deployment to history in one step. Repeating it changes nothing."""
        ...

    # history
    async def put_history(self, record: HistoryRecord) -> None:
        """Keep a record of a deployment that stopped and still has its row. Replaces its earlier record."""
        ...

    async def history(self, *, limit: int = 100, before: tuple[float, str] | None = None) -> tuple[HistoryRecord, ...]:
        """Newest first, without `last_lines` (those come with `history_record`)."""
        ...

    async def history_record(self, deployment_id: str) -> HistoryRecord:
        """Raises `NotFound`."""
        ...

    async def forget_history(self, deployment_id: str) -> None:
        """Drop a record, so that a deployment of this id may be created again. Unknown ids are ignored."""
        ...

    async def prune_history(self, *, keep: int, events_before: float) -> None:
        """Drop all but the newest `keep` records, and events older than `events_before` of subjects that are
        neither a live deployment nor a kept record."""
        ...

    # events
    def on_events(self, listener: Callable[[tuple[Event, ...]], None]) -> None:
        """Call `listener` with the events of each transaction of this process once it is durable, with their sequence
        numbers; on the event loop, before the call that wrote them returns. It must not block or raise."""
        ...

    async def add_events(self, events: Sequence[Event]) -> tuple[Event, ...]:
        """Append; return them with their sequence numbers."""
        ...

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
        """Events with `seq > after`, and `seq < before` when that is given; with `newest_first` the latest ones, newest
        first."""
        ...

    # API keys
    async def api_keys(self) -> tuple[ApiKey, ...]: ...

    async def add_api_key(self, key: ApiKey, *, events: Sequence[Event] = ()) -> None:
        """Raises `Conflict` when the id exists."""
        ...

    async def revoke_api_key(self, key_id: str, at: float, *, events: Sequence[Event] = ()) -> ApiKey:
        """Revoking twice keeps the first time. Raises `NotFound`."""
        ...

    async def touch_api_keys(self, last_used: Mapping[str, float]) -> None:
        """Advance `last_used_at` (never backwards); unknown ids are ignored."""
        ...

    # access tokens
    async def access_tokens(self) -> tuple[AccessToken, ...]:
        """Oldest first."""
        ...

    async def add_access_token(self, token: AccessToken, *, events: Sequence[Event] = ()) -> None:
        """Raises `Conflict` when the id exists."""
        ...

    async def revoke_access_token(self, token_id: str, at: float, *, events: Sequence[Event] = ()) -> AccessToken:
        """Revoking twice keeps the first time. Raises `NotFound`."""
        ...

    async def touch_access_tokens(self, last_used: Mapping[str, float]) -> None:
        """Advance `last_used_at` (never backwards); unknown ids are ignored."""
        ...

    # audit
    async def append_audit(
        self, entries: Sequence[AuditEntry], seal: Callable[[AuditEntry, str], AuditEntry]
    ) -> tuple[AuditEntry, ...]:
        """Append, numbered without gaps; `seal` gets each entry with its number and the hash of the one before, and
        gives it its hash. It is called within the transaction. There is no call that changes entries, and none that
        removes others than the oldest."""
        ...

    async def audit_extent(self, since: float) -> AuditExtent | None:
        """Return what there is, and the first entry that was not made before `since`; `None` for an empty log."""
        ...

    async def prune_audit(self, through: int, checkpoint: Callable[[AuditEntry], AuditCheckpoint]) -> None:
        """Remove the entries up to number `through`, which is there, and keep what `checkpoint` makes of that one, in
        the same transaction."""
        ...

    async def audit_checkpoint(self) -> AuditCheckpoint | None:
        """Return what was kept when entries were removed last."""
        ...

    async def audit(
        self, *, before: int | None = None, limit: int = 100, who: str | None = None, action: str | None = None
    ) -> tuple[AuditEntry, ...]:
        """Newest first, with a number below `before`."""
        ...

    async def audit_from(self, after: int, limit: int) -> tuple[AuditEntry, ...]:
        """Oldest first, with a number above `after`."""
        ...

    # users
    async def users(self) -> tuple[User, ...]: ...

    async def put_user(self, user: User, *, ends_sessions: bool = False, events: Sequence[Event] = ()) -> None:
        """Create or replace by name; with `ends_sessions` remove all sessions of the user in the same step."""
        ...

    # sessions
    async def sessions(self) -> tuple[Session, ...]:
        """Oldest first, those whose time is over included."""
        ...

    async def put_session(self, session: Session) -> None: ...

    async def sessions_seen(self, last_seen: Mapping[str, float]) -> None:
        """Set `last_seen_at` by session id; unknown ids are ignored."""
        ...

    async def delete_sessions(self, ids: Collection[str]) -> None:
        """Unknown ids are ignored."""
        ...

    # members: nodes that have joined, and their invitations
    async def members(self) -> tuple[Member, ...]:
        """By name."""
        ...

    async def put_members(self, values: Sequence[Member], *, events: Sequence[Event] = ()) -> None:
        """Create or replace by name, all of them in one step."""
        ...

    async def join_member(self, member: Member, *, token_id: str, at: float, events: Sequence[Event] = ()) -> None:
        """Create or replace a member and use up its invitation in the same step. Raises `Conflict` when that is not
        known, was used already, or has expired at `at`; nothing is written then."""
        ...

    async def delete_member(self, name: str, *, events: Sequence[Event] = ()) -> None:
        """Raises `NotFound`."""
        ...

    async def join_tokens(self) -> tuple[JoinToken, ...]:
        """Oldest first; those that expired long ago are not kept."""
        ...

    async def add_join_token(self, token: JoinToken, *, events: Sequence[Event] = ()) -> None:
        """Raises `Conflict` when the id exists."""
        ...

    # nodes and settings
    async def node_status(self) -> Mapping[str, NodeStatus]:
        """Statuses set by an operator; a node that is absent is `active`."""
        ...

    async def set_node_status(self, name: str, status: NodeStatus, *, events: Sequence[Event] = ()) -> None: ...

    async def settings(self, names: Collection[str]) -> Mapping[str, str]:
        """Small values the daemon keeps for itself, JSON text by name; absent names are left out."""
        ...

    async def put_setting(self, name: str, value: str) -> None: ...
