"""Who is taken into the cluster, and how long which credential is worth something."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from modelgrid.adapters.secrets_file import FileSecrets
from modelgrid.adapters.store_sql import SqlStore, open_store
from modelgrid.domain.cluster import JoinRequest
from modelgrid.domain.errors import Conflict, InvitationRefused, NotFound, Unauthenticated
from modelgrid.domain.ids import NodeName
from modelgrid.ports.clock import Clock
from modelgrid.services.cluster.members import INVITATION_SECONDS, REPEAT_SECONDS, ROTATE_SECONDS, Joined, Members

A = NodeName("worker-a")
START = 1_760_000_000.0


class SetClock(Clock):
    def __init__(self) -> None:
        self.at = START

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


class Rig:
    def __init__(self, store: SqlStore, folder: Path) -> None:
        self.clock = SetClock()
        self.store = store
        self._folder = folder
        self.members = self.new()

    def new(self) -> Members:
        """Return members as a control plane that has just started has them, before it read any."""
        secrets = FileSecrets(self._folder)
        return Members(
            self.store, self.clock, secrets, local=NodeName("control-a"), fingerprint="f" * 64, version="1.4.0"
        )

    def request(self, **changes: Any) -> JoinRequest:
        values: dict[str, Any] = {
            "name": A,
            "version": "1.4.0",
            "at": self.clock.now(),
            "peer_url": "https://10.0.0.2:8083",
            "cluster_url": "https://10.0.0.2:8082",
            "certificate": "certificate of a",
        }
        return JoinRequest(**{**values, **changes})

    async def join(self, **changes: Any) -> Joined:
        invited = await self.members.invite(by="anna")
        return await self.members.join(invited.invitation.secret, self.request(**changes))

    async def refused(self, credential: str) -> bool:
        try:
            await self.members.authenticate(credential)
        except Unauthenticated:
            return True
        return False


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    store = await open_store(f"sqlite:///{tmp_path}/state.db")
    try:
        yield Rig(store, tmp_path)
    finally:
        await store.close()


async def test_an_invitation_that_is_wrong_expired_or_used_lets_nobody_in(rig: Rig) -> None:
    invited = await rig.members.invite(by="anna")
    secret = invited.invitation.secret
    for wrong in ("", "mgj-", secret[:-1], secret + "x", str(invited.invitation)):
        with pytest.raises(InvitationRefused) as unknown:
            await rig.members.join(wrong, rig.request())
        assert unknown.value.message == "The invitation is not known here."
        assert unknown.value.fix.startswith("Copy all of it, and use it at the control plane that made it")
    rig.clock.at += INVITATION_SECONDS + 60
    with pytest.raises(InvitationRefused) as late:
        await rig.members.join(secret, rig.request())
    assert late.value.message == "The invitation expired 1m ago."
    assert late.value.fix.startswith("Each is good for 15m: make another with")
    assert "cluster invite" in late.value.fix
    assert rig.members.all() == ()

    used = (await rig.members.invite(by="anna")).invitation.secret
    await rig.members.join(used, rig.request())
    for members in (rig.members, rig.new()):  # also by a control plane that was started again
        await members.load()
        with pytest.raises(InvitationRefused) as again:
            await members.join(used, rig.request(name="worker-b", certificate="certificate of b"))
        assert again.value.message == "The invitation was used already."
        assert again.value.fix.startswith("Each lets one node in: make another with")
    assert [member.name for member in rig.members.all()] == [A]


async def test_an_invitation_that_was_refused_for_another_reason_is_still_good(rig: Rig) -> None:
    secret = (await rig.members.invite(by="anna")).invitation.secret
    with pytest.raises(Conflict):
        await rig.members.join(secret, rig.request(at=rig.clock.now() + 3600))
    assert (await rig.members.join(secret, rig.request())).member.name == A


@pytest.mark.parametrize(
    ("changes", "said", "fix"),
    [
        ({"certificate": "of somebody else"}, "Another node called 'worker-a'", "nodeName"),
        ({"name": "control-a"}, "control plane itself is called 'control-a'", "nodeName"),
        ({"version": "2.0.0"}, "different major versions do not work together", ""),
        ({"version": "1.6.0"}, "2 minor versions apart", ""),
        ({"version": ""}, "expected a release", ""),
        ({"at": START + 3600}, "1h ahead of the control plane's", "timedatectl"),
        ({"at": START - 3600}, "1h behind the control plane's", "timedatectl"),
    ],
)
async def test_a_node_that_does_not_fit_is_told_why(rig: Rig, changes: dict[str, Any], said: str, fix: str) -> None:
    first = await rig.join()
    with pytest.raises(Conflict) as refused:
        await rig.join(**changes)
    assert said in refused.value.message
    assert fix in refused.value.fix
    assert await rig.members.authenticate(first.credential) == A, "who belongs to it is not disturbed"


async def test_the_same_machine_may_join_again_and_its_old_credential_ends(rig: Rig) -> None:
    first, second = await rig.join(), await rig.join()
    assert await rig.refused(first.credential)
    assert await rig.members.authenticate(second.credential) == A


async def test_the_old_credential_holds_until_the_first_use_of_the_new_one(rig: Rig) -> None:
    old = (await rig.join()).credential
    rig.clock.at += ROTATE_SECONDS - 1
    assert await rig.members.renewed(A) == ""
    rig.clock.at += 1
    new = await rig.members.renewed(A)
    assert new.startswith("mgn-")
    assert await rig.members.renewed(A) == "", "one at a time"
    assert await rig.members.authenticate(old) == A, "the answer with the new one may have been lost"
    assert await rig.members.authenticate(new) == A
    assert await rig.refused(old)
    restarted = rig.new()
    await restarted.load()
    rig.members = restarted
    assert await rig.refused(old)
    assert await restarted.authenticate(new) == A
    assert await restarted.renewed(A) == "", "its age counts from its first use"


async def test_a_credential_that_was_lost_on_the_way_is_made_anew(rig: Rig) -> None:
    old = (await rig.join()).credential
    rig.clock.at += ROTATE_SECONDS
    lost = await rig.members.renewed(A)
    rig.clock.at += REPEAT_SECONDS
    again = await rig.members.renewed(A)
    assert again not in ("", lost)
    assert await rig.refused(lost)
    assert await rig.members.authenticate(old) == A
    assert await rig.members.authenticate(again) == A
    assert await rig.refused(old)


async def test_a_node_that_was_removed_is_refused_at_once(rig: Rig) -> None:
    old = (await rig.join()).credential
    rig.clock.at += ROTATE_SECONDS
    new = await rig.members.renewed(A)
    await rig.members.remove(A, by="anna", reason="removed from the cluster")
    assert await rig.refused(old)
    assert await rig.refused(new)
    with pytest.raises(NotFound):
        await rig.members.remove(A, by="anna", reason="again")
    with pytest.raises(Unauthenticated):
        await rig.members.renewed(A)
    restarted = rig.new()
    await restarted.load()
    assert restarted.all() == ()


async def test_only_digests_are_kept(rig: Rig, tmp_path: Path) -> None:
    invited = await rig.members.invite(by="anna")
    joined = await rig.members.join(invited.invitation.secret, rig.request())
    rig.clock.at += ROTATE_SECONDS
    new = await rig.members.renewed(A)
    kept = _stored(tmp_path)
    assert joined.member.name.encode() in kept
    for secret in (invited.invitation.secret, joined.credential, new):
        assert secret.encode() not in kept


def _stored(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir() if path.is_file())
