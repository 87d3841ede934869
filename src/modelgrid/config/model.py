"""The typed model of `config.json`. camelCase in the file, snake_case here; unknown keys are refused."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic.alias_generators import to_camel

from modelgrid.config.images import check_engine_image
from modelgrid.config.urls import check_catalog_place, check_catalog_url, check_url, reachable
from modelgrid.domain.audit import AuditBounds
from modelgrid.domain.gpu import GpuVendor
from modelgrid.domain.node import NodeRole
from modelgrid.domain.target import RuntimeKind

Port = Annotated[int, Field(ge=1, le=65535)]
HostName = Annotated[str, Field(min_length=1, max_length=253)]
HttpUrl = Annotated[str, Field(pattern=r"^https?://[^\s/]+", max_length=2048), AfterValidator(check_url)]
CatalogUrl = Annotated[str, Field(pattern=r"^https?://[^\s/]+", max_length=2048), AfterValidator(check_catalog_url)]

Image = Annotated[str, AfterValidator(check_engine_image)]

DEFAULT_REGISTRY_URL = "https://list.modelgrid.com/catalog.json"

DEFAULT_IMAGES: Mapping[str, str] = {
    "nvidia": "vllm/vllm-openai:latest",
    "amd": "rocm/vllm:latest",
    "intel": "intel/vllm:latest",
    "cpu": "public.ecr.aws/q9t5s3a7/vllm-cpu-release-repo:latest",
}
"""Images that the vLLM project and the vendors publish; the CPU one is named in vLLM's installation guide."""


_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f]")
_OF_SEVERAL_LINES = frozenset({"args", "env", "image_commands"})
"""Keys whose texts are handed to programs, for which lines are as good as other text. NUL ends a text there, too."""


class Section(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True)

    @field_validator("*")
    @classmethod
    def _is_text(cls, value: object, info: ValidationInfo) -> object:
        """Refuse what no path, name or address may have: the system calls that get it fail, or read a part of it."""
        for text in _texts_in(value):
            if "\0" in text or (info.field_name not in _OF_SEVERAL_LINES and _CONTROLS.search(text)):
                raise ValueError("a text without control characters is expected")
        return value


