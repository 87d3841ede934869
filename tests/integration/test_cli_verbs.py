"""Every verb against a running daemon, in a pipe: as scripts and new users meet it."""

import json
import os
import re
import signal
from pathlib import Path

import pytest
from cli_kit import Place, daemon, on_terminal, wait_until

SMALL = "Qwen/Qwen2.5-0.5B-Instruct"
ALIAS = "qwen2.5-0.5b"
TOO_LARGE = "Qwen/Qwen3-235B-A22B-Instruct-2507"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with daemon(tmp_path_factory.mktemp("cli")) as found:
        yield found


@pytest.fixture
def deployed(place: Place, capsys) -> str:
    """The id of a deployment that runs."""
    said = place.here(capsys, "run", ALIAS, "--wait", "--json")
    assert said.code == 0, said.err
    items = [item for item in said.json["deployments"] if item["intent"] == "run"]
    return items[0]["id"]


READERS = [
    "status", "ps", "doctor", "gpu list", "gpu status", "gpu drivers", "container list", "container history",
    "model list", f"model show {ALIAS}", "config show", "config get api", "config get api.host", "config schema",
    "config validate", "config apikey list", "config token list", "config audit",
    f"run {ALIAS} --dry-run", "service unit",
]  # fmt: skip
LISTS = [
    "ps",
    "doctor",
    "gpu list",
    "gpu status",
    "gpu drivers",
    "container history",
    "model list",
    "config apikey list",
    "config token list",
]


@pytest.mark.parametrize("verb", READERS)
def test_json_is_one_value_and_nothing_else(place, capsys, verb):
    said = place.here(capsys, *verb.split(), "--json")
    assert said.code == 0, said.err
    value = json.loads(said.out)
    assert said.out.count("\n") == 1, "one line in a pipe"
    assert said.err == ""
    if verb in LISTS:
        assert isinstance(value["items"], list)


@pytest.mark.parametrize("verb", READERS)
def test_into_a_pipe_it_is_plain(place, capsys, deployed, verb):
    said = place.here(capsys, *verb.split())
    assert said.code == 0, said.err
    assert "\x1b" not in said.out + said.err
    assert not [line for line in (said.out + said.err).splitlines() if line != line.rstrip()], "trailing blanks"


@pytest.mark.parametrize("verb", ["gpu list", "gpu status", f"run {ALIAS} --replicas 3 --dry-run"])
def test_gpus_that_are_simulated_are_never_shown_without_saying_so(place, capsys, verb):
    assert "These GPUs are simulated" in place.here(capsys, *verb.split()).err


def test_ps_into_a_pipe_has_every_column_whole(place, capsys, deployed):
    said = place.here(capsys, "ps")
    heading, row = (line for line in said.out.splitlines() if line.startswith(("DEPLOYMENT", deployed)))
    assert heading.split() == [
        *("DEPLOYMENT", "MODEL", "STATE", "NODE", "GPUS", "PORT"),
        "REQ/S",
        "ERRORS",
        "AGE",
        "WHY",
    ]
    place_and_port = r"gpu-host-a +nvidia-\d \(simulated\) +\d+"
    assert re.search(rf"{deployed} +{SMALL} +● running +{place_and_port} +[\d.]+ +\S+ +\S+$", row)


