"""Tokens for scripts: shown once, two roles, revoked at once."""

import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from daemon_under_test import DaemonUnderTest, wait_until


@pytest.fixture(scope="module")
def http(shared_daemon: DaemonUnderTest) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{shared_daemon.console_url}/v1/_ui", trust_env=False, timeout=30) as client:
        yield client


def bearer(token: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {token['secret']}"}


def test_a_secret_is_shown_once_and_kept_as_a_digest(http: httpx.Client, shared_daemon: DaemonUnderTest) -> None:
    made = shared_daemon.client.generate_token({"label": "ci"})
    assert re.fullmatch(r"mgt-[0-9A-Za-z]{38}", made["secret"])
    assert made["secret"].startswith(made["prefix"])
    assert (made["role"], made["status"], made["created_by"]) == ("viewer", "active", "local")
    listed = http.get("/tokens", headers=shared_daemon.headers)
    assert made["id"] in listed.text
    assert made["secret"] not in listed.text
    stored = b"".join(file.read_bytes() for file in shared_daemon.state_dir.glob("state.db*"))
    assert made["secret"].encode() not in stored
    assert made["id"].encode() in stored


def test_a_viewer_reads_and_changes_nothing(http: httpx.Client, shared_daemon: DaemonUnderTest) -> None:
    viewer = bearer(shared_daemon.client.generate_token({"label": "viewer"}))
    mine = http.get("/session", headers=viewer).json()
    assert (mine["user"], mine["kind"], mine["role"]) == ("token viewer", "token", "viewer")
    assert http.get("/overview", headers=viewer).status_code == 200
    for method, path in (("POST", "/apikeys"), ("DELETE", "/targets/x"), ("GET", "/tokens"), ("GET", "/sessions")):
        refused = http.request(method, path, headers=viewer)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden"), (method, path)
    assert shared_daemon.client.set_password("admin", {"password": "a sentence of my own"}) is None
    admin = bearer(shared_daemon.client.generate_token({"label": "admin", "role": "admin"}))
    assert http.post("/apikeys", headers=admin, json={"label": "made by a token"}).status_code == 201
    password = http.put("/users/admin/password", headers=admin, json={"password": "another sentence"})
    assert password.status_code == 403, "that is the local operator's alone"


def test_a_revoked_or_expired_token_is_refused_at_once(http: httpx.Client, shared_daemon: DaemonUnderTest) -> None:
    made = shared_daemon.client.generate_token({"label": "short", "expires_at": time.time() + 0.5})
    wait_until("it expires", lambda: http.get("/session", headers=bearer(made)).status_code == 401)
    other = shared_daemon.client.generate_token({"label": "other"})
    assert http.get("/session", headers=bearer(other)).status_code == 200
    assert shared_daemon.client.revoke_token("other")["status"] == "revoked"
    assert http.get("/session", headers=bearer(other)).status_code == 401
    assert shared_daemon.client.revoke_token(other["id"])["status"] == "revoked", "repeating changes nothing"
    states = {item["label"]: item["status"] for item in shared_daemon.client.list_tokens()["items"]}
    assert (states["short"], states["other"]) == ("expired", "revoked")
    gone = http.delete("/tokens/nobody", headers=shared_daemon.headers)
    assert gone.status_code == 404


def test_when_a_token_was_last_used_is_known_at_once(http: httpx.Client, shared_daemon: DaemonUnderTest) -> None:
    made = shared_daemon.client.generate_token({"label": "used"})
    assert made["last_used_at"] is None
    before = time.time()
    assert http.get("/session", headers=bearer(made)).status_code == 200
    (item,) = (item for item in shared_daemon.client.list_tokens()["items"] if item["label"] == "used")
    assert before <= item["last_used_at"] <= time.time()


@pytest.mark.parametrize(
    "body",
    [
        {"label": ""},
        {"label": "x" * 101},
        {"label": "two\nlines"},
        {"label": "x", "role": "root"},
        {"label": "x", "expires_at": "tomorrow"},
        {"label": "x", "scope": "all"},
    ],
)
def test_malformed_wishes(http: httpx.Client, shared_daemon: DaemonUnderTest, body: dict[str, Any]) -> None:
    answer = http.post("/tokens", json=body, headers=shared_daemon.headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_input")
