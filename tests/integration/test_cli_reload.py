"""`modelgrid service reload`: what waits for a restart holds after it, and engines go on."""

import json
import subprocess
from collections.abc import Callable

from cli_kit import PROGRAM
from daemon_under_test import SMALL, DaemonUnderTest


def test_reload_applies_what_waits_and_keeps_engines(new_daemon: Callable[..., DaemonUnderTest]) -> None:
    daemon = new_daemon()
    daemon.start()
    daemon.client.put_target(SMALL, {})
    (item,) = daemon.wait_for({"running": 1}, SMALL)
    before = daemon.client.overview()["started_at"]
    daemon.client.patch_config({"api": {"workers": 2}})
    assert [change["path"] for change in daemon.client.show_config()["pending_restart"]] == ["api.workers"]
    words = [*PROGRAM, "service", "reload", "--json", "--state-dir", str(daemon.state_dir)]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["started_at"] > before
    assert (said["applied"], said["pending_restart"]) == (["api.workers"], [])
    (after,) = daemon.deployments(SMALL)
    assert (after["engine_id"], after["state"]) == (item["engine_id"], "running")
