"""Targets: what is desired. Checks what people ask for, and seeds what the configuration asks for."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from modelgrid.config.model import Config, ContainerConfig
from modelgrid.decide.launch import check_launchable
from modelgrid.decide.spec_rules import check_constraints, check_name, check_spec
from modelgrid.domain.deployment import Deployment, Intent
from modelgrid.domain.errors import Conflict, InvalidInput, ModelGridError, NotFound
from modelgrid.domain.event import Subject
from modelgrid.domain.ids import GpuId, ModelId, NodeName
from modelgrid.domain.model import CatalogEntry
from modelgrid.domain.target import Constraints, EngineSpec, Mount, Origin, RuntimeKind, Target
from modelgrid.ports.clock import Clock
from modelgrid.ports.secrets import Secrets
from modelgrid.ports.store import Store
from modelgrid.services.catalog import CatalogService
from modelgrid.services.events import EventMaker, Notifier

MAX_REPLICAS = 64
AUTO_LOAD = "models.autoLoad"
"""Who changed a target last, while that is the list: what anybody else has changed is not the list's any more."""
JOINED = "a node that joined"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetRequest:
    """What somebody asks for. Environment values are plain here and sealed before they are stored."""

    model: str
    replicas: int = 1
    spec: EngineSpec = field(default_factory=EngineSpec)
    constraints: Constraints = field(default_factory=Constraints)


