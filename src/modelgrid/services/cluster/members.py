"""Who belongs to the cluster: invitations, joins, credentials and their rotation. The one writer of members."""

from dataclasses import dataclass, field, replace

import structlog

from modelgrid.decide.joining import JoinRefusal, good_invitation, refusal_of
from modelgrid.domain.cluster import IntroducedCall, Introduction, JoinRequest, JoinToken, Member
from modelgrid.domain.errors import Conflict, InvitationRefused, NotFound, Unauthenticated
from modelgrid.domain.event import Subject
from modelgrid.domain.ids import NodeName
from modelgrid.domain.introduction import NONCE_BYTES, control_proof, node_proof, same
from modelgrid.domain.join_format import JOIN_PREFIX, NODE_PREFIX, Invitation, digest_of
from modelgrid.domain.key_format import SECRET_BITS, base62, make_secret
from modelgrid.domain.node import Node
from modelgrid.ports.clock import Clock
from modelgrid.ports.secrets import Secrets
from modelgrid.ports.store import Store
from modelgrid.services.events import EventMaker, Notifier

INVITATION_SECONDS = 15 * 60.0
ROTATE_SECONDS = 24 * 3600.0
"""Age at which a node is given a new credential."""
NONCE_SECONDS = 60.0
MOST_NONCES = 1_000
"""Of nodes that are about to join by the shared secret. More only push out the oldest."""
REPEAT_SECONDS = 60.0
"""A credential that was handed out and not used is handed out anew after so long: the answer may have been lost."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class NewInvitation:
    token: JoinToken
    invitation: Invitation


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    member: Member
    credential: str = field(repr=False)


class Members:
    """Keeps all members in memory beside the store; `load` comes first. `local` names the control plane's own node,
    `version` its ModelGrid."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        secrets: Secrets,
        *,
        local: NodeName,
        fingerprint: str,
        version: str,
        shared_key: bytes | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._secrets = secrets
        self._local = local
        self._fingerprint = fingerprint
        self._version = version
        self._event = EventMaker(clock, Subject.NODE)
        self._members: dict[NodeName, Member] = {}
        self._names: dict[str, NodeName] = {}
        """By the digests of their credentials."""
        self._tokens: dict[str, JoinToken] = {}
        self._key = shared_key
        self._nonces: dict[str, float] = {}
        """What nodes that want to join by the shared secret have to answer with, and until when."""
        self.changed = Notifier()

    async def load(self) -> None:
        for member in await self._store.members():
            self._put(member)
        self._tokens = {token.digest: token for token in await self._store.join_tokens()}

    def all(self) -> tuple[Member, ...]:
        return tuple(self._members[name] for name in sorted(self._members))

    def find(self, name: str) -> Member | None:
        return self._members.get(NodeName(name))

    def joined_at(self, name: NodeName) -> float:
        """Return when a node joined; 0.0 when it is no member."""
        member = self._members.get(name)
        return member.joined_at if member is not None else 0.0

    async def invite(self, *, by: str) -> NewInvitation:
        """Make an invitation that is good for one node and `INVITATION_SECONDS`. Its secret leaves this method once."""
        secret = make_secret(self._secrets.integer(SECRET_BITS), JOIN_PREFIX)
        now = self._clock.now()
        token = JoinToken(
            id=f"join-{base62(self._secrets.integer(60), 10)}",
            digest=digest_of(secret),
            created_at=now,
            created_by=by,
            expires_at=now + INVITATION_SECONDS,
        )
        said = "a node was invited; the invitation is good once, for 15 minutes"
        await self._store.add_join_token(token, events=[self._event(self._local, "node_invited", said, by=by)])
        self._tokens[token.digest] = token
        return NewInvitation(token=token, invitation=Invitation(secret=secret, fingerprint=self._fingerprint))

    async def join(self, secret: str, request: JoinRequest) -> Joined:
        """Take a node in and give it a credential of its own.

        Raises `InvitationRefused` for a secret that is unknown, used or expired, `Conflict` for a node that cannot be
        taken in as it is (its name, clock or version), with what would help."""
        now = self._clock.now()
        token = good_invitation(self._tokens.get(digest_of(secret)), now)
        if isinstance(token, JoinRefusal):
            log.warning("a node was refused", node=request.name, reason=token.reason)
            raise InvitationRefused(token.reason, fix=token.fix)
        joined = await self._taken_in(request, f"joined by an invitation of {token.created_by}", token)
        self._tokens[token.digest] = replace(token, used_at=now, used_by=request.name)
        return joined

    def introduce(self, nonce: str) -> Introduction:
        """Prove to whoever asks with `nonce` that this control plane knows the shared secret.

        Raises `InvitationRefused` where there is none."""
        key, now = self._shared_key(), self._clock.monotonic()
        self._nonces = {known: until for known, until in self._nonces.items() if until > now}
        if len(self._nonces) >= MOST_NONCES:
            self._nonces.pop(next(iter(self._nonces)))
        mine = f"{self._secrets.integer(8 * NONCE_BYTES):0{2 * NONCE_BYTES}x}"
        self._nonces[mine] = now + NONCE_SECONDS
        return Introduction(proof=control_proof(key, nonce, self._fingerprint), nonce=mine)

    async def join_introduced(self, call: IntroducedCall) -> Joined:
        """Take in a node that knows the shared secret. Raises as `join` does."""
        key, request = self._shared_key(), call.request
        until = self._nonces.pop(call.nonce, 0.0)
        expected = node_proof(key, call.nonce, request.name, request.certificate)
        if until <= self._clock.monotonic() or not same(expected, call.proof):
            log.warning("a node was refused", node=request.name, reason="it does not know the shared secret")
            raise InvitationRefused(
                "The node does not know this control plane's shared secret, or took too long.",
                fix="Set the same `cluster.sharedSecret` on both, or use an invitation.",
            )
        return await self._taken_in(request, "joined by the shared secret", None)

    def _shared_key(self) -> bytes:
        if self._key is None:
            raise InvitationRefused(
                "This control plane has no shared secret.",
                fix="Use an invitation, or set `cluster.sharedSecret` there.",
            )
        return self._key

    async def _taken_in(self, request: JoinRequest, said: str, token: JoinToken | None) -> Joined:
        now = self._clock.now()
        known = self._members.get(request.name)
        refusal = refusal_of(request, known, local=self._local, version=self._version, now=now)
        if refusal is not None:
            log.warning("a node was refused", node=request.name, reason=refusal.reason)
            raise Conflict(refusal.reason, fix=refusal.fix, node=request.name)
        credential = self._credential()
        member = Member(
            name=request.name,
            joined_at=now,
            peer_url=request.peer_url,
            cluster_url=request.cluster_url,
            certificate=request.certificate,
            digest=digest_of(credential),
            rotated_at=now,
            node=known.node if known else None,
        )
        event = self._event(member.name, "node_joined", said)
        if token is None:
            await self._store.put_members([member], events=[event])
        else:
            try:
                await self._store.join_member(member, token_id=token.id, at=now, events=[event])
            except Conflict as error:
                raise InvitationRefused(error.message, fix="Make a new invitation; each is good once.") from error
        self._keep(member)
        log.info("node joined", node=member.name, peer=member.peer_url)
        return Joined(member=member, credential=credential)

    async def authenticate(self, credential: str) -> NodeName:
        """Return the node that `credential` belongs to. Its next one holds from its first use on, and only it then.

        Raises `Unauthenticated`."""
        digest = digest_of(credential)
        name = self._names.get(digest)
        if name is None:
            raise stranger()
        member = self._members[name]
        if digest == member.next_digest:
            await self._save(replace(member, digest=digest, next_digest="", rotated_at=self._clock.now()))
        return name

    async def renewed(self, name: NodeName) -> str:
        """Return a new credential when the node's is old enough for that, an empty text otherwise.

        Raises `Unauthenticated` for a node that is no member any more."""
        member, now = self._members.get(name), self._clock.now()
        if member is None:
            raise stranger()
        age = now - member.rotated_at
        if age < (REPEAT_SECONDS if member.next_digest else ROTATE_SECONDS):
            return ""
        credential = self._credential()
        await self._save(replace(member, next_digest=digest_of(credential), rotated_at=now))
        return credential

    async def remember(self, nodes: list[Node]) -> None:
        """Keep what nodes said last, for a start of the control plane in which they have not spoken yet."""
        kept = [replace(self._members[node.name], node=node) for node in nodes if node.name in self._members]
        await self._store.put_members(kept)
        for member in kept:
            self._put(replace(self._members[member.name], node=member.node))

    async def remove(self, name: NodeName, *, by: str, reason: str) -> Member:
        """Forget a node: its credential is worth nothing from now on. Raises `NotFound`."""
        member = self._members.get(name)
        if member is None:
            raise NotFound(f"There is no node {name!r} in the cluster.", fix="`modelgrid cluster nodes` lists them.")
        await self._store.delete_member(name, events=[self._event(name, "node_left", reason, by=by)])
        self._drop(member.name)
        self.changed.notify()
        return member

    def _credential(self) -> str:
        return make_secret(self._secrets.integer(SECRET_BITS), NODE_PREFIX)

    async def _save(self, member: Member) -> None:
        await self._store.put_members([member])
        self._keep(member)

    def _keep(self, member: Member) -> None:
        self._put(member)
        self.changed.notify()

    def _put(self, member: Member) -> None:
        self._drop(member.name)
        self._members[member.name] = member
        self._names |= {digest: member.name for digest in (member.digest, member.next_digest) if digest}

    def _drop(self, name: NodeName) -> None:
        before = self._members.pop(name, None)
        if before is not None:
            for digest in (before.digest, before.next_digest):
                self._names.pop(digest, None)


def stranger() -> Unauthenticated:
    """Return what somebody hears whose credential is of no member."""
    return Unauthenticated(
        "This node does not belong to the cluster (any more).",
        fix="Join it again with an invitation of this control plane.",
    )
