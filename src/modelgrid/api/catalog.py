"""The catalog, and the models that answer."""

from fastapi import APIRouter
from pydantic import BaseModel

from modelgrid.api.context import Context, Services
from modelgrid.api.targets import by_target
from modelgrid.decide.catalog import Drift
from modelgrid.decide.classify import classify
from modelgrid.decide.need import memory_need
from modelgrid.domain.model import Capability, CatalogEntry
from modelgrid.domain.target import EngineSpec
from modelgrid.services.catalog import SourceStatus

router = APIRouter(tags=["catalog"])


class CatalogView(BaseModel):
    id: str
    aliases: tuple[str, ...]
    capabilities: tuple[Capability, ...]
    parameters: int
    dtype: str
    context: int
    default_context: int
    default_gpus: int
    vram_bytes: int
    """Computed need per GPU with the default context and GPU count."""
    licence: str
    gated: bool
    trust_remote_code: bool
    source: str
    added: str
    deployed: bool
    entry: CatalogEntry
    """The whole entry, with the architecture facts the need is computed from."""


class CatalogList(BaseModel):
    items: list[CatalogView]
    notes: list[str]
    """What could not be refreshed, and why."""
    sources: list[SourceStatus]
    drift: Drift
    """Ids that the sources have added, changed or removed against what is in use."""


class DeployedModel(BaseModel):
    id: str
    aliases: tuple[str, ...]
    replicas: int
    running: int
    state: str
    nodes: tuple[str, ...]


class DeployedList(BaseModel):
    items: list[DeployedModel]


def _view(services: Services, entry: CatalogEntry, deployed: set[str]) -> CatalogView:
    need = memory_need(entry, EngineSpec(), entry.default_gpus)
    return CatalogView(
        id=entry.id,
        aliases=entry.aliases,
        capabilities=entry.capabilities,
        parameters=entry.parameters,
        dtype=entry.dtype,
        context=entry.context,
        default_context=entry.default_context,
        default_gpus=entry.default_gpus,
        vram_bytes=need.per_gpu_bytes if need else 0,
        licence=entry.licence,
        gated=entry.gated,
        trust_remote_code=entry.trust_remote_code,
        source=entry.source,
        added=entry.added,
        deployed=entry.id in deployed,
        entry=entry,
    )


def catalog_list(services: Services) -> CatalogList:
    """Return every model that can be deployed, and how the sources are."""
    deployed = {str(target.model) for target in services.targets.all()}
    drift = services.catalog.drift
    sources = services.catalog.sources
    return CatalogList(
        items=[_view(services, entry, deployed) for entry in services.catalog.entries],
        notes=[source.problem for source in sources if source.problem],
        sources=list(sources),
        drift=drift,
    )


@router.get("/catalog")
async def list_catalog(services: Context) -> CatalogList:
    """Return every model that can be deployed, from all sources."""
    return catalog_list(services)


@router.post("/catalog/refresh")
async def refresh_catalog(services: Context) -> CatalogList:
    """Fetch every source anew. A source that cannot be reached is a note; its last good copy stays in use."""
    await services.catalog.refresh()
    return catalog_list(services)


@router.get("/catalog/{model:path}")
async def show_model(services: Context, model: str) -> CatalogView:
    """Return one catalog entry, by its id or an alias."""
    deployed = {str(target.model) for target in services.targets.all()}
    return _view(services, services.targets.entry_of(model), deployed)


@router.get("/models")
async def list_models(services: Context) -> DeployedList:
    """Return the models that are deployed, as `/v1/models` of the gateway does, with replica counts."""
    now, deployments = services.clock.now(), by_target(services)
    items = []
    for target in services.targets.all():
        own = deployments.get(target.name, ())
        states = [classify(item, now).state.value for item in own]
        running = states.count("running")
        entry = services.catalog.find(target.model)
        nodes = {str(item.placement.node) for item in own if item.placement}
        items.append(
            DeployedModel(
                id=target.model,
                aliases=entry.aliases if entry else (),
                replicas=target.replicas,
                running=running,
                state="running" if running else (states[0] if states else "stopped"),
                nodes=tuple(sorted(nodes)),
            )
        )
    return DeployedList(items=items)
