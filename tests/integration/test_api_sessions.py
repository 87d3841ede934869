"""Logging in to a running daemon: the cookie, what a session may do, and how it ends (S8, S9)."""

from collections.abc import Callable, Iterator
from http.cookies import SimpleCookie

import httpx
import pytest
from daemon_under_test import DaemonUnderTest

PREFIX = "/v1/_ui"
CHOSEN = "a sentence of my own"


def browser(daemon: DaemonUnderTest) -> httpx.Client:
    return httpx.Client(
        base_url=daemon.console_url + PREFIX, headers={"Origin": daemon.console_url}, trust_env=False, timeout=30
    )


@pytest.fixture(scope="module")
def daemon(shared_daemon: DaemonUnderTest) -> DaemonUnderTest:
    """The shared daemon, whose `admin` has chosen a password."""
    shared_daemon.client.set_password("admin", {"password": CHOSEN})
    return shared_daemon


@pytest.fixture
def page(daemon: DaemonUnderTest) -> Iterator[httpx.Client]:
    """A browser that has logged in."""
    with browser(daemon) as client:
        answer = client.post("/login", json={"user": "admin", "password": CHOSEN})
        assert answer.status_code == 200, answer.text
        yield client


def test_from_the_one_time_password_to_a_session(new_daemon: Callable[..., DaemonUnderTest]) -> None:
    daemon = new_daemon()
    daemon.start()
    password_file = daemon.state_dir / "initial-password"
    password = password_file.read_text().strip()
    assert f"one-time password {password}" in daemon.output.read_text()
    with browser(daemon) as client:
        first = client.post("/login", json={"user": "admin", "password": password})
        assert first.status_code == 200
        assert first.json()["must_change_password"] is True
        for path in ("/overview", "/sessions", "/openapi.json", "/nothing"):
            refused = client.get(path)
            assert refused.status_code == 403
            assert refused.json()["error"]["code"] == "password_change_required", path
        assert client.get("/session").json()["must_change_password"] is True
        token = dict(client.cookies)
        kept = client.post("/password", json={"current": password, "new": password})
        assert kept.status_code == 422
        changed = client.post("/password", json={"current": password, "new": CHOSEN})
        assert changed.status_code == 200, changed.text
        assert changed.json()["must_change_password"] is False
        assert dict(client.cookies) != token, "a new token"
        assert client.get("/overview").status_code == 200
        assert not password_file.exists()
        again = client.post("/login", json={"user": "admin", "password": password})
        assert again.status_code == 401
        daemon.restart()
        assert client.get("/session").json()["user"] == "admin", "sessions outlive the daemon"
    assert password not in daemon.log.read_text()


def test_the_cookie_is_out_of_reach_for_scripts_and_other_sites(daemon: DaemonUnderTest) -> None:
    with browser(daemon) as client:
        answer = client.post("/login", json={"user": "admin", "password": CHOSEN})
        cookie = SimpleCookie(answer.headers["set-cookie"])
        (name,) = cookie
        assert name == f"modelgrid-{daemon.ui_port}"
        assert cookie[name]["httponly"] is True
        assert cookie[name]["samesite"] == "strict"
        assert cookie[name]["path"] == "/"
        assert cookie[name]["domain"] == ""
        assert len(cookie[name].value) >= 43
        behind_tls = client.post(
            "/login",
            json={"user": "admin", "password": CHOSEN},
            headers={"Origin": f"https://127.0.0.1:{daemon.ui_port}"},
        )
        secure = SimpleCookie(behind_tls.headers["set-cookie"])
        (name,) = secure
        assert name == f"__Host-modelgrid-{daemon.ui_port}"
        assert secure[name]["secure"] is True


def test_who_makes_the_call(daemon: DaemonUnderTest, page: httpx.Client) -> None:
    mine = page.get("/session").json()
    assert {key: mine[key] for key in ("user", "kind", "role", "must_change_password")} == {
        "user": "admin",
        "kind": "session",
        "role": "admin",
        "must_change_password": False,
    }
    assert mine["expires_at"] > 0
    local = page.get("/session", headers=daemon.headers).json()
    assert (local["user"], local["kind"], local["role"]) == ("local", "local", "admin"), "a token goes before a cookie"
    assert local["expires_at"] is None


