"""A worker that is told by its config.json where its control plane is, and a secret that both know."""

from pathlib import Path

from cluster_kit import call, cluster_in
from daemon_under_test import wait_until

SECRET = {"cluster": {"sharedSecret": "correct horse battery staple"}}


def test_the_shared_secret_introduces_a_node(tmp_path: Path) -> None:
    with cluster_in(tmp_path, ["worker-a"], SECRET) as cluster:
        control, worker = cluster.control, cluster.workers["worker-a"]
        cluster.start()
        known = {
            **worker.config["cluster"],
            "role": "worker",
            "controlPlaneUrl": f"https://127.0.0.1:{control.config['cluster']['port']}",
        }
        worker.write_config({**worker.config, "cluster": {**known, "sharedSecret": "another secret of that length"}})
        worker.start()
        wait_until(
            "the worker says why it is not taken in",
            lambda: "does not know the shared secret" in worker.log.read_text(),
            said=worker.words,
        )
        assert not call(worker, "GET", "/cluster")["joined"]
        assert list(cluster.nodes()) == ["control-a"]
        assert worker.stop() == 0
        worker.write_config({**worker.config, "cluster": {**known, **SECRET["cluster"]}})
        worker.start()
        cluster.wait_liveness("worker-a", "ready")
        wait_until("the worker knows it", lambda: call(worker, "GET", "/cluster")["joined"], said=worker.words)
        stored = (worker.state_dir / "cluster" / "membership.json").read_text()
        assert SECRET["cluster"]["sharedSecret"] not in stored
