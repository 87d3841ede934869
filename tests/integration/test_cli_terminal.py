"""The command line on a terminal: progress that moves, lines that remain, Ctrl-C, width and colour."""

import itertools
import re
import subprocess
import time

import pytest
from cli_kit import PROGRAM, FakeApi, on_terminal

GIB = 1024**3
NOW = time.time()
NAME = "qwen3-8b-abcdef"
MODEL = "Qwen/Qwen3-8B"


def deployment(**more):
    return {
        "id": NAME, "target": MODEL, "model": MODEL, "origin": "api", "state": "pending", "reason": "not placed yet",
        "runtime": "docker", "simulated": False, "node": None, "gpus": [], "port": None, "engine_id": None,
        "engine_url": None, "attempt": 1, "created_at": NOW - 100, "started_at": None, "ready_at": None,
        "unhealthy_since": None, "intent": "run", "intent_reason": "", "phase": "", "pull": None, "trouble": "",
        "requests_per_second": 12.5, "error_ratio": 0.002, **more,
    }  # fmt: skip


def target(*deployments, running=0, replicas=1):
    return {"name": MODEL, "model": MODEL, "replicas": replicas, "running": running, "deployments": list(deployments)}


def pulling(done: int):
    layers = [
        {"id": "a", "status": "Downloading", "done_bytes": done, "total_bytes": 4 * GIB},
        {"id": "b", "status": "Pull complete", "done_bytes": GIB, "total_bytes": GIB},
    ]
    pull = {"image": "vllm/vllm-openai:latest", "layers": layers}
    return deployment(state="pulling", reason="the image is being pulled", node="a", gpus=["nvidia-0"], pull=pull)


def loading(phase: str):
    return deployment(state="starting", reason="the engine loads", node="a", gpus=["nvidia-0"], phase=phase)


RUNNING = deployment(state="running", reason="answers", node="a", gpus=["nvidia-0"], ready_at=NOW - 87.5, port=20000)


class Story:
    """Answers for a target, one after the other; the last stays."""

    def __init__(self, *chapters: tuple[int, dict]) -> None:
        self._answers = itertools.chain.from_iterable(itertools.repeat(answer, times) for times, answer in chapters)
        self._last = chapters[-1][1]

    def __call__(self):
        return next(self._answers, self._last)


@pytest.fixture
def api():
    return FakeApi({f"PUT /targets/{MODEL}": target(), "GET /overview": {"api_url": "http://127.0.0.1:8080/v1"}})