def test_run_returns_at_acceptance_with_json(place, capsys):
    said = place.here(capsys, "run", "smollm2-135m", "--json")
    assert said.code == 0
    assert said.json["name"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert said.json["replicas"] == 1
    waited = place.here(capsys, "run", "smollm2-135m", "--json", "--wait")
    assert waited.json["running"] == 1
    [item] = waited.json["deployments"]
    assert place.here(capsys, "container", "remove", item["id"], "--wait").code == 0


def test_run_piped_without_wait_says_how_to_follow(place, capsys, deployed):
    said = place.here(capsys, "run", ALIAS)
    assert (said.code, said.out) == (0, "")
    assert "1 replica desired" in said.err
    assert "modelgrid ps" in said.err
    assert "No place" not in said.err


def test_run_piped_without_wait_says_what_finds_no_place(place, capsys):
    said = place.here(capsys, "run", TOO_LARGE, "--replicas", "2")
    assert (said.code, said.out) == (0, "")
    assert "2 replicas desired, 0 running" in said.err
    assert "No place yet for 2 replicas: " in said.err
    for gpu in ("nvidia-0", "nvidia-1"):
        assert len(re.findall(rf"gpu-host-a {gpu}: .*GiB.*GiB", said.err)) == 1, said.err
    for item in place.here(capsys, "ps", "--model", TOO_LARGE, "--json").json["items"]:
        assert place.here(capsys, "container", "remove", item["id"], "--wait").code == 0


def test_the_life_of_a_deployment(place, capsys, deployed):
    shown = place.here(capsys, "container", "show", ALIAS)
    assert "● running" in shown.out
    assert "KV cache" in shown.out
    events = place.here(capsys, "container", "events", deployed)
    assert [word for word in ("created", "scheduled", "started", "ready") if word not in events.out] == []
    assert place.here(capsys, "container", "events", deployed, "--json").json["items"][0]["kind"] == "created"
    assert place.here(capsys, "container", "stop", deployed, "--wait").out == f"○ stopped  {deployed}\n"
    listed = place.here(capsys, "ps")
    assert deployed not in listed.out
    assert "modelgrid ps --all" in listed.err
    assert deployed in place.here(capsys, "ps", "--all").out
    assert deployed in place.here(capsys, "ps", "--json").out
    assert place.here(capsys, "container", "start", deployed, "--wait").out == f"● running  {deployed}\n"
    assert (
        place.here(capsys, "container", "restart", deployed, "--wait", "--json").json["items"][0]["state"] == "running"
    )
    assert "is gone" in place.here(capsys, "container", "remove", deployed, "--wait").out
    assert deployed in place.here(capsys, "container", "history").out
    record = place.here(capsys, "container", "history", deployed[:-2], "--json").json
    assert record["id"] == deployed
    assert record["reason"]
    assert record["last_lines"]
    unknown = place.here(capsys, "container", "history", "nothing-like-it")
    assert unknown.code == 1
    gone = place.here(capsys, "logs", deployed[:-2])
    assert gone.code == 0
    assert "vLLM" in gone.out


def test_one_that_refuses_does_not_keep_the_others_from_it(place, capsys, deployed):
    said = place.here(capsys, "container", "stop", "no-such-one", deployed)
    assert said.code == 1
    assert deployed in said.out
    assert "no-such-one" in said.err
    assert place.here(capsys, "container", "start", deployed, "--wait").code == 0


def test_logs(place, capsys, deployed):
    said = place.here(capsys, "logs", deployed, "--tail", "3")
    assert len(said.out.splitlines()) == 3
    items = place.here(capsys, "logs", deployed, "--json").json["items"]
    assert {"number", "at", "stream", "text"} <= set(items[0])
    some = place.here(capsys, "logs", deployed, "--grep", "startup")
    assert some.out
    assert all("startup" in line for line in some.out.splitlines())
    timed = place.here(capsys, "logs", deployed, "-t", "-n", "1")
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d  \S", timed.out)


def test_a_beginning_of_several_is_not_taken_for_the_one_of_them_that_ended(place, capsys):
    assert place.here(capsys, "run", "smollm2-360m", "--replicas", "3", "--detach").code == 0

    def here() -> list[str]:
        listed = place.here(capsys, "ps", "--model", "smollm2-360m", "--json").json["items"]
        return [item["id"] for item in listed]

    ended, *others = wait_until(lambda: len(ids := here()) == 3 and ids)
    assert place.here(capsys, "container", "remove", ended, "--wait").code == 0
    for verb in (["logs"], ["container", "events"], ["container", "show"]):
        said = place.here(capsys, *verb, "smollm2-360m")
        assert (said.code, said.out) == (1, "")
        assert "the beginning of 2 deployments." in said.err
        assert all(other in said.err for other in others)
    assert "created" in place.here(capsys, "container", "events", ended).out
    past = place.here(capsys, "container", "history", "--model", "smollm2-360m", "--json").json["items"]
    assert [item["id"] for item in past] == [ended]
    for other in others:
        assert place.here(capsys, "container", "remove", other, "--wait").code == 0


def test_logs_of_everything(place, capsys, deployed):
    records = place.here(capsys, "logs", "--json", "-n", "5000").json["items"]
    assert [record["seq"] for record in records] == sorted(record["seq"] for record in records)
    assert {"daemon", "scheduler", "gateway", f"deployment:{deployed}"} <= {record["source"] for record in records}
    shown = place.here(capsys, "logs", "--source", "scheduler", "--since", "1h").out.splitlines()
    assert any("deployment created" in line and f"deployment={deployed}" in line for line in shown)
    assert all(" scheduler  " in line for line in shown)
    wrong = place.here(capsys, "logs", "--grep", "(")
    assert (wrong.code, "RE2" in wrong.err) == (2, True)
    assert place.here(capsys, "logs", "--since", "yesterday").code == 2
    assert "Nothing was said that is like that" in place.here(capsys, "logs", "--grep", "no such words").err
    assert place.here(capsys, "logs", deployed, "--level", "error").out == ""
    assert place.here(capsys, "logs", deployed, "--source", "daemon").code == 2
    assert place.here(capsys, "logs", deployed, "--node", "here").code == 2
    own = place.here(capsys, "status", "--json").json["node"]
    assert place.here(capsys, "logs", "--node", own, "--json").json["items"]
    assert place.here(capsys, "logs", "--node", "nobody").code == 1


def test_what_does_not_fit_ends_the_wait_with_numbers_per_gpu(place, capsys):
    said = place.here(capsys, "run", TOO_LARGE, "--wait")
    assert said.code == 1
    assert said.out == ""
    for gpu in ("nvidia-0", "nvidia-1"):
        assert re.search(rf"gpu-host-a {gpu}: .*GiB.*GiB", said.err), said.err
    again = place.here(capsys, "run", TOO_LARGE, "--wait", "--json")
    assert again.code == 1
    assert again.error["code"] == "not_running"
    assert {verdict["gpu"] for verdict in again.error["details"]["decision"]["verdicts"]} >= {"nvidia-0", "nvidia-1"}
    name = again.error["details"]["deployment"]
    status = place.here(capsys, "status")
    assert "needs attention" in status.out or "need attention" in status.out
    assert name in status.out
    assert place.here(capsys, "container", "remove", name, "--wait").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "word", "hint"),
    [
        (["run", "lama-3.1-8b"], 1, "not_found", "meta-llama/Llama-3.1-8B-Instruct"),
        (["run", ALIAS, "--env", "NOT_SET_HERE"], 2, "invalid_input", "export NOT_SET_HERE=…"),
        (["cluster", "ensure", ALIAS, "-e", "NOT_SET_HERE"], 2, "invalid_input", "export NOT_SET_HERE=…"),
        (["run", ALIAS, "--env", "=x"], 2, "invalid_input", "HF_TOKEN"),
        (["run", ALIAS, "--env", "two words"], 2, "invalid_input", "HF_TOKEN"),
        (["run", ALIAS, "--env", "LD_PRELOAD=/tmp/x.so"], 2, "invalid_input", ""),
        (["run", ALIAS, "--mount", "/srv"], 2, "invalid_input", "/srv/models:/models"),
        (["run", ALIAS, "--image=--privileged"], 2, "invalid_input", "vllm/vllm-openai"),
        (["run", ALIAS, "--replicas", "9999"], 2, "invalid_input", ""),
        (["run", ALIAS, "--wait", "--detach"], 2, "invalid_input", ""),
        (["container", "show", "nobody"], 1, "not_found", "modelgrid ps"),
        (["logs", "nobody"], 1, "not_found", "modelgrid ps"),
        (["model", "show", "bge-m4"], 1, "not_found", "bge-m3"),
        (["config", "apikey", "revoke", "nobody", "--yes"], 1, "not_found", ""),
        (["config", "apikey", "generate", "--label", "x", "--expires-in", "30"], 2, "invalid_input", "30d"),
        (["config", "apikey", "generate", "--label", "x", "--expires-in", "0d"], 2, "invalid_input", "30d"),
        (["run"], 2, "usage", "modelgrid run --help"),
        (["ps", "--bogus"], 2, "usage", "modelgrid ps --help"),
        (["run", ALIAS, "--replicas", "many"], 2, "usage", "modelgrid run --help"),
        (["stat"], 2, "usage", "status"),
        (["gpu", "lst"], 2, "usage", "list"),
    ],
)  # fmt: skip
def test_errors_say_the_fix_and_have_one_shape(place, capsys, arguments, code, word, hint):
    plain = place.here(capsys, *arguments)
    assert (plain.code, plain.out) == (code, "")
    assert plain.err.startswith("Error: ")
    assert hint in plain.err
    said = place.here(capsys, *arguments, "--json")
    assert (said.code, said.out) == (code, "")
    assert set(said.error) == {"code", "message", "fix", "details"}
    assert said.error["code"] == word
    assert hint in said.error["message"] + said.error["fix"]


