"""Who gets in: every call of the console API needs a credential, and every refusal has the one shape."""

from collections.abc import Iterator

import httpx
import pytest
from daemon_under_test import DaemonUnderTest

from modelgrid.api.console_files import FOLDER

PREFIX = "/v1/_ui"
PAGE = 200 if (FOLDER / "index.html").is_file() else 503
OPEN = {f"{PREFIX}/health": 200, f"{PREFIX}/login": 422, "/": PAGE, "/.git/config": 404}
"""What answers without a credential, and how: a login without a body is malformed; the console's page holds nothing of
the fleet, and says so where it is not built."""


@pytest.fixture(scope="module")
def http(shared_daemon: DaemonUnderTest) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=shared_daemon.console_url, trust_env=False, timeout=30) as client:
        yield client


def calls(http: httpx.Client, daemon: DaemonUnderTest) -> list[tuple[str, str]]:
    """Return every method and path of the published description, with something in the place of parameters."""
    paths = http.get(f"{PREFIX}/openapi.json", headers=daemon.headers).json()["paths"]
    found = [
        (method.upper(), path.replace("{action}", "stop").replace("{model}", "a/b").replace("{", "").replace("}", ""))
        for path, methods in paths.items()
        for method in methods
    ]
    assert len(found) > 25
    return [
        *found,
        ("GET", f"{PREFIX}/openapi.json"),
        ("GET", f"{PREFIX}/docs"),
        ("GET", "/"),
        ("GET", "/.git/config"),
        ("GET", "/v1/_ui/none"),
    ]


def assert_refused(response: httpx.Response, call: object) -> None:
    assert response.status_code == 401, (call, response.text)
    assert response.headers["www-authenticate"] == "Bearer"
    error = response.json()["error"]
    assert error["code"] == "unauthenticated"
    assert error["message"]
    assert error["fix"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic YWRtaW46YWRtaW4="},
        {"X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1", "Forwarded": "for=127.0.0.1"},
        {"Host": "localhost", "X-Original-URL": "/v1/_ui/health", "X-Rewrite-URL": "/v1/_ui/health"},
    ],
    ids=["none", "wrong", "empty", "basic", "forwarded", "rewritten"],
)
def test_every_call_needs_the_token(
    http: httpx.Client, shared_daemon: DaemonUnderTest, headers: dict[str, str]
) -> None:
    for method, path in calls(http, shared_daemon):
        response = http.request(method, path, headers=headers)
        if path in OPEN:
            assert response.status_code == OPEN[path]
        else:
            assert_refused(response, (method, path))


def test_a_token_counts_in_its_header_only(http: httpx.Client, shared_daemon: DaemonUnderTest) -> None:
    token = shared_daemon.token
    for path in (f"{PREFIX}/overview?token={token}", f"{PREFIX}/overview?access_token={token}"):
        assert_refused(http.get(path), path)
    assert_refused(http.get(f"{PREFIX}/overview", headers={"Cookie": f"token={token}"}), "cookie")
    assert http.get(f"{PREFIX}/overview", headers=shared_daemon.headers).status_code == 200
    lower = {"authorization": f"bearer {token}"}
    assert http.get(f"{PREFIX}/overview", headers=lower).status_code == 200, "the scheme's case does not matter"


def test_an_open_path_opens_no_other(http: httpx.Client) -> None:
    for path in (
        f"{PREFIX}/health/../overview",
        f"{PREFIX}/health/%2e%2e/overview",
        f"{PREFIX}//health",
        f"{PREFIX}/health/",
        f"{PREFIX}/overview;{PREFIX}/health",
        f"{PREFIX}/overview%3f{PREFIX}/health",
    ):
        assert http.get(path).status_code in {401, 404}, path


def test_a_key_of_the_gateway_is_none_for_the_console(http: httpx.Client, shared_daemon: DaemonUnderTest) -> None:
    assert_refused(
        http.get(f"{PREFIX}/overview", headers={"Authorization": f"Bearer {shared_daemon.key}"}), "a gateway key"
    )
    refused = httpx.get(f"{shared_daemon.api_url}/v1/models", headers=shared_daemon.headers, trust_env=False)
    assert refused.status_code == 401, "nor the console's token for the gateway"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/_ui/no-such-thing", 404, "not_found"),
        ("GET", "/.git/config", 404, "not_found"),
        ("GET", "/v1/_ui/deployments/none-000000", 404, "not_found"),
        ("GET", "/v1/_ui/history/none", 404, "not_found"),
        ("POST", "/v1/_ui/deployments/none-000000/explode", 422, "invalid_input"),
        ("DELETE", "/v1/_ui/overview", 405, "method_not_allowed"),
        ("TRACE", "/v1/_ui/overview", 405, "method_not_allowed"),
    ],
)
def test_what_is_not_there_is_told_in_the_one_shape(
    http: httpx.Client, shared_daemon: DaemonUnderTest, method: str, path: str, status: int, code: str
) -> None:
    response = http.request(method, path, headers=shared_daemon.headers)
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error"}
    assert response.json()["error"]["code"] == code
    assert set(response.json()["error"]) == {"code", "message", "fix", "details"}