def last_screen(text: str) -> str:
    """Return text without control sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_run_shows_the_pull_and_the_load_and_its_lines_remain(api, tmp_path):
    steps = [(2, target(pulling(i * GIB // 4))) for i in range(6)]
    story = Story(*steps, (4, target(loading("loading weights 50 % (2 of 4)"))), (1, target(RUNNING, running=1)))
    api.answers[f"GET /targets/{MODEL}"] = story
    with api.place(tmp_path) as place:
        run = on_terminal(place, "run", MODEL)
        run.expect("layer 1 of 2")
        run.expect("/s")
        run.expect("left")
        run.expect("loading weights 50 % (2 of 4)")
        assert run.end() == 0
    shown = last_screen(run.text)
    order = [shown.index(part) for part in (f"◐ pulling  {NAME}", f"◐ starting  {NAME}", f"● running  {NAME}")]
    assert order == sorted(order)
    assert "ready after 12s" in shown
    assert f"{MODEL} answers at http://127.0.0.1:8080/v1" in shown


def test_ctrl_c_leaves_the_work_running_and_says_how_to_go_on(api, tmp_path):
    api.answers[f"GET /targets/{MODEL}"] = target(loading("loading weights"))
    with api.place(tmp_path) as place:
        run = on_terminal(place, "run", MODEL)
        run.expect("loading weights")
        run.send("\x03")
        assert run.end() == 130
    shown = last_screen(run.text)
    for line in ("It goes on without you", "modelgrid ps", f"logs -f {NAME}", f"container remove {NAME}"):
        assert line in shown
    assert "Traceback" not in shown
    assert not [call for call in api.asked if call.startswith(("DELETE", "POST"))], "nothing was taken back"


def test_an_engine_that_fails_ends_it_with_the_cause(api, tmp_path):
    failed = deployment(state="failed", node="a", reason="the GPU ran out of memory; given up")
    api.answers[f"GET /targets/{MODEL}"] = Story((2, target(loading("loading"))), (1, target(failed)))
    with api.place(tmp_path) as place:
        run = on_terminal(place, "run", MODEL)
        assert run.end() == 1
        shown = last_screen(run.text)
        assert "Error: qwen3-8b-abcdef is failed: the GPU ran out of memory" in shown
        assert f"modelgrid logs {NAME}" in shown
        piped = place.piped("run", MODEL, "--wait", "--json")
    assert piped.code == 1
    assert piped.out == ""
    assert piped.error["details"] == {"deployment": NAME, "state": "failed"}


def test_waiting_can_be_bounded(api, tmp_path):
    api.answers[f"GET /targets/{MODEL}"] = target(loading("loading weights"))
    with api.place(tmp_path) as place:
        said = place.piped("run", MODEL, "--wait", "--timeout", "1")
    assert said.code == 1
    assert "loading weights" in said.err
    assert "It goes on" in said.err


@pytest.mark.parametrize("columns", [60, 80, 120, 160])
def test_tables_fit_the_window(api, tmp_path, columns):
    waits = deployment(reason="no GPU has 41.9 GiB free; " * 5, id="meta-llama-3-1-405b-instruct-fp8-abcdef")
    api.answers["GET /deployments"] = {"items": [RUNNING, waits], "next_after": None}
    with api.place(tmp_path) as place:
        ps = on_terminal(place, "ps", columns=columns)
        assert ps.end() == 0
    lines = last_screen(ps.text).splitlines()
    assert max(map(len, lines)) <= columns
    assert not [line for line in lines if line != line.rstrip()]
    assert "no GPU has 41.9 GiB free" in " ".join(line.strip() for line in lines)


def test_colour_is_for_terminals_that_want_it(api, tmp_path):
    api.answers["GET /deployments"] = {"items": [RUNNING], "next_after": None}
    with api.place(tmp_path) as place:
        coloured = on_terminal(place, "ps")
        coloured.end()
        plain = on_terminal(place, "ps", NO_COLOR="1")
        plain.end()
        piped = place.piped("ps")
    assert "\x1b[32m" in coloured.text
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", plain.text)
    assert "\x1b" not in piped.out


def test_a_reader_that_has_seen_enough_is_no_error(api, tmp_path):
    items = [deployment(id=f"deployment-{number}") for number in range(5000)]
    api.answers["GET /deployments"] = {"items": items, "next_after": None}
    with api.place(tmp_path) as place:
        pipe = subprocess.Popen(
            [*PROGRAM, "ps"], env=place.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert pipe.stdout is not None
        pipe.stdout.readline()
        pipe.stdout.close()
        assert pipe.stderr is not None
        said = pipe.stderr.read()
        pipe.wait(30)
        pipe.stderr.close()
    assert said == ""


def test_names_that_the_encoding_lacks_are_no_reason_to_fail(api, tmp_path):
    api.answers["GET /deployments"] = {"items": [RUNNING], "next_after": None}
    with api.place(tmp_path) as place:
        said = place.piped("ps", PYTHONIOENCODING="ascii")
    assert said.code == 0
    assert NAME in said.out


def test_empty_states_say_the_next_command(api, tmp_path, capsys):
    api.answers |= {
        "GET /deployments": {"items": [], "next_after": None},
        "GET /history": {"items": [], "next_before": None},
        "GET /apikeys": {"items": [], "next_after": None},
        "GET /gpus": {"items": [], "problem": "", "simulated": False},
        "GET /drivers": {"items": []},
        "GET /catalog": {"items": [], "notes": ["Catalog registry does not answer."], "sources": [], "drift": {}},
    }
    hints = {
        "ps": "modelgrid run MODEL",
        "container history": "modelgrid ps",
        "config apikey list": "modelgrid config apikey generate --label NAME",
        "gpu list": "modelgrid gpu drivers",
        "gpu drivers": "modelgrid gpu drivers --all",
        "model list": "modelgrid model list",
    }
    with api.place(tmp_path) as place:
        for verb, hint in hints.items():
            said = place.here(capsys, *verb.split())
            assert (said.code, said.out) == (0, ""), verb
            assert hint in said.err


def test_a_key_for_a_model_that_nobody_knows_comes_with_a_word(api, tmp_path, capsys):
    api.answers["POST /apikeys"] = {"id": "key-1", "label": "x", "prefix": "mg-1", "secret": "mg-1234"}
    api.answers["GET /catalog/known"] = {"id": "known"}
    api.answers["GET /targets/ours"] = target()
    with api.place(tmp_path) as place:
        asked = ["config", "apikey", "generate", "--label", "x", "--model", "known", "--model", "ours"]
        assert "Until something of that name" not in place.here(capsys, *asked).err
        said = place.here(capsys, *asked, "--model", "typo")
    assert (said.code, said.out) == (0, "mg-1234\n")
    assert "no /catalog/typo" in said.err
    assert "Until something of that name is deployed" in said.err