def test_api_keys(place, capsys):
    new = place.here(capsys, "config", "apikey", "generate", "--label", "ci", "--json").json
    assert list(new) == ["id", "label", "prefix", "secret"]
    assert new["label"] == "ci"
    assert new["secret"].startswith(new["prefix"])
    plain = place.here(capsys, "config", "apikey", "generate", "--label", "shell", "--model", SMALL)
    assert len(plain.out.split()) == 1, "the secret alone, for $(…)"
    listed = place.here(capsys, "config", "apikey", "list")
    assert new["id"] in listed.out
    assert new["secret"] not in listed.out + listed.err
    assert place.here(capsys, "config", "apikey", "revoke", new["id"], "--json").json["status"] == "revoked"


def test_tokens(place, capsys):
    new = place.here(capsys, "config", "token", "generate", "--label", "ci", "--json").json
    assert list(new) == ["id", "label", "prefix", "role", "secret"]
    assert new["role"] == "viewer"
    assert new["secret"].startswith(new["prefix"])
    plain = place.here(capsys, "config", "token", "generate", "--label", "ops", "--role", "admin", "--days", "1")
    assert len(plain.out.split()) == 1, "the secret alone, for $(…)"
    listed = place.here(capsys, "config", "token", "list")
    assert new["id"] in listed.out
    assert new["secret"] not in listed.out + listed.err
    assert new["id"] in complete(place, "config token revoke token")
    url = json.loads((place.state / "run" / "endpoint.json").read_text())["url"]
    there = ["--url", url, "--token", plain.out.strip()]
    said = place.here(capsys, "config", "token", "revoke", new["id"], "--json", *there)
    assert said.json["status"] == "revoked"
    refused = place.here(capsys, "ps", "--url", url, "--token", new["secret"])
    assert refused.code == 1
    assert "not known" in refused.err