def test_logging_out_ends_the_session_in_the_daemon(daemon: DaemonUnderTest, page: httpx.Client) -> None:
    cookie = "; ".join(f"{name}={value}" for name, value in page.cookies.items())
    assert page.post("/logout").status_code == 204
    assert dict(page.cookies) == {}
    assert page.get("/session", headers={"Cookie": cookie}).status_code == 401, "a stolen copy is of no use"
    assert page.post("/logout").status_code == 401
    local = page.post("/logout", headers=daemon.headers)
    assert (local.status_code, local.json()["error"]["code"]) == (403, "forbidden")


def test_sessions_are_listed_and_ended(daemon: DaemonUnderTest, page: httpx.Client) -> None:
    with browser(daemon) as other:
        other.post("/login", json={"user": "admin", "password": CHOSEN}, headers={"User-Agent": "other"})
        items = page.get("/sessions").json()["items"]
        assert sum(item["current"] for item in items) == 1
        (theirs,) = (item for item in items if item["agent"] == "other")
        assert theirs["source"] == "127.0.0.1"
        assert not any({"digest", "token"} & set(item) for item in items)
        assert page.delete(f"/sessions/{theirs['id']}").status_code == 204
        assert other.get("/session").status_code == 401
        assert page.delete(f"/sessions/{theirs['id']}").status_code == 404
    assert page.get("/session").status_code == 200


def test_a_password_change_ends_the_other_sessions(daemon: DaemonUnderTest, page: httpx.Client) -> None:
    with browser(daemon) as other:
        other.post("/login", json={"user": "admin", "password": CHOSEN})
        assert page.post("/password", json={"current": "not the one", "new": CHOSEN + " 2"}).status_code == 401
        assert other.get("/session").status_code == 200
        assert page.post("/password", json={"current": CHOSEN, "new": CHOSEN + " 2"}).status_code == 200
        assert other.get("/session").status_code == 401
        assert page.get("/session").status_code == 200
    daemon.client.set_password("admin", {"password": CHOSEN})
    assert page.get("/session").status_code == 401, "the operator's reset ends them, too"


def test_a_session_may_not_set_passwords_without_the_present_one(page: httpx.Client) -> None:
    refused = page.put("/users/admin/password", json={"password": "taken over by a thief"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"user": "admin"},
        {"user": "admin", "password": 5},
        {"user": "a" * 65, "password": CHOSEN},
        {"user": "admin", "password": "x" * 257},
        {"user": "admin", "password": CHOSEN, "remember": True},
    ],
)
def test_malformed_logins(daemon: DaemonUnderTest, body: dict[str, object]) -> None:
    with browser(daemon) as client:
        answer = client.post("/login", json=body)
        assert answer.status_code == 422
        assert CHOSEN not in answer.text
        assert "set-cookie" not in answer.headers
        as_form = client.post("/login", data={"user": "admin", "password": CHOSEN})
        assert as_form.status_code == 422, "a form of another site cannot log anybody in"


def test_guesses_are_answered_with_retry_after(new_daemon: Callable[..., DaemonUnderTest]) -> None:
    daemon = new_daemon()
    daemon.start()
    with browser(daemon) as client:
        answers = [client.post("/login", json={"user": "admin", "password": f"guess {n}"}) for n in range(8)]
        assert [answer.status_code for answer in answers[:5]] == [401] * 5
        last = answers[-1]
        assert last.status_code == 429
        assert last.json()["error"]["code"] == "too_many_requests"
        assert int(last.headers["retry-after"]) >= 1
        assert len({answer.text for answer in answers[:5]}) == 1
        unknown = client.post("/login", json={"user": "nobody", "password": "guess"})
        assert unknown.text == answers[0].text, "nothing tells which users there are"