def _texts_in(value: object) -> Iterator[str]:
    """Yield the texts of a key; those of sections below it are looked at there."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield str(name)
            yield from _texts_in(inner)
    elif isinstance(value, tuple):
        for inner in value:
            yield from _texts_in(inner)


class TlsConfig(Section):
    cert_file: str = Field(description="Certificate chain, PEM.")
    key_file: str = Field(description="Private key, PEM.")


class ApiConfig(Section):
    port: Port = Field(8080, description="Port of the OpenAI-compatible gateway.")
    host: HostName = Field("127.0.0.1", description="Address the gateway binds to. Restart required.")
    ui_port: Port = Field(8081, description="Port of the console and its API.")
    ui_host: HostName = Field("127.0.0.1", description="Address the console binds to. Restart required.")
    ui_hosts: tuple[HostName, ...] = Field(
        (), description="Further names the console is called by, for example a proxy's. Addresses need not be named."
    )
    workers: int = Field(1, ge=1, le=64, description="Gateway processes. Restart required.")
    cors: tuple[str, ...] = Field((), description="Origins allowed to call the gateway from a browser.")
    rate_limit: int | None = Field(
        None, ge=1, le=1_000_000_000, description="Requests per minute and API key; null: no bound."
    )
    queue_limit: int = Field(
        256,
        ge=0,
        le=1_000_000,
        description="Requests per model that may wait for a replica; more are refused with 503.",
    )
    tls: TlsConfig | None = Field(None, description="Certificate for clients, the console and its API; null: no TLS.")
    audit_days: int = Field(
        365, ge=1, le=36_500, description="Older entries of the audit log are let go of, but for the newest 1,000."
    )
    audit_entries: int = Field(
        1_000_000, ge=1_000, le=1_000_000_000, description="Most entries of the audit log, 300 bytes each."
    )

    @property
    def scheme(self) -> str:
        """How the URLs of both ports begin."""
        return "https" if self.tls else "http"

    @property
    def local_console_url(self) -> str:
        """Where programs of this machine reach the console and its API."""
        return f"{self.scheme}://{reachable(self.ui_host)}:{self.ui_port}"

    @property
    def audit_bounds(self) -> AuditBounds:
        """How much of the audit log is kept."""
        return AuditBounds(days=self.audit_days, entries=self.audit_entries)

    @model_validator(mode="after")
    def _ports_differ(self) -> "ApiConfig":
        if self.port == self.ui_port:
            raise ValueError(f"api.port and api.uiPort are both {self.port}; give each its own port")
        return self


class DockerConfig(Section):
    runtime: Literal["auto", "docker", "podman", "process", "simulated"] = Field(
        "auto", description="How engines are started; auto takes the first that works."
    )
    network_name: str = Field("modelgrid", pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$")
    socket_path: str | None = Field(None, description="Engine socket; null looks in the usual places.")
    image: Mapping[Literal["nvidia", "amd", "intel", "cpu"], Image] = Field(
        default_factory=dict, description="Engine image by vendor, where it differs from the default."
    )
    image_commands: Mapping[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="Command that starts vLLM, by image name without tag, where the image's entry point is not it.",
    )
    shm_gib: float = Field(8.0, gt=0, le=1024, description="Shared memory of a container: a bound, not a reservation.")
    model_cache_dir: str | None = Field(None, description="Where weights are kept; null: below the state directory.")
    allowed_mounts: tuple[str, ...] = Field((), description="Host folders that deployments may mount.")
    vllm_path: str = Field("vllm", description="Program of the process runtime: a name on the PATH or a path.")


class SimulatedGpu(Section):
    name: str = Field(
        min_length=1,
        max_length=80,
        description="Begins with the vendor: `NVIDIA H100`, `AMD Instinct MI300X`; NVIDIA where it does not.",
    )
    vram_gib: float = Field(gt=0, le=4096)


class GpusConfig(Section):
    auto_detect: bool = Field(True, description="Probe for GPUs; false uses none.")
    assignments: Mapping[str, str] = Field(
        default_factory=dict, description="GPU id to the model or target it is kept for."
    )
    simulate: bool | Annotated[int, Field(ge=0, le=64)] | tuple[SimulatedGpu, ...] | None = Field(
        None,
        description="Simulated GPUs: a count, a list, true for two, false for never; null simulates only on a "
        "machine that has neither GPU hardware nor a runtime asked for.",
    )


class CatalogSourceConfig(Section):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")
    url: Annotated[str, AfterValidator(check_catalog_place)] = Field(
        min_length=1, max_length=2048, description="https URL, or the path of a file on this machine."
    )


class ModelsConfig(Section):
    registry_url: CatalogUrl | None = Field(
        DEFAULT_REGISTRY_URL, description="Catalog to refresh from; null or empty: none."
    )
    sources: tuple[CatalogSourceConfig, ...] = Field((), description="Further catalogs; they override the registry.")
    auto_deploy: bool = Field(False, description="Deploy a catalog model when a request names it.")
    default_engine: Literal["vllm"] = "vllm"
    auto_load: tuple[str, ...] = Field((), description="Models to keep deployed, by id or alias.")

    @model_validator(mode="after")
    def _names_differ(self) -> "ModelsConfig":
        taken = {"registry", "packaged"}
        for source in self.sources:
            if source.name in taken:
                raise ValueError(f"models.sources: the name {source.name!r} is taken; names are unique")
            taken.add(source.name)
        return self

    @field_validator("registry_url", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value


class MountConfig(Section):
    """A folder of this machine that the engine sees; it has to lie below docker.allowedMounts."""

    source: str
    target: str
    read_only: bool = True


class ContainerConfig(Section):
    """A deployment seeded by the file: start and stop only."""

    name: str = Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$")
    model: str = Field(min_length=1, max_length=256)
    replicas: int = Field(1, ge=0, le=64)
    image: str | None = None
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = Field(default_factory=dict)
    gpus: int | tuple[str, ...] | None = Field(None, description="GPU count per instance, or the ids of its GPUs.")
    context: int | None = Field(None, ge=1)
    concurrency: int | None = Field(None, ge=1)
    mounts: tuple[MountConfig, ...] = ()
    url: HttpUrl | None = Field(None, description="Attach a vLLM that runs already instead of starting one.")


Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._/-]{0,126}[A-Za-z0-9])?$")]


class ClusterConfig(Section):
    role: NodeRole = NodeRole.STANDALONE
    host: HostName | None = Field(
        None, description="Address on which other nodes are listened to; null: that of api.host. Restart required."
    )
    port: Port = Field(8082, description="Port on which the control processes of nodes talk to each other.")
    peer_port: Port = Field(8083, description="Port on which the gateways take requests from those of other nodes.")
    labels: Mapping[Label, Label] = Field(
        default_factory=dict, max_length=64, description="What placements may ask of this node, by name."
    )
    advertise_url: HttpUrl | None = None
    control_plane_url: HttpUrl | None = None
    shared_secret: str | None = Field(None, min_length=16)
    heartbeat_interval: float = Field(5.0, ge=1, le=60, description="Seconds.")
    seeds: tuple[str, ...] = ()


class Config(Section):
    node_name: str | None = Field(
        None, pattern=r"^[a-zA-Z0-9]([a-zA-Z0-9.-]{0,61}[a-zA-Z0-9])?$", description="Null: the host's name."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level of what the daemon logs about itself."
    )
    api: ApiConfig = ApiConfig()  # type: ignore[call-arg]
    docker: DockerConfig = DockerConfig()  # type: ignore[call-arg]
    gpus: GpusConfig = GpusConfig()  # type: ignore[call-arg]
    models: ModelsConfig = ModelsConfig()  # type: ignore[call-arg]
    containers: tuple[ContainerConfig, ...] = ()
    cluster: ClusterConfig = ClusterConfig()  # type: ignore[call-arg]

    @model_validator(mode="after")
    def _names_differ(self) -> "Config":
        seen: set[str] = set()
        for container in self.containers:
            if container.name in seen:
                raise ValueError(f"containers: the name {container.name!r} is used twice; names are unique")
            seen.add(container.name)
        return self

    @model_validator(mode="after")
    def _ports_differ(self) -> "Config":
        taken = {"api.port": self.api.port, "api.uiPort": self.api.ui_port}
        for key, port in self.cluster_ports.items():
            for other, used in taken.items():
                if port == used:
                    raise ValueError(f"{other} and {key} are both {port}; give each its own port")
            taken[key] = port
        return self

    @property
    def cluster_host(self) -> str:
        """The address on which other nodes are listened to."""
        return self.cluster.host or self.api.host

    @property
    def cluster_ports(self) -> Mapping[str, int]:
        """The ports that a node of this role has beside those of `api`, by their keys."""
        ports = self.cluster
        if ports.role is NodeRole.STANDALONE:
            return {}
        return {"cluster.peerPort": ports.peer_port, "cluster.port": ports.port}

    def image_for(self, vendor: GpuVendor | None) -> str:
        """Return the engine image for a vendor's GPUs; `None`: for the CPU."""
        key = vendor.value if vendor else "cpu"
        return dict(self.docker.image).get(key, DEFAULT_IMAGES[key])  # type: ignore[call-overload, no-any-return]

    @property
    def wanted_runtime(self) -> RuntimeKind | None:
        """The runtime asked for; `None` for `auto`."""
        return None if self.docker.runtime == "auto" else RuntimeKind(self.docker.runtime)


SECRET_PATHS = (("cluster", "sharedSecret"),)
REDACTED = "••••••••"


def redacted(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a configuration document without its secrets: the shared secret and all engine env values."""
    copy = {key: dict(value) if isinstance(value, Mapping) else value for key, value in document.items()}
    for section, key in SECRET_PATHS:
        if copy.get(section, {}).get(key):
            copy[section][key] = REDACTED
    copy["containers"] = [
        {**container, "env": dict.fromkeys(container.get("env", {}), REDACTED)} if container.get("env") else container
        for container in copy.get("containers", ())
    ]
    return copy


def json_schema() -> dict[str, Any]:
    """Return the published JSON Schema of `config.json`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ModelGrid config.json",
        **Config.model_json_schema(by_alias=True),
    }