class TargetService:
    """The one writer of targets. `load` comes first.

    `check_mounts` raises a `ModelGridError` for folders that engines of this machine may not see; it may block on the
    disk. It is asked when a target is made, so that a refusal does not wait for the start."""

    def __init__(
        self,
        store: Store,
        catalog: CatalogService,
        clock: Clock,
        secrets: Secrets,
        *,
        check_mounts: Callable[[Sequence[Mount]], object],
        local: NodeName | None = None,
    ) -> None:
        """`local` is this node's name, where it may be one of several."""
        self._store = store
        self._check_mounts = check_mounts
        self._local = local
        self._catalog = catalog
        self._clock = clock
        self._secrets = secrets
        self._event = EventMaker(clock, Subject.TARGET)
        self._targets: dict[str, Target] = {}
        self._of_files: defaultdict[NodeName | None, set[str]] = defaultdict(set)
        """What config.json of each node asks for: looked at with each of its heartbeats."""
        self.changed = Notifier()
        self.together = asyncio.Lock()
        """Held while a target and its deployments change together, so that nobody reconciles in between."""

    async def load(self) -> None:
        found = await self._store.targets()
        self._targets.clear()
        self._of_files.clear()
        for target in found:
            self._keep(target)

    def all(self) -> tuple[Target, ...]:
        return tuple(sorted(self._targets.values(), key=lambda target: target.name))

    def find(self, name: str) -> Target | None:
        """Return a target by its name."""
        return self._targets.get(name)

    def entry_of(self, model: str) -> CatalogEntry:
        """Return the catalog entry of a model by id or alias. Raises `NotFound` with near names."""
        return self._catalog.entry(model)

    def get(self, name: str) -> Target:
        """Return a target by its name or by an alias of its model. Raises `NotFound`."""
        if target := self._targets.get(name):
            return target
        entry = self._catalog.find(name)
        if entry is not None and (target := self._targets.get(entry.id)):
            return target
        raise NotFound(f"Nothing is desired for {name!r}.", fix="`modelgrid run` deploys a model.")

    def revision(self, name: str) -> int:
        """Return the revision of a target by its name or by an alias of its model; 0 when there is none."""
        try:
            return self.get(name).revision
        except NotFound:
            return 0

    async def ensure(self, request: TargetRequest, *, by: str, expected_revision: int | None = None) -> Target:
        """Create or change the target of a model. Asking for what is desired already changes nothing.

        Raises `NotFound` (unknown model), `InvalidInput` (what is asked is not allowed), `Conflict` (the target
        comes from config.json, or is not at `expected_revision`)."""
        named = self._targets.get(request.model)
        if named is not None:  # a container of config.json has a name of its own, which no catalog knows
            _editable(named)
        entry = self.entry_of(request.model)
        await self.check(request)
        present = self._targets.get(entry.id)
        if present is not None:
            _editable(present)
        return await self._put(entry.id, entry.id, request, Origin.API, by, expected_revision)

    async def scale(self, name: str, replicas: int, *, by: str, expected_revision: int | None = None) -> Target:
        present = self.get(name)
        _editable(present)
        _check_replicas(replicas)
        if replicas == present.replicas:
            return present
        changed = replace(present, replicas=replicas, updated_at=self._clock.now(), updated_by=by)
        said = f"scaled from {present.replicas} to {replicas}"
        return await self._save(changed, "scaled", said, by, expected_revision)

    async def remove(self, name: str, *, by: str, expected_revision: int | None = None) -> Target:
        """Delete a target; its deployments drain and end. Raises `NotFound`, `Conflict`."""
        present = self.get(name)
        _editable(present)
        await self._delete(present, by, expected_revision)
        return present

    async def want(self, model: str) -> None:
        """Deploy a model because a request named it (`models.autoDeploy`)."""
        entry = self._catalog.find(model)
        if entry is None or entry.id in self._targets:
            return
        await self._put(entry.id, entry.id, TargetRequest(model=entry.id), Origin.CATALOG, "models.autoDeploy", 0)

    async def seed(self, config: Config) -> tuple[str, ...]:
        """Bring the targets that the configuration asks for in line with it; return what could not be done.

        A container that left the file loses its target, and so does a model that left `models.autoLoad`, unless
        somebody has changed its target since. One that cannot be used is reported and skipped, so that one bad entry
        does not keep the others from serving."""
        problems: list[str] = []
        wanted = {container.name: container for container in config.containers}
        for target in self.all():
            elsewhere = target.constraints.node not in (None, self._local)  # another node's config.json asks for it
            if target.origin is Origin.CONFIG and target.name not in wanted and not elsewhere:
                await self._delete(target, "config.json", None)
            elif _is_seeded(target) and not self._is_listed(target, config.models.auto_load):
                await self._delete(target, AUTO_LOAD, None, "no longer in models.autoLoad")
        for container in config.containers:
            try:
                await self._seed_container(container)
            except ModelGridError as error:
                problems.append(f"containers: {container.name}: {error}")
        for model in config.models.auto_load:
            try:
                entry = self.entry_of(model)
                if entry.id not in self._targets:
                    request = TargetRequest(model=entry.id)
                    await self._put(entry.id, entry.id, request, Origin.CATALOG, AUTO_LOAD, None)
            except ModelGridError as error:
                problems.append(f"models.autoLoad: {error}")
        for problem in problems:
            log.error("configuration asks for what cannot be deployed", problem=problem)
        return tuple(problems)

    async def adopt(self, target: Target, brought: int) -> Target | None:
        """Take over what another node was asked for before it joined. `target` has open environment values, `brought`
        instances come along: they count on top of a target that is here already. Nothing to be done: `None`.

        Raises `Conflict` when the name is taken by something else."""
        present = self._targets.get(target.name)
        if present is None:
            by = JOINED if _is_seeded(target) else target.updated_by  # this node's list is another one
            new = replace(target, spec=self.sealed(target.spec), updated_by=by, revision=0)
            return await self._save(
                new, "adopted", f"{target.replicas} × {target.model}, with a node that joined", "", 0
            )
        if present.model != target.model or (target.origin is Origin.CONFIG and present.origin is not Origin.CONFIG):
            raise Conflict(
                f"{target.name} is desired here already, and differently ({present.model}, {present.origin}).",
                fix="Rename one of the two.",
            )
        if target.origin is Origin.CONFIG:
            changed = replace(target, spec=self.sealed(target.spec, present.spec), revision=present.revision)
            return (
                None if _same_wish(changed, present) else await self._save(changed, "changed", "config.json", "", None)
            )
        if brought == 0 or present.origin is Origin.CONFIG:
            return None
        replicas, now = present.replicas + brought, self._clock.now()
        grown = replace(present, replicas=replicas, updated_at=now, updated_by=JOINED)
        return await self._save(grown, "scaled", f"{brought} more came with a node that joined", "", None)

    async def take_back(self, deployments: Sequence[Deployment]) -> None:
        """Desire what runs here: the node leaves its cluster, and nobody else desires it of this node any more."""
        now = self._clock.now()
        for name in sorted({item.target for item in deployments if item.intent is not Intent.REMOVE}):
            mine = [item for item in deployments if item.target == name and item.intent is not Intent.REMOVE]
            if name not in self._targets:
                one = mine[0]
                target = Target(
                    name=name,
                    model=one.model,
                    replicas=len(mine),
                    origin=Origin.API,
                    spec=one.spec,
                    created_at=now,
                    updated_at=now,
                )
                await self._save(target, "taken_back", f"{len(mine)} × {one.model}, which run here", "", 0)

    async def withdrawn_by(self, node: NodeName, still_wanted: Collection[str]) -> None:
        """Delete targets that another node's config.json asked for and does not any more."""
        if node == self._local:
            return
        for name in sorted(self._of_files[node].difference(still_wanted)):
            await self._delete(self._targets[name], f"config.json of {node}", None)

    async def hand_over(self) -> None:
        """Forget what was desired here before this node joined: its control plane has it. What the own config.json asks
        for stays, as it is told with every report."""
        for target in self.all():
            if target.origin is not Origin.CONFIG:
                await self._delete(target, "the control plane", None)

    def opened_env(self, spec: EngineSpec) -> dict[str, str]:
        """Return the plain environment of a stored spec."""
        return {name: self._secrets.unseal(value) for name, value in spec.env.items()}

    def sealed(self, spec: EngineSpec, stored: EngineSpec | None = None) -> EngineSpec:
        """Return `spec` with sealed environment values; those equal to what is stored keep their sealed form."""
        known = self.opened_env(stored) if stored else {}
        env = {
            name: stored.env[name] if stored and known.get(name) == value else self._secrets.seal(value)
            for name, value in spec.env.items()
        }
        return replace(spec, env=env)

    def _is_listed(self, target: Target, models: Collection[str]) -> bool:
        """Return whether a target is of one of `models`. While the catalog does not know it, so that its aliases are
        not known either, a name that means nothing to the catalog may be one of them."""
        entry = self._catalog.find(target.name)
        if entry is not None:
            return any(name in models for name in entry.names)
        return any(name == target.name or self._catalog.find(name) is None for name in models)

    async def _seed_container(self, container: ContainerConfig) -> None:
        check_name(container.name, path=f"containers.{container.name}")
        entry = self._catalog.find(container.model)
        present = self._targets.get(container.name)
        if present is not None and present.origin is not Origin.CONFIG:
            raise Conflict(
                f"the name {container.name!r} is taken by a target of origin {present.origin}.",
                fix="Rename the container, or clear that target.",
            )
        request = TargetRequest(model=container.model, replicas=container.replicas, spec=_container_spec(container))
        await self.check(request)
        model = entry.id if entry else ModelId(container.model)
        await self._put(container.name, model, request, Origin.CONFIG, "config.json", None)

    async def check(self, request: TargetRequest) -> None:
        """Raise what is wrong with a request by itself: `InvalidInput`, or `LaunchRefused` for a mount."""
        check_spec(request.spec)
        check_constraints(request.constraints)
        _check_replicas(request.replicas)
        check_launchable(request.spec, self._catalog.find(request.model), model=request.model)
        if request.spec.mounts:
            await asyncio.to_thread(self._check_mounts, request.spec.mounts)

    async def _put(
        self,
        name: str,
        model: ModelId,
        request: TargetRequest,
        origin: Origin,
        by: str,
        expected_revision: int | None,
    ) -> Target:
        present = self._targets.get(name)
        now = self._clock.now()
        target = Target(
            name=name,
            model=model,
            replicas=request.replicas,
            origin=origin,
            spec=self.sealed(request.spec, present.spec if present else None),
            constraints=request.constraints,
            created_at=present.created_at if present else now,
            updated_at=now,
            updated_by=by,
            revision=present.revision if present else 0,
        )
        if present is not None and _same_wish(present, target):
            return present
        said = f"{request.replicas} × {model} desired" + (" (changed)" if present else "")
        return await self._save(target, "changed" if present else "created", said, by, expected_revision)

    async def _save(self, target: Target, kind: str, said: str, by: str, expected_revision: int | None) -> Target:
        # Code of a repository runs with the engine's rights: who opted in to it is on the record.
        trusts = target.spec.trust_remote_code
        event = self._event(target.name, kind, said, by=by, trust_remote_code=trusts)
        saved = await self._store.put_target(target, expected_revision=expected_revision, events=[event])
        self._keep(saved)
        self.changed.notify()
        return saved

    def _keep(self, target: Target) -> None:
        self._forget(target.name)
        self._targets[target.name] = target
        if target.origin is Origin.CONFIG:
            self._of_files[target.constraints.node].add(target.name)

    def _forget(self, name: str) -> None:
        if (before := self._targets.pop(name, None)) is not None:
            self._of_files[before.constraints.node].discard(name)

    async def _delete(
        self, target: Target, by: str, expected_revision: int | None, said: str = "no longer desired"
    ) -> None:
        event = self._event(target.name, "cleared", said, by=by)
        await self._store.delete_target(target.name, expected_revision=expected_revision, events=[event])
        self._forget(target.name)
        self.changed.notify()


