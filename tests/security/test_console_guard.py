"""S2, S10, S11, S26 on the console's port of a running daemon."""

import json
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from daemon_under_test import DaemonUnderTest, daemon_in

PREFIX = "/v1/_ui"
CHOSEN = "a sentence of my own"
ALWAYS = {
    "content-security-policy",
    "x-content-type-options",
    "referrer-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonUnderTest]:
    config = {"nodeName": "gpu-1", "api": {"uiHosts": ["console.example.org"]}}
    with daemon_in(tmp_path_factory.mktemp("daemon"), config) as running:
        running.start()
        running.client.set_password("admin", {"password": CHOSEN})
        yield running
        assert running.stop() == 0, running.words()


@pytest.fixture
def page(daemon: DaemonUnderTest) -> Iterator[httpx.Client]:
    """A browser that has logged in."""
    with httpx.Client(base_url=daemon.console_url + PREFIX, trust_env=False, timeout=30) as client:
        assert client.post("/login", json={"user": "admin", "password": CHOSEN}).status_code == 200
        yield client


def said_raw(daemon: DaemonUnderTest, request: bytes) -> bytes:
    """Send bytes as they are; return everything that comes back until the daemon closes."""
    with socket.create_connection(("127.0.0.1", daemon.ui_port), timeout=20) as line:
        line.sendall(request)
        answer = line.recv(65536)  # who hangs up before may get no answer: it is written after the audit log's entry
        line.shutdown(socket.SHUT_WR)
        while part := line.recv(65536):
            answer += part
    return answer


# --- S10


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:3000"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:3000"},
        {},
    ],
    ids=["cross", "no-origin", "other-port", "old-browser", "null-origin", "old-browser-other-port", "neither"],
)
def test_a_call_made_by_another_site_changes_nothing(
    daemon: DaemonUnderTest, page: httpx.Client, headers: dict[str, str]
) -> None:
    before = len(daemon.client.list_api_keys()["items"])
    for content_type in ("application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = page.post("/apikeys", content='{"label": "x"}', headers={**headers, "Content-Type": content_type})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "cross_site"), answer.text
    assert page.post("/logout", headers=headers).status_code == 403
    assert len(daemon.client.list_api_keys()["items"]) == before
    assert page.get("/session").status_code == 200


def test_a_login_forced_by_another_site_is_refused(daemon: DaemonUnderTest) -> None:
    body = {"user": "admin", "password": CHOSEN}
    headers = {"Sec-Fetch-Site": "cross-site"}
    answer = httpx.post(f"{daemon.console_url}{PREFIX}/login", json=body, headers=headers, trust_env=False)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_the_consoles_own_pages_and_scripts_get_through(daemon: DaemonUnderTest, page: httpx.Client) -> None:
    for headers in ({"Sec-Fetch-Site": "same-origin"}, {"Origin": daemon.console_url}):
        assert page.post("/apikeys", json={"label": "from a page"}, headers=headers).status_code == 201
    script = httpx.post(
        f"{daemon.console_url}{PREFIX}/apikeys",
        json={"label": "from a script"},
        headers={**daemon.headers, "Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site"},
        trust_env=False,
    )
    assert script.status_code == 201, "another site cannot send a token it does not know"


# --- S2


def test_names_that_are_not_ours_are_refused(daemon: DaemonUnderTest, page: httpx.Client) -> None:
    for name in ("gpu-1", "GPU-1:8081", "console.example.org", "localhost", "10.9.8.7:8081", "[::1]:8081"):
        assert page.get("/session", headers={"Host": name}).status_code == 200, name
    for name in ("evil.example", "gpu-1.evil.example", "127.0.0.1.nip.io"):
        for path in ("/session", "/health", "/login", "/nothing"):
            answer = page.get(path, headers={"Host": name})
            assert (answer.status_code, answer.json()["error"]["code"]) == (421, "misdirected"), (name, path)
            assert "api.uiHosts" in answer.json()["error"]["fix"]
        assert page.get("/session", headers={"Host": name, **daemon.headers}).status_code == 421
    print("S2: 3 names that are not ours, 5 paths each: 421")


def test_a_name_may_be_added_while_the_daemon_runs(daemon: DaemonUnderTest, page: httpx.Client) -> None:
    late = {"Host": "late.example.org"}
    assert page.get("/session", headers=late).status_code == 421
    patch = {"api": {"uiHosts": ["console.example.org", "late.example.org"]}}
    assert page.patch("/config", json=patch, headers={"Origin": daemon.console_url}).status_code == 200
    assert page.get("/session", headers=late).status_code == 200


@pytest.mark.parametrize(
    "hosts", [b"", b"Host: a\r\nHost: b\r\n", b"Host: \r\n", b"Host: a b\r\n", b"Host: x@y\r\n", b"Host: a/?x=\r\n"]
)
def test_malformed_hosts(daemon: DaemonUnderTest, hosts: bytes) -> None:
    answer = said_raw(daemon, b"GET /v1/_ui/session HTTP/1.1\r\n" + hosts + b"Connection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 "), answer


# --- S11


def test_every_answer_has_the_security_headers(daemon: DaemonUnderTest, page: httpx.Client) -> None:
    answers = [
        page.get("/session"),
        page.get("/docs"),
        page.get("/nothing"),
        page.get("/session", headers={"Host": "evil.example"}),
        page.post("/apikeys", headers={"Sec-Fetch-Site": "cross-site"}),
        page.post("/login", json={"user": "admin", "password": "wrong"}),
        page.put("/targets/x", content=b"{" * 100, headers=daemon.headers),
        page.request("TRACE", "/session"),
        httpx.get(f"{daemon.console_url}/", trust_env=False),
        httpx.get(f"{daemon.console_url}{PREFIX}/overview", trust_env=False),
    ]
    for path in ("/events?topics=overview", "/events?topics=nonsense", "/logs?format=ndjson"):
        with httpx.stream(
            "GET", f"{daemon.console_url}{PREFIX}{path}", headers=daemon.headers, trust_env=False
        ) as found:
            answers.append(found)
    assert [answer.status_code for answer in answers[-3:]] == [200, 422, 200]
    for answer in answers:
        assert set(answer.headers) >= ALWAYS, (answer.request.url, answer.headers)
        policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
        assert [policy[name] for name in ("object-src", "base-uri", "frame-ancestors", "default-src")] == ["'none'"] * 4
        assert not any("unsafe" in value or "*" in value for value in policy.values())
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "strict-transport-security" not in answer.headers, "there is no TLS here"
        assert "server" not in answer.headers
        if answer.request.url.path.startswith("/v1/"):
            assert answer.headers["cache-control"] == "no-store"
    broken = said_raw(daemon, b"NONSENSE\r\n\r\n").lower()
    assert broken.startswith(b"http/1.1 400"), broken
    assert b"\r\nx-content-type-options: nosniff\r\n" in broken
    assert b"\r\ncontent-security-policy: " in broken


def test_the_description_for_people_needs_no_script_and_no_other_host(page: httpx.Client) -> None:
    text = page.get("/docs").text
    assert "PUT /v1/_ui/targets/{model}" in text
    assert "<script" not in text
    assert "style=" not in text
    assert re.search(r"(src|href|url)\s*[=(]\s*[\"']?(https?:)?//", text) is None  # examples may name hosts


# --- bodies


def test_a_body_that_is_too_large_is_refused(daemon: DaemonUnderTest, page: httpx.Client) -> None:
    large = json.dumps({"label": "x" * (1024 * 1024)}).encode()
    told = page.post("/apikeys", content=large, headers=daemon.headers)
    assert (told.status_code, told.json()["error"]["code"]) == (413, "too_large")
    assert told.headers["connection"] == "close"
    untold = page.post("/apikeys", content=iter([large]), headers=daemon.headers)
    assert (untold.status_code, untold.json()["error"]["code"]) == (413, "too_large")
    assert set(untold.json()["error"]) == {"code", "message", "fix", "details"}
    anonymous = httpx.post(f"{daemon.console_url}{PREFIX}/login", content=iter([large]), trust_env=False)
    assert anonymous.status_code == 413
    lying = b"POST /v1/_ui/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n"
    assert said_raw(daemon, lying).startswith(b"HTTP/1.1 413 "), "without waiting for the body"


# --- S26


def test_what_is_not_served_is_told_plainly(daemon: DaemonUnderTest, page: httpx.Client) -> None:
    for path in ("/.git/config", "/.env", "/../../etc/passwd", "/static/"):
        answer = httpx.get(daemon.console_url + path, trust_env=False)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found"), path
    for method in ("TRACE", "PATCH", "PROPFIND"):
        answer = page.request(method, "/session", headers=daemon.headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed"), method
