"""What others chose (names, labels, messages, log lines) reaches the terminal as text only."""

import json
import re

import pytest
from cli_kit import FakeApi, on_terminal

EVIL = "\x1b]0;owned\x07\x1b[2J\x1b[31m\x9b5nevil\u202eexe.\u2066\r\b\x00\x1b]52;c;cm0gLXJm\x1b\\" + "A" * 10_000
LEFT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def everywhere(value):
    """Return the answer with every text in it made evil, the words that the command line decides on left alone."""
    if isinstance(value, dict):
        return {key: item if key in {"state", "intent", "result"} else everywhere(item) for key, item in value.items()}
    if isinstance(value, list):
        return [everywhere(item) for item in value]
    return EVIL if isinstance(value, str) else value


GPU = {
    "id": "x", "vendor": "x", "index": 0, "uuid": "x", "name": "x", "vram_total_bytes": 1, "vram_used_bytes": 1,
    "vram_free_bytes": 1, "utilization_percent": 1.0, "temperature_celsius": 1.0, "power_watts": 1.0,
    "power_limit_watts": 1.0, "clock_core_mhz": 1, "ecc_uncorrected_errors": 0, "xid_errors": [],
    "throttle_reasons": ["x"], "mig_enabled": False, "processes": [{"pid": 1, "name": "x"}],
}  # fmt: skip
DEPLOYMENT = {
    "id": "x", "target": "x", "model": "x", "origin": "x", "state": "failed", "reason": "x", "runtime": "x",
    "simulated": True, "node": "x", "gpus": ["x"], "port": 1, "engine_id": "x", "engine_url": "x", "attempt": 1,
    "created_at": 1.0, "started_at": 1.0, "ready_at": 1.0, "unhealthy_since": None, "intent": "run", "phase": "x",
    "intent_reason": "x", "pull": None, "trouble": "x", "requests_per_second": 1.0, "error_ratio": None,
    "spec": {
        "image": "x", "args": ["x"], "env": {"x": "x"},
        "mounts": [{"source": "x", "target": "x", "read_only": True}],
        "trust_remote_code": True,
    },
    "decision": {
        "node": "x", "gpus": ["x"], "summary": "x",
        "need": {"gpu_count": 1, "terms": [{"name": "x", "bytes": 1, "formula": "x"}]},
        "verdicts": [{"node": "x", "gpu": "x", "chosen": False, "reason": "x"}],
    },
    "failures": [
        {
            "attempt": 1,
            "exit": {"at": 1.0, "code": 1, "signal": None, "out_of_memory": False, "error": "x"},
            "diagnosis": {"cause": "x", "remedy": "x", "evidence": "x"},
        }
    ],
}  # fmt: skip
LINES = {"items": [{"number": 1, "at": 1.0, "stream": "stdout", "text": "x"}], "next_after": 1}
ENTRY = {
    "id": "x", "aliases": ["x"], "capabilities": ["x"], "parameters": 1, "dtype": "x", "context": 1,
    "default_context": 1, "default_gpus": 1, "vram_bytes": 1, "licence": "x", "gated": False,
    "trust_remote_code": False, "source": "x", "deployed": False,
    "entry": {
        "vllm_args": ["x"],
        "architecture": {
            "layers": 1, "attention_heads": 1, "kv_heads": 1, "head_size": 1, "weight_bytes": 1, "source": "x",
        },
    },
}  # fmt: skip
RECORDS = {
    "items": [{"seq": 1, "at": 1.0, "source": "x", "level": "error", "message": "x", "fields": {"x": "x"}}],
    "next_after": 1, "next_before": 0, "complete": True,
}  # fmt: skip
HISTORY = {
    "id": "x", "model": "x", "node": "x", "ended_at": 1.0, "by": "x", "reason": "x", "last_lines": LINES["items"],
}  # fmt: skip
OVERVIEW = {
    "node": "x", "role": "x", "version": "x", "started_at": 1.0, "api_url": "x", "console_url": "x", "platform": "x",
    "simulated": True, "nodes": 1, "gpus": 1, "gpus_stale": False, "deployments": {"running": 1}, "gateways": 1,
    "connections": 1, "verdict": "degraded", "sentence": "x",
    "reasons": [{"severity": "warning", "cause": "x", "impact": "x", "since": 1.0}],
}  # fmt: skip
KEY = {
    "id": "x", "label": "x", "prefix": "x", "status": "x", "scope": "x", "created_at": 1.0, "last_used_at": None,
}  # fmt: skip
EVENT = {"seq": 1, "at": 1.0, "kind": "x", "message": "x", "level": "x", "by": "x"}
REPORT = {
    "vendor": "x", "hardware_present": True, "installed": True, "version": "x", "toolkit_version": "x",
    "container_toolkit": True, "simulated": False, "issues": [{"code": "x", "message": "x", "fix": "x"}],
}  # fmt: skip