def test_password_from_standard_input(place, capsys):
    said = place.piped("config", "user", "passwd", "--stdin", "--json", stdin="correct horse battery staple\n")
    assert (said.code, said.json) == (0, {"user": "admin", "changed": True})
    refused = place.piped("config", "user", "passwd", stdin="")
    assert refused.code == 2
    assert "--stdin" in refused.err


def complete(place: Place, line: str) -> list[str]:
    words = line.split(" ")
    said = place.piped(
        _MODELGRID_COMPLETE="complete_bash", COMP_WORDS=" ".join(["modelgrid", *words]), COMP_CWORD=str(len(words))
    )
    return said.out.split()


def test_completion_knows_what_the_daemon_knows(place, capsys, deployed):
    assert complete(place, f"logs {deployed[:6]}") == [deployed]
    assert complete(place, f"container show {deployed[:6]}") == [deployed]
    assert complete(place, "run qwen2.5-0") == [ALIAS]
    assert SMALL in complete(place, "model show Qwen/Qwen2.5")
    assert complete(place, f"run {SMALL} --gpu ") == ["nvidia-0", "nvidia-1"]
    key = place.here(capsys, "config", "apikey", "list", "--json").json["items"][0]["id"]
    assert key in complete(place, "config apikey revoke key")
    assert complete(place, "gpu l") == ["list"]


