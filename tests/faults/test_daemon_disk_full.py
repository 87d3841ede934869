"""R3 with the whole daemon: changes are refused as 507, reading and serving go on, and it heals by itself."""

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

import httpx
import openai
import pytest
from daemon_under_test import MESSAGES, SMALL, DaemonUnderTest, daemon_in, wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[DaemonUnderTest]:
    """Its state lies on the small disk, and the test's record of its words does not."""
    folder = Path(tempfile.mkdtemp(prefix="mg-disk-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    try:
        if mounted.returncode != 0:
            pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
        try:
            with daemon_in(tmp_path) as daemon:
                daemon.state_dir = folder / "state"
                daemon.start()
                yield daemon
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)
    finally:
        folder.rmdir()


def fill(folder: Path) -> Path:
    ballast = folder / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for chunk in (64 * 1024, 4096, 1):
            try:
                while True:
                    file.write(b"\0" * chunk)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
    return ballast


def test_a_full_disk_stops_changes_and_nothing_else(
    daemon: DaemonUnderTest, capsys: pytest.CaptureFixture[str]
) -> None:
    (item,) = daemon.run()
    control, gateways, engines = daemon.control_pid, daemon.gateway_pids, daemon.engine_pids()
    known = {key["id"] for key in daemon.client.list_api_keys()["items"]}
    ballast = fill(daemon.state_dir)
    refused = None
    for number in range(2000):
        response = httpx.post(
            f"{daemon.console_url}/v1/_ui/apikeys",
            json={"label": f"k{number}"},
            headers=daemon.headers,
            trust_env=False,
        )
        if response.status_code != 201:
            refused = response
            break
        known.add(response.json()["id"])
    assert refused is not None, "the log that was there before took all of them"
    assert refused.status_code == 507, refused.text
    assert refused.json()["error"]["code"] == "storage_full"
    assert refused.json()["error"]["fix"]
    for method, path, body in (
        ("PUT", f"targets/{SMALL}", {"replicas": 2}),
        ("POST", f"deployments/{item['id']}/stop", None),
        ("DELETE", f"deployments/{item['id']}", None),
        ("POST", "nodes/here/cordon", None),
        ("PATCH", "config", {"api": {"rateLimit": 5}}),
    ):
        response = httpx.request(
            method,
            f"{daemon.console_url}/v1/_ui/{path}",
            json=body,
            headers=daemon.headers,
            trust_env=False,
            timeout=30,
        )
        assert response.status_code == 507, (path, response.text)
    with daemon.openai() as client:
        for _ in range(3):
            assert client.chat.completions.create(model=SMALL, messages=MESSAGES, max_tokens=2).choices
    assert {key["id"] for key in daemon.client.list_api_keys()["items"]} == known, "what was refused is not there"
    assert daemon.deployments(SMALL)[0]["state"] == "running"
    assert daemon.client.show_config()["config"]["api"]["rateLimit"] is None
    assert [path.name for path in daemon.folder.glob("*config.json*")] == ["config.json"]
    # The gateway's reports come once a second and say when keys were used, which cannot be written now.
    wait_until("a report was refused", lambda: "not taken over" in daemon.log.read_text(), 20)
    assert (daemon.control_pid, daemon.gateway_pids, daemon.engine_pids()) == (control, gateways, engines)

    ballast.unlink()
    daemon.client.put_target(SMALL, {"replicas": 2})
    daemon.wait_for({"running": 2}, target=SMALL)
    daemon.clear()
    assert daemon.control_pid == control, "it healed without a restart"
    with capsys.disabled():
        print(f"\nR3: disk full: 507 after {len(known)} keys, served on, healed")


def test_an_engine_that_dies_while_the_disk_is_full_returns_when_there_is_room(daemon: DaemonUnderTest) -> None:
    daemon.run()
    before = daemon.engine_pids()
    ballast = fill(daemon.state_dir)
    (deployment, pid) = next(iter(before.items()))
    os.kill(pid, 9)
    with daemon.openai() as client, pytest.raises(openai.APIStatusError):
        client.with_options(timeout=5).chat.completions.create(model=SMALL, messages=MESSAGES)
    ballast.unlink()
    wait_until(
        "it runs again",
        lambda: [d for d in daemon.deployments(SMALL) if d["state"] == "running" and d["attempt"] >= 2],
        40,
        daemon.words,
    )
    assert list(daemon.engine_pids()) == [deployment]
    daemon.clear()