def answers():
    gpu = {"node": "x", "gpu": GPU, "stale": False, "problem": "x", "assigned_to": "x", "deployments": ["x"]}
    plain = {
        "GET /deployments": {"items": [DEPLOYMENT], "next_after": None},
        "GET /deployments/d": DEPLOYMENT,
        "POST /deployments/d/stop": DEPLOYMENT,
        "DELETE /deployments/d": DEPLOYMENT,
        "GET /deployments/d/logs": LINES,
        "GET /logs": RECORDS,
        "GET /history": {"items": [HISTORY], "next_before": "x"},
        "GET /history/d": HISTORY,
        "GET /overview": OVERVIEW,
        "GET /doctor": {"items": [{"name": "x", "result": "warning", "message": "x", "fix": "x"}]},
        "GET /gpus": {"items": [gpu], "problem": "x", "simulated": True},
        "GET /drivers": {"items": [REPORT]},
        "GET /catalog": {"items": [ENTRY], "notes": ["x"], "sources": [], "drift": {}},
        "GET /catalog/m": ENTRY,
        "GET /apikeys": {"items": [KEY], "next_after": None},
        "DELETE /apikeys/k": KEY,
        "POST /targets/preview": {"model": "x", "decisions": [DEPLOYMENT["decision"]]},
        "GET /catalog/wrong": {"error": {"code": "x", "message": "x", "fix": "x", "details": {}}},
    }
    found = {call: everywhere(answer) for call, answer in plain.items()}
    events = iter([{"items": [everywhere(EVENT)], "next_after": 1}])
    found["GET /deployments/d/events"] = lambda: next(events, {"items": [], "next_after": 1})
    return found


VERBS = [
    "ps -a", "status", "doctor", "gpu list", "gpu status", "gpu drivers", "model list", "model show m",
    "container show d", "container events d", "container history", "container history d", "container stop d",
    "container remove d", "logs d", "logs", "config apikey list", "config apikey revoke k --yes",
    "run m --dry-run", "model show wrong",
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with FakeApi(answers()).place(tmp_path_factory.mktemp("evil")) as found:
        yield found


@pytest.mark.parametrize("verb", VERBS)
def test_text_only_in_a_pipe(tmp_path, capsys, verb):
    with FakeApi(answers()).place(tmp_path) as place:
        said = place.here(capsys, *verb.split())
    assert "AAAA" in said.out + said.err, "the text itself is shown"
    assert "\x1b" not in said.out + said.err
    assert not LEFT.search(said.out + said.err)
    assert "owned" not in said.out + said.err


def test_attach_shows_text_only(tmp_path, capsys):
    found = answers()
    found["GET /deployments/d"] = {**found["GET /deployments/d"], "id": "d"}
    lines = iter([found["GET /deployments/d/logs"]])
    found["GET /deployments/d/logs"] = lambda: next(lines, {"items": [], "next_after": 1})
    with FakeApi(found).place(tmp_path) as place:
        said = place.here(capsys, "container", "attach", "d")
    assert said.code == 1
    assert "AAAA" in said.out
    assert not LEFT.search(said.out + said.err)


@pytest.mark.parametrize("verb", ["ps -a", "container show d", "model list", "gpu status", "model show wrong"])
def test_text_only_and_bounded_on_a_terminal(place, verb):
    session = on_terminal(place, *verb.split(), columns=100)
    session.end()
    own = re.sub(r"\x1b\[[0-9;]*m", "", session.text)
    assert "\x1b" not in own, "nothing but our own colours"
    assert not LEFT.search(own)
    assert "A" * 5000 not in own.replace("\r\n", "").replace(" ", ""), "a name of 10,000 characters is cut"


def test_json_shows_no_raw_control_either(tmp_path, capsys):
    with FakeApi(answers()).place(tmp_path) as place:
        said = place.here(capsys, "ps", "--json")
    assert not LEFT.search(said.out)
    assert json.loads(said.out)["items"][0]["model"] == EVIL, "and means the same"