def test_completion_is_silent_without_a_daemon(place, tmp_path):
    nowhere = Place(place.config, tmp_path)
    assert complete(nowhere, "logs ") == []
    # The options typed so far count: here they name the state directory.
    assert complete(nowhere, f"--state-dir {place.state} run qwen2.5-0") == [ALIAS]
    assert complete(nowhere, f"run --state-dir {place.state} qwen2.5-0") == [ALIAS]


def test_the_options_stand_anywhere(place, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MODELGRID_STATE_DIR", str(tmp_path))
    nowhere = Place(place.config, tmp_path)
    for arguments in (
        ["ps", "--state-dir", str(place.state), "--json"],
        ["ps", f"--state-dir={place.state}", "--json"],
        ["gpu", "--state-dir", str(place.state), "list", "--json"],
        ["config", "apikey", "list", "--json", "--state-dir", str(place.state)],
    ):
        assert "items" in nowhere.here(capsys, *arguments).json
    token = (place.state / "token").read_text().strip()
    url = json.loads((place.state / "run/endpoint.json").read_text())["url"]
    assert "items" in nowhere.here(capsys, "ps", "--url", url, "--token", token, "--json").json
    assert "items" in nowhere.here(capsys, "--url", url, "ps", "--token", token, "--json").json
    wrong = nowhere.here(capsys, "ps", "--url", url, "--token", "wrong")
    assert wrong.code == 1
    assert "--token" in wrong.err
    gateway = json.loads(Path(place.config).read_text())["api"]["port"]
    other = nowhere.here(capsys, "ps", "--url", f"http://127.0.0.1:{gateway}", "--token", token)
    assert other.code == 1
    assert "api.uiPort" in other.err


def test_followed_output_ends_with_the_deployment(place, capsys, deployed):
    follower = on_terminal(place, "logs", "-f", deployed)
    follower.expect("Application startup complete")
    attached = on_terminal(place, "container", "attach", deployed)
    attached.expect("Ctrl-C detaches")
    assert place.here(capsys, "container", "restart", deployed, "--wait").code == 0
    wait_until(lambda: attached.read(0.1) and "answers" in attached.text)
    assert place.here(capsys, "container", "stop", deployed, "--wait").code == 0
    assert attached.end() == 0
    assert "○ stopped" in attached.text
    assert place.here(capsys, "container", "remove", deployed, "--wait").code == 0
    assert follower.end() == 0


def test_ctrl_c_detaches_and_the_engine_runs_on(place, capsys, deployed):
    for verb in (["container", "attach", deployed], ["logs", "-f", deployed], ["container", "events", "-f", deployed]):
        session = on_terminal(place, *verb)
        session.expect({"attach": "detaches", "-f": "startup complete", "events": "ready"}[verb[1]])
        session.send("\x03")
        assert session.end() == 130
        assert "Traceback" not in session.text
    assert place.here(capsys, "container", "show", deployed, "--json").json["state"] == "running"


def test_following_outlives_a_restart_of_the_daemon(place, capsys, deployed):
    follower = on_terminal(place, "logs", "-f", deployed)
    follower.expect("startup complete")
    url = json.loads((place.state / "run/endpoint.json").read_text())
    os.kill(place.pid, signal.SIGHUP)
    wait_until(lambda: json.loads((place.state / "run/endpoint.json").read_text())["pid"] != url["pid"])
    first, follower.text = follower.text, ""
    wait_until(lambda: place.here(capsys, "ps").code == 0)
    assert place.here(capsys, "container", "restart", deployed, "--wait").code == 0
    follower.expect("startup complete")
    again = [line for line in follower.text.splitlines() if "pid=" in line and line in first]
    assert again == [], "no line comes twice"
    follower.send("\x03")
    assert follower.end() == 130


def test_a_mount_outside_the_allowed_folders_is_refused_before_anything_is_desired(place, capsys):
    said = place.here(capsys, "run", "smollm2-360m", "--mount", "/etc:/models")
    assert said.code in {1, 2}
    assert "/etc" in said.err
    assert "docker.allowedMounts" in said.err
    assert "smollm2-360m" not in place.here(capsys, "ps", "--json").out
