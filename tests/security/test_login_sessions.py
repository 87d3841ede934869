"""S7 to S9 on the services: one-time password, sessions and their limits, what a stolen database holds."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from set_clock import SetClock

from modelgrid.adapters.secrets_file import FileSecrets
from modelgrid.adapters.store_sql import SqlStore, open_store
from modelgrid.decide.sessions import IDLE_SECONDS, LONGEST_SECONDS
from modelgrid.domain.errors import InvalidInput, NotFound, TooManyRequests, Unauthenticated
from modelgrid.services import passwords as hashing
from modelgrid.services.accounts import ONE_TIME_SECONDS, AccountService
from modelgrid.services.login_throttle import LoginThrottle
from modelgrid.services.passwords import Passwords
from modelgrid.services.sessions import MOST_PER_USER, SEEN_SECONDS, Opened, SessionService

CHOSEN = "a sentence of my own"
HERE, ELSEWHERE = "192.0.2.1", "192.0.2.2"


@dataclass
class House:
    """The services over a real store, with a clock that the test sets."""

    clock: SetClock
    store: SqlStore
    accounts: AccountService
    sessions: SessionService
    one_time: str
    folder: Path

    async def log_in(self, password: str = CHOSEN, source: str = HERE) -> Opened:
        return await self.sessions.login("admin", password, source=source, agent="tests")

    async def moved_in(self) -> Opened:
        first = await self.log_in(self.one_time)
        return await self.sessions.change_password(first.session, self.one_time, CHOSEN, source=HERE)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    clock, secrets, passwords = SetClock(), FileSecrets(tmp_path), Passwords()
    store = await open_store(f"sqlite:///{tmp_path}/state.db")
    accounts = AccountService(store, clock, secrets, passwords, tmp_path / "initial-password")
    sessions = SessionService(store, clock, secrets, accounts, LoginThrottle(clock))
    one_time = await accounts.bootstrap()
    assert one_time is not None
    yield House(clock, store, accounts, sessions, one_time, tmp_path)
    passwords.close()
    await store.close()


async def test_the_one_time_password_is_random_private_and_made_once(house: House) -> None:
    file = house.folder / "initial-password"
    assert file.read_text() == house.one_time + "\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(house.one_time) >= 22, "128 bits in base64url"
    assert await house.accounts.bootstrap() is None


async def test_the_one_time_password_only_opens_the_way_to_another(house: House) -> None:
    first = await house.log_in(house.one_time)
    assert first.session.must_change_password
    with pytest.raises(InvalidInput, match="present one"):
        await house.sessions.change_password(first.session, house.one_time, house.one_time, source=HERE)
    with pytest.raises(InvalidInput, match="12 to 256"):
        await house.sessions.change_password(first.session, house.one_time, "short", source=HERE)
    second = await house.sessions.change_password(first.session, house.one_time, CHOSEN, source=HERE)
    assert not second.session.must_change_password
    assert not (house.folder / "initial-password").exists()
    with pytest.raises(Unauthenticated):
        await house.log_in(house.one_time)


async def test_the_one_time_password_changes_a_password_once(house: House) -> None:
    logins = [await house.log_in(house.one_time) for _ in range(2)]
    changes = (
        house.sessions.change_password(login.session, house.one_time, f"{CHOSEN} {n}", source=HERE)
        for n, login in enumerate(logins)
    )
    results = await asyncio.gather(*changes, return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Opened", "Unauthenticated"]


async def test_the_one_time_password_ends_after_a_day_and_its_sessions_with_it(house: House) -> None:
    house.clock.at += ONE_TIME_SECONDS - 60
    late = await house.log_in(house.one_time)
    assert house.sessions.find(late.token) is not None
    house.clock.at += 60
    assert house.sessions.find(late.token) is None
    with pytest.raises(Unauthenticated, match="a day, which is over"):
        await house.log_in(house.one_time)
    await house.accounts.set_password("admin", CHOSEN, by="local")
    assert not (await house.log_in()).session.must_change_password


async def test_each_login_has_a_new_token_and_none_is_stored(house: House) -> None:
    await house.moved_in()
    opened = [await house.log_in() for _ in range(3)]
    assert len({login.token for login in opened}) == 3
    assert all(len(login.token) >= 43 for login in opened), "256 bits in base64url"
    stored = b"".join(file.read_bytes() for file in house.folder.glob("state.db*"))
    assert not any(login.token.encode() in stored for login in opened)
    assert all(login.session.digest.encode() in stored for login in opened), "the search finds what is there"


async def test_an_idle_session_ends(house: House) -> None:
    opened = await house.moved_in()
    house.clock.at += IDLE_SECONDS
    assert house.sessions.find(opened.token) is not None
    with house.sessions.use(opened.session):
        house.clock.at += 2 * IDLE_SECONDS
        assert house.sessions.find(opened.token) is not None, "a stream is open"
    house.clock.at += IDLE_SECONDS + 1
    assert house.sessions.find(opened.token) is None
    assert house.sessions.all() == ()


async def test_no_session_outlives_the_longest_time(house: House) -> None:
    opened = await house.moved_in()
    with house.sessions.use(opened.session) as ended:
        house.clock.at += LONGEST_SECONDS
        assert house.sessions.find(opened.token) is None
        await house.sessions.tidy()
        assert ended.is_set(), "its stream has to close"
    assert await house.store.sessions() == ()


async def test_a_password_change_ends_every_other_session(house: House) -> None:
    own, other = await house.moved_in(), await house.log_in()
    with house.sessions.use(other.session) as ended:
        changed = await house.sessions.change_password(own.session, CHOSEN, CHOSEN + " 2", source=HERE)
        assert ended.is_set()
    assert [house.sessions.find(login.token) for login in (own, other)] == [None, None]
    assert house.sessions.find(changed.token) == changed.session
    await house.accounts.set_password("admin", CHOSEN, by="local")
    assert house.sessions.find(changed.token) is None


async def test_a_login_during_a_password_change_does_not_survive_it(house: House) -> None:
    await house.moved_in()
    logins = [house.log_in() for _ in range(4)]
    results = await asyncio.gather(
        *logins, house.accounts.set_password("admin", CHOSEN + " 2", by="local"), return_exceptions=True
    )
    opened = [result for result in results if isinstance(result, Opened)]
    assert all(house.sessions.find(login.token) is None for login in opened)
    assert await house.store.sessions() == ()


async def test_ending_a_session_is_for_good(house: House) -> None:
    opened = await house.moved_in()
    with house.sessions.use(opened.session) as ended:
        await house.sessions.end(opened.session.id)
        assert ended.is_set()
    assert house.sessions.find(opened.token) is None
    with pytest.raises(NotFound):
        await house.sessions.end(opened.session.id)
    assert await house.store.sessions() == ()


async def test_sessions_outlive_a_restart_with_the_time_they_were_seen(house: House) -> None:
    opened = await house.moved_in()
    house.clock.at += SEEN_SECONDS
    with house.sessions.use(opened.session):
        await house.sessions.tidy()
    again = SessionService(
        house.store, house.clock, FileSecrets(house.folder), house.accounts, LoginThrottle(house.clock)
    )
    await again.load()
    house.clock.at += IDLE_SECONDS
    assert again.find(opened.token) is not None
    house.clock.at += 1
    assert again.find(opened.token) is None


async def test_sessions_of_one_user_are_bounded(house: House) -> None:
    first = await house.moved_in()
    for _ in range(MOST_PER_USER):
        await house.log_in()
    assert house.sessions.find(first.token) is None
    assert len(house.sessions.all()) == len(await house.store.sessions()) == MOST_PER_USER


async def test_guessing_is_slowed_down_and_the_owner_gets_in_from_elsewhere(house: House) -> None:
    await house.moved_in()
    results = await asyncio.gather(*(house.log_in(f"guess {n}") for n in range(1000)), return_exceptions=True)
    kinds = [type(result) for result in results]
    assert kinds.count(Unauthenticated) == 5
    assert kinds.count(TooManyRequests) == 995
    with pytest.raises(TooManyRequests):
        await house.log_in()
    assert (await house.log_in(source=ELSEWHERE)).session.source == ELSEWHERE


async def test_guessing_the_present_password_in_a_stolen_session_is_slowed_down(house: House) -> None:
    opened = await house.moved_in()
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await house.sessions.change_password(opened.session, "a wrong password", CHOSEN + " 2", source=ELSEWHERE)
    with pytest.raises(TooManyRequests):
        await house.sessions.change_password(opened.session, CHOSEN, CHOSEN + " 2", source=ELSEWHERE)


async def test_an_unknown_user_takes_as_long_as_a_known_one(house: House) -> None:
    """The difference of medians is printed; the bound is wide for machines that do much else."""
    taken: dict[str, list[float]] = {"admin": [], "nobody": []}
    for n in range(40):
        for name, times in taken.items():
            begun = time.perf_counter()
            with pytest.raises(Unauthenticated):
                await house.accounts.check(name, f"guess {n}")
            times.append(time.perf_counter() - begun)
    known, unknown = (statistics.median(times) for times in taken.values())
    print(f"known {known * 1000:.1f} ms, unknown {unknown * 1000:.1f} ms, difference {abs(1 - unknown / known):.1%}")
    assert 0.5 < unknown / known < 2


async def test_hashing_takes_turns_and_says_when_it_has_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "MOST_WAITING", 3)
    passwords = Passwords()
    results = await asyncio.gather(*(passwords.matches(None, "x") for _ in range(5)), return_exceptions=True)
    assert results[:3] == [False] * 3, "nobody has no password, not even the one their stand-in was made of"
    assert [type(result) for result in results[3:]] == [TooManyRequests] * 2
    digest = await passwords.hash("x")
    assert digest.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert await passwords.matches(digest, "x")
    passwords.close()
