"""The test bed itself: the parts are real, they work together, and setting up again changes nothing."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from engines_bed import SETUP, EnginesInfo, docker_config, docker_target, process_config, set_up, unavailable
from testbed import containers, image, registry
from testbed.common import Daemon
from testbed.failures import FAILURES, FIXTURES, Failure, provoke

from modelgrid.adapters.mounts import check_mounts
from modelgrid.api.targets import TargetBody, to_request
from modelgrid.config.model import Config
from modelgrid.decide.catalog import decode
from modelgrid.decide.spec_rules import check_spec

pytestmark = pytest.mark.engines

SEEN_END_TO_END = frozenset({"context_exceeds_kv_cache", "missing_model_folder"})
"""Failures that `test_process_vllm.py` provokes through the daemon; a start of vLLM costs half a minute."""


def docker(bed: EnginesInfo, *arguments: str) -> str:
    done = subprocess.run(
        ["docker", "-H", f"unix://{bed.docker_socket}", *arguments], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, f"docker {' '.join(arguments[:2])}: {done.stderr}"
    return done.stdout.strip()


@contextlib.contextmanager
def image_to_pull(bed: EnginesInfo) -> Iterator[str]:
    """An image of which the engine has not all layers, removed from it in the end."""
    name = image.make_unpulled(f"modelgrid-test/pull-{os.getpid()}", (6_000_000, 3_000_000))
    try:
        yield name
    finally:
        docker(bed, "image", "rm", "--force", name)


def test_the_image_has_what_vllm_needs_from_the_system(container_bed: EnginesInfo) -> None:
    assert container_bed.python_image is not None
    program = """
import ctypes, sqlite3, ssl, subprocess
for name in ("libgomp.so.1", "libnuma.so.1"):
    ctypes.CDLL(name)
