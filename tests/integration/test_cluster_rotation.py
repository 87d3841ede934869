"""A node's credential is changed while its gateway sends requests on to another node: no client notices."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from cluster_kit import ClusterUnderTest, call, cluster_in
from daemon_under_test import SMALL, DaemonUnderTest, wait_until
from traffic import Steady

from modelgrid.adapters.store_sql import open_store
from modelgrid.services.cluster.credential import SETTLE_SECONDS

CHANGES = 2


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterUnderTest]:
    with cluster_in(tmp_path_factory.mktemp("cluster")) as made:
        made.start()
        made.join("worker-a")
        made.join("worker-b")
        yield made


async def let_all_be_old(control: DaemonUnderTest) -> None:
    """Have the control plane find every credential a day old when it starts."""
    store = await open_store(f"sqlite:///{control.state_dir}/state.db")
    try:
        await store.put_members([replace(member, rotated_at=0.0) for member in await store.members()])
    finally:
        await store.close()


def credentials(cluster: ClusterUnderTest) -> dict[str, str]:
    """Return what each worker would show its control plane after a restart."""
    return {
        name: json.loads((worker.state_dir / "cluster" / "membership.json").read_text())["credential"]
        for name, worker in cluster.workers.items()
    }


def test_no_request_is_refused_while_the_credentials_of_the_nodes_change(cluster: ClusterUnderTest) -> None:
    control, entrance = cluster.control, cluster.workers["worker-a"]
    call(control, "PUT", f"/targets/{SMALL}", {"replicas": 1, "node": "worker-b"})
    control.wait_for({"running": 1}, target=SMALL)
    entrance.use_key(control.key)
    entrance.wait_routed(SMALL)
    with Steady(entrance) as steady:
        for _ in range(CHANGES):
            before, answers = credentials(cluster), steady.answers
            assert control.stop() == 0, cluster.words()
            asyncio.run(let_all_be_old(control))
            control.start()

            def changed(old: dict[str, str] = before) -> bool:
                return all(new != old[name] for name, new in credentials(cluster).items())

            wait_until("both workers have another credential", changed, 2 * SETTLE_SECONDS + 30, cluster.words)
            for name in cluster.workers:
                cluster.wait_liveness(name, "ready")
            assert steady.answers > answers
    print(f"\n{steady.answers} answers")
    assert not steady.failures, steady.failures[:3]
    assert "Traceback" not in "".join(daemon.log.read_text() for daemon in (control, *cluster.workers.values()))
