"""Puts together what a launch needs from the present facts of this node."""

from collections.abc import Callable

from modelgrid.decide.launch import LaunchSettings, engine_launch
from modelgrid.decide.need import gpu_memory_utilization
from modelgrid.domain.deployment import Deployment
from modelgrid.domain.engine import EngineLaunch, GpuBinding
from modelgrid.domain.errors import LaunchRefused
from modelgrid.domain.gpu import GpuInventory
from modelgrid.domain.ids import DeploymentId
from modelgrid.domain.model import Capability, CatalogEntry
from modelgrid.services.targets import TargetService


class Launches:
    def __init__(
        self,
        *,
        find: Callable[[str], CatalogEntry | None],
        targets: TargetService,
        inventory: Callable[[], GpuInventory],
        settings: LaunchSettings,
        check_start: Callable[[DeploymentId], None] = lambda _: None,
    ) -> None:
        """`check_start` raises for a deployment that must not be started at present."""
        self._check_start = check_start
        self._find = find
        self._targets = targets
        self._inventory = inventory
        self._settings = settings

    def configure(self, settings: LaunchSettings) -> None:
        """Start engines by other settings from now on; those that run are left alone."""
        self._settings = settings

    def launch(self, deployment: Deployment) -> EngineLaunch:
        """Return the launch of the deployment's present attempt.

        Raises `LaunchRefused` when a GPU it was placed on is not there any more."""
        placement = deployment.placement
        if placement is None or deployment.port is None:
            raise AssertionError(f"{deployment.id} has no placement or no port, and is being launched")
        self._check_start(deployment.id)
        present = {gpu.id: gpu for gpu in self._inventory().gpus}
        missing = [gpu for gpu in placement.gpus if gpu not in present]
        if missing:
            raise LaunchRefused(
                f"{', '.join(missing)} is not there any more.", fix="`modelgrid gpu drivers` tells what is wrong."
            )
        gpus = [present[gpu] for gpu in placement.gpus]
        need = placement.decision.need
        largest = max((gpu.vram_total_bytes for gpu in gpus), default=0)
        return engine_launch(
            deployment,
            self._find(deployment.model),
            tuple(GpuBinding(id=gpu.id, vendor=gpu.vendor, index=gpu.index, uuid=gpu.uuid) for gpu in gpus),
            self._settings,
            self._targets.opened_env(deployment.spec),
            attempt=deployment.attempt,
            port=deployment.port,
            utilization=gpu_memory_utilization(need, largest) if gpus else None,
            reserved_bytes=need.per_gpu_bytes,
        )

    def names(self, deployment: Deployment) -> tuple[str, tuple[Capability, ...]]:
        """Return the name a deployment's engine serves, and what it is able to do (empty: not known)."""
        entry = self._find(deployment.model)
        return (entry.id, entry.capabilities) if entry else (deployment.model, ())