source = b"#include <stdio.h>\\nint main(){return 7;}"
subprocess.run(["gcc", "-x", "c", "-o", "/tmp/program", "-"], input=source, check=True)
print(subprocess.run(["/tmp/program"]).returncode)
"""
    assert docker(container_bed, "run", "--rm", container_bed.python_image, "python3", "-c", program) == "7"


def test_a_pull_transfers_layers_and_reports_progress(container_bed: EnginesInfo) -> None:
    transport = httpx.HTTPTransport(uds=str(container_bed.docker_socket))
    with image_to_pull(container_bed) as name, httpx.Client(transport=transport, timeout=120) as client:
        url = "http://docker/images/create"
        repository, _, tag = name.rpartition(":")
        with client.stream("POST", url, params={"fromImage": repository, "tag": tag}) as answer:
            assert answer.status_code == 200
            reports = [json.loads(line) for line in answer.iter_lines() if line]
        assert not [report for report in reports if "error" in report]
        sizes = {
            report["id"]: report["progressDetail"]["total"]
            for report in reports
            if report.get("status") == "Downloading"
        }
        assert {6_000_000, 3_000_000} == {round(size, -6) for size in sizes.values() if size < 10_000_000}, sizes
        complete = {report["id"] for report in reports if report.get("status") == "Pull complete"}
        assert set(sizes) <= complete
        size = docker(container_bed, "run", "--rm", name, "stat", "-c", "%s", "/opt/random-0")
        assert size == "6000000"


def test_podman_runs_the_same_image(podman_bed: EnginesInfo) -> None:
    assert podman_bed.podman_socket is not None
    assert podman_bed.python_image is not None
    name = f"modelgrid-testbed-{os.getpid()}"
    repository, _, tag = podman_bed.python_image.rpartition(":")
    transport = httpx.HTTPTransport(uds=str(podman_bed.podman_socket))
    with httpx.Client(transport=transport, timeout=120, base_url="http://podman/v1.41") as client:
        pull = client.post("/images/create", params={"fromImage": repository, "tag": tag})
        assert '"error"' not in pull.text, pull.text[-500:]
        spec = {"Image": podman_bed.python_image, "Cmd": ["python3", "-c", "raise SystemExit(5)"]}
        created = client.post("/containers/create", params={"name": name}, json=spec)
        assert created.status_code == 201, created.text
        try:
            started = client.post(f"/containers/{name}/start")
            assert started.status_code == 204, started.text
            assert client.post(f"/containers/{name}/wait").json()["StatusCode"] == 5
        finally:
            client.delete(f"/containers/{name}", params={"force": "true"})


@pytest.mark.parametrize(
    "failure", [each for each in FAILURES if each.core and each.name not in SEEN_END_TO_END], ids=lambda each: each.name
)
def test_vllm_fails_as_it_was_recorded(vllm_bed: EnginesInfo, failure: Failure, tmp_path: Path) -> None:
    outcome = provoke(failure, tmp_path)
    assert (outcome.code, outcome.signal) == (failure.code, failure.signal), "\n".join(outcome.lines[-20:])
    assert any(failure.cause in line for line in outcome.lines), "\n".join(outcome.lines[-40:])


@pytest.mark.parametrize("failure", FAILURES, ids=lambda each: each.name)
def test_the_recording_shows_the_cause(failure: Failure) -> None:
    recorded = (FIXTURES / f"{failure.name}.txt").read_text()
    assert failure.cause in recorded
    assert str(Path.home()) not in recorded
    known = json.loads((FIXTURES / "index.json").read_text())[failure.name]
    assert (known["code"], known["signal"]) == (failure.code, failure.signal)


def test_setting_up_again_does_nothing() -> None:
    parts = ("docker", "podman", "registry", "image", "vllm", "vllm-image", "model")
    before = set_up(*parts)
    began = time.monotonic()
    done = subprocess.run([sys.executable, SETUP, *parts, "--json"], check=False, capture_output=True, text=True)
    took = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    assert "•" not in done.stderr, f"a step was done again:\n{done.stderr}"
    assert set_up("status") == before
    assert took < 10, f"{took:.1f} s to find that everything is there"


def test_what_pip_cannot_get_is_missing_and_said(tmp_path: Path) -> None:
    env = {
        **os.environ,
        "MODELGRID_ENGINES_DIR": str(tmp_path / "engines"),
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path),
    }
    done = subprocess.run([sys.executable, SETUP, "vllm"], check=False, capture_output=True, text=True, env=env)
    assert done.returncode == 3, done.stderr
    assert "missing: pip finds no CPU build of PyTorch" in done.stderr


def test_what_is_missing_skips_or_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODELGRID_REQUIRE_ENGINES", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no such thing"):
        unavailable("no such thing")
    monkeypatch.setenv("MODELGRID_REQUIRE_ENGINES", "1")
    with pytest.raises(pytest.fail.Exception, match="no such thing"):
        unavailable("no such thing")


def test_stop_ends_what_it_started_and_no_stranger(tmp_path: Path) -> None:
    ours = Daemon("sleeper", tmp_path)
    ours.start(["sleep", "60"])
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        (tmp_path / "stranger.pid.json").write_text(json.dumps({"pid": stranger.pid, "started": 1}))
        assert not Daemon("stranger", tmp_path).stop()
        assert stranger.poll() is None
        assert Daemon("sleeper", tmp_path).stop()
        assert not ours.alive()
        assert not Daemon("sleeper", tmp_path).stop()
    finally:
        stranger.kill()
        stranger.wait()


def test_a_socket_where_nobody_answers_is_no_engine(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    assert containers.engine_version(path) is None
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        assert containers.engine_version(path) is None


def test_the_registry_tells_which_recipe_made_an_image(container_bed: EnginesInfo) -> None:
    assert image.ready(image.PYTHON)
    assert not registry.has("modelgrid-test/absent", "1")
    assert registry.labels("modelgrid-test/absent", "1") == {}


def test_the_values_for_end_to_end_tests_are_accepted(vllm_container_bed: EnginesInfo) -> None:
    bed = vllm_container_bed
    assert bed.vllm is not None
    for config in (process_config(bed, port=8080, ui_port=8081), docker_config(bed, port=8080, ui_port=8081)):
        parsed = Config.model_validate_json(json.dumps(config))
        assert [source.url for source in parsed.models.sources] == [str(bed.vllm.catalog)]
    (entry,) = decode(bed.vllm.catalog.read_bytes(), source="testbed")
    assert (entry.id, entry.location) == (bed.vllm.model_id, str(bed.vllm.model))
    request = to_request(entry.id, TargetBody.model_validate_json(json.dumps(docker_target(bed))))
    check_spec(request.spec)
    allowed = [Path(path) for path in docker_config(bed, port=8080, ui_port=8081)["docker"]["allowedMounts"]]
    assert len(check_mounts(request.spec.mounts, allowed)) == len(bed.vllm.mounts)