def _is_seeded(target: Target) -> bool:
    """Whether `models.autoLoad` desires a target and nobody has changed it since."""
    return target.origin is Origin.CATALOG and target.updated_by == AUTO_LOAD


def _editable(target: Target) -> None:
    if target.origin is Origin.CONFIG:
        raise Conflict(
            f"{target.name} comes from `containers` in config.json and can only be started and stopped here.",
            fix="Edit config.json; the daemon follows it.",
            origin=target.origin.value,
        )


def _check_replicas(replicas: int) -> None:
    if not 0 <= replicas <= MAX_REPLICAS:
        raise InvalidInput(f"replicas is {replicas}; 0 to {MAX_REPLICAS} are allowed.", path="replicas")


def _same_wish(one: Target, other: Target) -> bool:
    def wish(target: Target) -> Sequence[object]:
        return (target.model, target.replicas, target.origin, target.spec, target.constraints)

    return wish(one) == wish(other)


def _container_spec(container: ContainerConfig) -> EngineSpec:
    pinned = container.gpus if isinstance(container.gpus, tuple) else ()
    env: Mapping[str, str] = dict(container.env)
    return EngineSpec(
        runtime=RuntimeKind.EXTERNAL if container.url else None,
        image=container.image,
        args=container.args,
        env=env,
        gpu_count=container.gpus if isinstance(container.gpus, int) else None,
        gpus=tuple(GpuId(gpu) for gpu in pinned),
        context=container.context,
        concurrency=container.concurrency,
        mounts=tuple(Mount(source=m.source, target=m.target, read_only=m.read_only) for m in container.mounts),
        url=container.url,
    )
