"""What each origin allows, enforced by the API: every change of a target and of a deployment, for each of the three."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from daemon_under_test import SMALL, DaemonUnderTest, daemon_in

from modelgrid.domain.errors import Conflict

OF_CONFIG, OF_CATALOG, OF_API = SMALL, "Qwen/Qwen3-0.6B", "Qwen/Qwen3-1.7B"
NAMES = {"config": "chat", "catalog": OF_CATALOG, "api": OF_API}

Act = Callable[[DaemonUnderTest, str, str], Any]
ACTIONS: dict[str, Act] = {
    "stop": lambda daemon, _, item: daemon.client.act(item, "stop"),
    "start": lambda daemon, _, item: daemon.client.act(item, "start"),
    "restart": lambda daemon, _, item: daemon.client.act(item, "restart"),
    "scale": lambda daemon, target, _: daemon.client.scale_target(target, {"replicas": 1}),
    "put": lambda daemon, target, _: daemon.client.put_target(target, {"replicas": 1, "context": 2048}),
    "remove": lambda daemon, _, item: daemon.client.remove_deployment(item),
    "delete": lambda daemon, target, _: daemon.client.delete_target(target),
}
"""In this order one target lives through all of them; the last two end it."""
ALLOWED_TO_CONFIG = {"stop", "start", "restart"}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonUnderTest]:
    config = {"containers": [{"name": "chat", "model": OF_CONFIG}], "models": {"autoLoad": [OF_CATALOG]}}
    with daemon_in(tmp_path_factory.mktemp("daemon"), config) as made:
        made.start()
        made.client.put_target(OF_API, {})
        for target in NAMES.values():
            made.wait_for({"running": 1}, target)
        yield made


@pytest.mark.parametrize("origin", NAMES)
@pytest.mark.parametrize("action", [name for name in ACTIONS if name != "delete"])
def test_what_an_origin_allows(daemon: DaemonUnderTest, action: str, origin: str) -> None:
    target = NAMES[origin]
    item = [one for one in daemon.deployments(target) if one["intent"] != "remove"][-1]
    assert item["origin"] in (origin, "api"), "what somebody puts is the API's from then on"
    allowed = origin != "config" or action in ALLOWED_TO_CONFIG
    if allowed:
        assert ACTIONS[action](daemon, target, item["id"])
        return
    with pytest.raises(Conflict) as refused:
        ACTIONS[action](daemon, target, item["id"])
    assert refused.value.status == 409
    assert "config.json" in refused.value.message
    assert refused.value.fix
    assert refused.value.details["origin"] == "config"


@pytest.mark.parametrize("origin", NAMES)
def test_whose_target_may_be_deleted(daemon: DaemonUnderTest, origin: str) -> None:
    target = NAMES[origin]
    if origin == "config":
        with pytest.raises(Conflict) as refused:
            daemon.client.delete_target(target)
        assert refused.value.details["origin"] == "config"
        assert target in {item["name"] for item in daemon.client.list_targets()["items"]}
        return
    if target not in {item["name"] for item in daemon.client.list_targets()["items"]}:
        daemon.client.put_target(target, {"replicas": 0})  # the last deployment took it along
    daemon.client.delete_target(target)
    assert target not in {item["name"] for item in daemon.client.list_targets()["items"]}
