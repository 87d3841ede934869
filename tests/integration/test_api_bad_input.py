"""What people may get wrong in a request: refused with the path, the fix and the right status, and nothing done."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from daemon_under_test import SMALL, SMALL_ALIAS, DaemonUnderTest, daemon_in, wait_until
from text_fields import bodies_with, document

from modelgrid.domain.errors import InvalidInput, LaunchRefused, ModelGridError, NotFound

PREFIX = "/v1/_ui"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonUnderTest]:
    folder = tmp_path_factory.mktemp("daemon")
    (folder / "allowed" / "inside").mkdir(parents=True)
    (folder / "outside").mkdir()
    (folder / "allowed" / "link").symlink_to(folder / "outside")
    with daemon_in(folder, {"docker": {"allowedMounts": [str(folder / "allowed")]}}) as daemon:
        daemon.start()
        yield daemon
        daemon.clear()
        assert "Traceback" not in daemon.log.read_text()
        assert daemon.stop() == 0, daemon.words()


@pytest.fixture
def http(daemon: DaemonUnderTest) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=daemon.console_url, headers=daemon.headers, trust_env=False, timeout=30) as client:
        yield client
    assert [target["name"] for target in daemon.client.list_targets()["items"]] == [], "nothing was half done"


def put(http: httpx.Client, wish: dict[str, Any], model: str = SMALL, **headers: str) -> httpx.Response:
    return http.put(f"{PREFIX}/targets/{model}", json=wish, headers=headers)


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"replicsa": 1}, "replicsa"),
        ({"replicas": "two"}, "replicas"),
        ({"replicas": -1}, "replicas"),
        ({"replicas": 65}, "replicas"),
        ({"replicas": 10**30}, "replicas"),
        ({"gpus": ["nvidia-x"]}, "gpus"),
        ({"gpu_count": 3}, "attention heads"),
        ({"context": 10**9}, "context"),
        ({"vendor": "voodoo"}, "vendor"),
        ({"runtime": "rocket"}, "runtime"),
        ({"image": "--privileged"}, "image"),
        ({"image": "a b"}, "image"),
        ({"image": "repo:tag;reboot"}, "image"),
        ({"args": ["--port", "1"]}, "port"),
        ({"args": ["--api-key=x"]}, "api-key"),
        ({"args": ["a\0b"]}, "args"),
        ({"env": {"bad name": "x"}}, "env"),
        ({"env": {"LD_PRELOAD": "/tmp/x.so"}}, "LD_PRELOAD"),
        ({"env": {"A": "b\0c"}}, "env"),
        ({"node": "../x"}, "node"),
        ({"mounts": [{"source": "relative", "target": "/data"}]}, "mount"),
        ({"mounts": [{"source": "/", "target": "/data"}]}, "mount"),
        ({"mounts": [{"source": "/var/run/docker.sock", "target": "/data"}]}, "mount"),
        ({"mounts": [{"source": "/proc", "target": "/data"}]}, "mount"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_a_wish_that_is_not_allowed(http: httpx.Client, wish: dict[str, Any], said: str) -> None:
    for response in (put(http, wish), http.post(f"{PREFIX}/targets/preview", json={"model": SMALL, **wish})):
        assert response.status_code == 422, response.text
        error = response.json()["error"]
        assert error["code"] in {"invalid_input", "launch_refused"}
        assert said.casefold() in json.dumps(error).casefold(), error


@pytest.mark.parametrize(
    ("below", "allowed"),
    [("allowed/inside", True), ("outside", False), ("allowed/link", False), ("allowed/missing", False)],
)
def test_a_mount_is_judged_by_its_real_path_when_it_is_asked_for(
    daemon: DaemonUnderTest, below: str, allowed: bool
) -> None:
    wish = {"replicas": 0, "mounts": [{"source": str(daemon.folder / below), "target": "/data"}]}
    if allowed:
        assert daemon.client.put_target(SMALL, wish)["spec"]["mounts"]
        daemon.client.delete_target(SMALL)
        return
    for call in (
        lambda: daemon.client.put_target(SMALL, wish),
        lambda: daemon.client.preview_target({"model": SMALL, **wish}),
    ):
        with pytest.raises((LaunchRefused, InvalidInput, ModelGridError)) as refused:
            call()
        assert str(Path("allowed") if below == "x" else daemon.folder / below) in refused.value.message
        assert refused.value.fix
    assert daemon.client.list_targets()["items"] == []


def test_an_unknown_model_comes_with_the_nearest_names(daemon: DaemonUnderTest) -> None:
    for call in (
        lambda: daemon.client.put_target("qwen2.5-0.5", {}),
        lambda: daemon.client.preview_target({"model": "qwen2.5-0.5"}),
    ):
        with pytest.raises(NotFound) as unknown:
            call()
        assert "Did you mean" in unknown.value.fix
        assert SMALL in unknown.value.details["suggestions"]


@pytest.mark.parametrize(
    "url",
    [
        "", "control-a", "http://control-a:8082", "https://", "https://[", "https://h:99999", "https://h:0",
        "https://a:b@h", "https://a b", f"https://{'a' * 70}:8082", "https://0.0.0.0:8082", "https://0:8082",
        "https://169.254.169.254", "https://[fd00:ec2::254]:8082", "https://2852039166:8082",
    ],
)  # fmt: skip
def test_a_control_plane_is_not_looked_for_at_no_address(http: httpx.Client, url: str) -> None:
    answer = http.post(f"{PREFIX}/cluster/join", json={"url": url, "token": f"mgj-{'A' * 32}.{'a' * 64}"})
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["details"]["path"] == "url"


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff", b'{"replicas": NaN}', b'{"replicas": 1e999}'])
def test_a_body_that_is_no_json_of_ours(http: httpx.Client, text: bytes) -> None:
    response = http.put(f"{PREFIX}/targets/{SMALL}", content=text, headers={"Content-Type": "application/json"})
    assert response.status_code in {400, 422}, response.text
    assert response.json()["error"]["message"]


HALF = "\ud800"
"""Half of a surrogate pair: JSON can say it, and no file, database or answer can hold it."""
IN_PLACES = {"model": SMALL_ALIAS, "name": "admin"}
"""What stands in paths where the place matters."""
HALVES = [
    pytest.param(*case, id=f"{case[0]} {case[1]} {case[2]} {len(half)}")
    for half in (HALF, HALF + "a" * 16)  # the second is long enough for what has a least length
    for case in bodies_with(half)
]


@pytest.mark.parametrize(("method", "path", "place", "body"), HALVES)
def test_half_a_character_is_refused_wherever_there_is_a_text(
    http: httpx.Client, daemon: DaemonUnderTest, method: str, path: str, place: str, body: Any
) -> None:
    before = daemon.config_path.read_text()
    url = path.format_map(IN_PLACES)
    answer = http.request(method, url, content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500, f"{place}: {answer.status_code} {answer.text}"
    assert json.dumps(answer.json(), ensure_ascii=False).encode(), "the refusal itself can be read everywhere"
    assert answer.json()["error"]["message"]
    assert daemon.config_path.read_text() == before


def test_half_a_character_is_tried_in_every_body() -> None:
    with_body = {(m, p) for p, methods in document()["paths"].items() for m, o in methods.items() if "requestBody" in o}
    tried = {(case.values[0], case.values[1]) for case in HALVES}
    assert tried == with_body
    places = {str(case.values[2]) for case in HALVES}
    assert {".image", ".env.{name}", ".mounts[].source", ".labels.{value}", ".docker.allowedMounts[]"} <= places


@pytest.mark.parametrize("name", ["If-Match", "User-Agent", "Accept", "Cookie", "Origin", "Authorization"])
def test_half_a_character_in_a_header(http: httpx.Client, name: str) -> None:
    half = HALF.encode("utf-8", "surrogatepass")
    for path in ("/targets", "/sessions"):
        answer = http.get(f"{PREFIX}{path}", headers=[(name.encode(), half)])
        assert answer.status_code < 500, answer.text
    assert http.delete(f"{PREFIX}/targets/x", headers=[(name.encode(), half)]).status_code in range(400, 500)


@pytest.mark.parametrize("half", ["%ED%A0%80", "%FF"])
def test_half_a_character_in_an_address(http: httpx.Client, half: str) -> None:
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            names = [item["name"] for item in operation.get("parameters", ()) if item["in"] == "query"]
            if not ("{" in path or names) or "stream" in path:
                continue
            url = re.sub(r"{\w+}", half, path)
            url += "?" + "&".join(f"{name}={half}" for name in names) if names else ""
            answer = http.request(method, url)
            assert answer.status_code < 500, f"{method} {url}: {answer.text}"
            assert answer.content.decode()


@pytest.mark.parametrize(
    "path",
    [
        "/timeline?after=99999999999999999999999999",
        "/timeline?limit=0",
        "/timeline?subject=nothing",
        "/timeline?subject_id=%00",
        "/history?before=nan",
        "/history?before=inf",
        "/history?limit=1000000",
        "/history/%00",
        "/deployments?state=on%20fire",
        "/deployments/%00",
        "/deployments/%F0%9F%92%A5",
        f"/deployments/{'x' * 5000}",
        "/deployments/x/logs?after=99999999999999999999999999",
        "/deployments/x/logs?wait=1e9",
        "/deployments/x/events?after=99999999999999999999999999",
        "/targets/%00",
        "/targets/..%2f..%2fetc%2fpasswd",
        "/catalog/%00",
    ],
)
def test_a_query_out_of_range_is_never_a_failure_of_ours(http: httpx.Client, path: str) -> None:
    response = http.get(f"{PREFIX}{path}")
    assert response.status_code < 500, response.text
    if response.status_code != 200:
        assert response.json()["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        {"label": ""},
        {"label": "a\nb"},
        {"label": "x" * 101},
        {"label": "a", "requests_per_minute": 0},
        {"label": "a", "requests_per_minute": 10**30},
        {"label": "a", "expires_at": 1e308},
        {"label": "a", "expires_at": -1},
        {"label": "a", "models": "one"},
        {"label": "\ud800"},
        {},
    ],
    ids=str,
)
def test_a_key_that_cannot_be_made(http: httpx.Client, daemon: DaemonUnderTest, body: dict[str, Any]) -> None:
    before = daemon.client.list_api_keys()["items"]
    response = http.post(f"{PREFIX}/apikeys", content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert response.status_code < 500, response.text
    assert "secret" not in response.json() or response.status_code == 201
    if response.status_code != 201:
        assert daemon.client.list_api_keys()["items"] == before
    assert http.get(f"{PREFIX}/apikeys").status_code == 200, "the list can still be shown"
    assert httpx.get(f"{daemon.api_url}/health", trust_env=False).status_code == 200


def test_a_model_that_cannot_fit_waits_and_says_by_how_much(daemon: DaemonUnderTest) -> None:
    largest = max(daemon.client.list_catalog()["items"], key=lambda entry: entry["entry"]["parameters"])["id"]
    wish = {"trust_remote_code": True, "gpu_count": 1}
    (foreseen,) = daemon.client.preview_target({"model": largest, **wish})["decisions"]
    assert foreseen["node"] is None
    daemon.client.put_target(largest, wish)
    (pending,) = daemon.wait_for({"pending": 1}, target=largest)
    assert daemon.client.show_deployment(pending["id"])["decision"] == foreseen
    assert pending["reason"] == foreseen["summary"]
    by_gpu = {verdict["gpu"]: verdict for verdict in foreseen["verdicts"] if verdict["gpu"]}
    assert set(by_gpu) == {"nvidia-0", "nvidia-1"}
    for verdict in by_gpu.values():
        assert verdict["needed_bytes"] > verdict["free_bytes"] > 0
        assert "GiB" in verdict["reason"]
    assert "unplaced" in daemon.event_kinds(pending["id"])
    assert daemon.client.overview()["deployments"] == {"pending": 1}
    daemon.client.delete_target(largest)
    wait_until("it is gone", lambda: not daemon.deployments(), 20, daemon.words)
    assert daemon.client.show_history(pending["id"])["reason"] == "no longer desired"


def test_one_of_two_concurrent_edits_wins(daemon: DaemonUnderTest, http: httpx.Client) -> None:
    first = put(http, {"replicas": 0})
    assert first.status_code == 200
    etag = first.headers["etag"]
    assert put(http, {"replicas": 0, "context": 2048}, **{"If-Match": etag}).status_code == 200
    stale = put(http, {"replicas": 0, "context": 4096}, **{"If-Match": etag})
    assert stale.status_code == 412
    assert stale.json()["error"]["code"] == "precondition_failed"
    assert put(http, {"replicas": 0}, **{"If-Match": "x"}).status_code == 422
    assert daemon.client.show_target(SMALL)["spec"]["context"] == 2048
    gone = http.request("DELETE", f"{PREFIX}/targets/{SMALL}", headers={"If-Match": '"1"'})
    assert gone.status_code == 412
    daemon.client.delete_target(SMALL)


def test_a_condition_of_a_node_is_its_status(daemon: DaemonUnderTest, http: httpx.Client) -> None:
    seen = http.get(f"{PREFIX}/nodes/here").headers["etag"]
    assert seen == '"active"'
    cordoned = http.post(f"{PREFIX}/nodes/here/cordon", headers={"If-Match": seen})
    assert (cordoned.status_code, cordoned.headers["etag"]) == (200, '"cordoned"')
    assert http.post(f"{PREFIX}/nodes/here/drain", headers={"If-Match": seen}).status_code == 412
    assert http.get(f"{PREFIX}/nodes/here").json()["status"] == "cordoned"
    assert http.post(f"{PREFIX}/nodes/here/activate", headers={"If-Match": "*"}).json()["status"] == "active"


@pytest.mark.parametrize(
    ("condition", "status"),
    [('"x"', 412), ('W/"1"', 412), ('"7", "8"', 412), ("*", 412), ("1", 422), ('"1', 422), ("", 422)],
)
def test_a_condition_on_what_is_not_there(http: httpx.Client, condition: str, status: int) -> None:
    assert put(http, {"replicas": 0}, **{"If-Match": condition}).status_code == status


def test_of_many_writers_of_a_target_one_wins_each_revision(daemon: DaemonUnderTest, http: httpx.Client) -> None:
    """R29: fifty put another context to the same revision."""
    revision = int(put(http, {"replicas": 0}).headers["etag"].strip('"'))
    for _ in range(3):
        other = 1000 * revision
        guarded = partial(put, http, **{"If-Match": f'"{revision}"'})
        with ThreadPoolExecutor(50) as pool:
            answers = list(pool.map(guarded, [{"replicas": 0, "context": other + number} for number in range(50)]))
        statuses = [answer.status_code for answer in answers]
        assert sorted(statuses) == [200] + [412] * 49
        won = answers[statuses.index(200)].json()
        revision += 1
        shown = daemon.client.show_target(SMALL)
        assert shown["revision"] == won["revision"] == revision
        assert shown["spec"]["context"] == won["spec"]["context"]
    daemon.client.delete_target(SMALL)


def test_secrets_of_an_environment_are_never_shown(daemon: DaemonUnderTest) -> None:
    daemon.client.put_target(SMALL, {"env": {"HF_TOKEN": "hf_very-secret-token"}})
    (found,) = daemon.wait_for({"running": 1}, target=SMALL)
    detail = daemon.client.show_deployment(found["id"])
    assert detail["spec"]["env"] == {"HF_TOKEN": "••••••••"}
    pid = daemon.engine_pids()[found["id"]]
    assert b"HF_TOKEN=hf_very-secret-token" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    unchanged = daemon.client.put_target(SMALL, {"env": {"HF_TOKEN": "hf_very-secret-token"}})
    assert unchanged["revision"] == 1, "the same environment is the same wish"
    everything = [
        daemon.client.list_targets()["items"],
        daemon.client.list_deployments()["items"],
        detail,
        daemon.client.list_events(limit=1000),
        daemon.client.deployment_logs(found["id"]),
    ]
    daemon.clear()
    everything.append(daemon.client.show_history(found["id"]))
    assert "very-secret" not in json.dumps(everything) + daemon.log.read_text()
    for path in daemon.state_dir.rglob("*"):
        if path.is_file():
            assert b"very-secret" not in path.read_bytes(), path


def test_revoking_what_is_not_there(daemon: DaemonUnderTest) -> None:
    with pytest.raises(NotFound):
        daemon.client.revoke_api_key("key-none")
    one, other = (daemon.client.generate_api_key({"label": "twins"})["id"] for _ in range(2))
    with pytest.raises(NotFound) as ambiguous:
        daemon.client.revoke_api_key("twins")
    assert "2 keys" in ambiguous.value.message
    for key in (one, other, one):
        assert daemon.client.revoke_api_key(key)["status"] == "revoked"


def test_a_short_password_is_refused(daemon: DaemonUnderTest) -> None:
    with pytest.raises(InvalidInput):
        daemon.client.set_password("admin", {"password": "short"})
    with pytest.raises(NotFound):
        daemon.client.set_password("nobody", {"password": "long enough, surely"})
    assert (daemon.state_dir / "initial-password").exists()
    daemon.client.set_password("admin", {"password": "a sentence is good"})
    assert not (daemon.state_dir / "initial-password").exists()
