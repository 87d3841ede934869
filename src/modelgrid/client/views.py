# Made by `make docs` from the OpenAPI document. Do not edit.
"""What the console API takes and answers, as types."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


class ApiKeyBody(TypedDict):
    label: str
    expires_at: NotRequired[float | None]
    models: NotRequired[list[str] | None]
    requests_per_minute: NotRequired[int | None]
    tokens_per_minute: NotRequired[int | None]
    concurrent_requests: NotRequired[int | None]


class ApiKeyList(TypedDict):
    items: list[ApiKeyView]
    next_after: str | None


class ApiKeyView(TypedDict):
    id: str
    label: str
    prefix: str
    created_at: float
    expires_at: float | None
    last_used_at: float | None
    revoked_at: float | None
    status: Literal["active", "expired", "revoked"]
    scope: str


Applies = Literal["live", "restart"]


class Architecture(TypedDict):
    """The facts of a model's published configuration from which memory follows."""

    weight_bytes: int
    layers: int
    attention_heads: int
    kv_heads: int
    head_size: int
    kv_layers: int | None
    sliding_layers: int
    sliding_window: int
    kv_latent_size: int | None
    source: str


class AuditEntryView(TypedDict):
    seq: int
    at: float
    who: str
    kind: str
    source: str
    action: str
    target: str
    status: int
    repeated: int
    hash: str


class AuditList(TypedDict):
    items: list[AuditEntryView]
    next_before: int | None


class AuditVerified(TypedDict):
    intact: bool
    entries: int
    pruned: int
    broken_at: int | None
    head: str


class Beat(TypedDict):
    """Data of `event: beat`, every 5 seconds: without it the data is old."""

    at: float


class BucketView(TypedDict):
    le: float | None
    count: float


CallerKind = Literal["session", "token", "local"]


Capability = Literal["chat", "completions", "embeddings", "rerank"]


class CatalogEntry(TypedDict):
    """One model that can be deployed."""

    id: str
    aliases: list[str]
    capabilities: list[Capability]
    parameters: int
    dtype: str
    context: int
    default_context: int
    default_gpus: int
    licence: str
    gated: bool
    vllm_args: list[str]
    repository: str
    trust_remote_code: bool
    architecture: Architecture
    added: str
    source: str


class CatalogList(TypedDict):
    items: list[CatalogView]
    notes: list[str]
    sources: list[SourceStatus]
    drift: Drift


class CatalogView(TypedDict):
    id: str
    aliases: list[str]
    capabilities: list[Capability]
    parameters: int
    dtype: str
    context: int
    default_context: int
    default_gpus: int
    vram_bytes: int
    licence: str
    gated: bool
    trust_remote_code: bool
    source: str
    added: str
    deployed: bool
    entry: CatalogEntry


class Changed(TypedDict):
    """Data of `event: change`."""

    topic: str
    op: Literal["upsert", "remove", "replace", "append"]
    key: str
    value: Any


class Check(TypedDict):
    """`fix` is empty when all is well."""

    name: str
    result: Result
    message: str
    fix: str


class Checks(TypedDict):
    items: list[Check]


class ClientList(TypedDict):
    """The slot of Access ▸ Clients."""

    items: list[str]
    configured: Literal[False]
    message: str


class ClusterView(TypedDict):
    """This node's place in its cluster."""

    node: str
    role: NodeRole
    nodes: int
    control_plane: str | None
    control_plane_url: str | None
    control_plane_console_url: str | None
    control_plane_console_private: bool
    joined: bool
    answered_at: float | None
    problem: str


class ConfigChange(TypedDict):
    path: str
    before: Any
    after: Any
    restart_required: bool


ConfigPatch = dict[str, Any]


class ConfigPatched(TypedDict):
    config: dict[str, Any]
    diff: list[ConfigChange]
    pending_restart: list[ConfigChange]
    etag: str
    dry_run: bool


class ConfigProblem(TypedDict):
    path: str
    message: str
    value: str
    expected: str


class ConfigView(TypedDict):
    path: str
    usual_path: bool
    source: str
    etag: str
    config: dict[str, Any]
    defaults: dict[str, Any]
    applies: dict[str, Applies]
    pending_restart: list[ConfigChange]
    problem: str
    errors: list[ConfigProblem]


class Constraints(TypedDict):
    """Where instances may land."""

    node: str | None
    vendor: GpuVendor | None
    labels: dict[str, str]
    pack: bool
    exclusive: bool


class Decision(TypedDict):
    """The answer of `fit`. Placed when `node` is set."""

    node: str | None
    gpus: list[str]
    need: MemoryNeed
    verdicts: list[Verdict]
    omitted: dict[str, int]
    summary: str


class DeployedList(TypedDict):
    items: list[DeployedModel]


class DeployedModel(TypedDict):
    id: str
    aliases: list[str]
    replicas: int
    running: int
    state: str
    nodes: list[str]


class DeploymentDetail(TypedDict):
    id: str
    target: str
    model: str
    origin: str
    state: DeploymentState
    reason: str
    runtime: str
    simulated: bool
    node: str | None
    gpus: list[str]
    port: int | None
    engine_id: str | None
    engine_url: str | None
    attempt: int
    created_at: float
    started_at: float | None
    ready_at: float | None
    unhealthy_since: float | None
    intent: str
    intent_reason: str
    phase: str
    pull: PullProgress | None
    trouble: str
    requests_per_second: float | None
    error_ratio: float | None
    spec: EngineSpec
    decision: Decision | None
    failures: list[Failure]


class DeploymentList(TypedDict):
    items: list[DeploymentView]
    next_after: str | None


class DeploymentMetrics(TypedDict):
    at: float
    requests_per_second: float
    errors_per_second: float
    in_flight: int
    running: float | None
    waiting: float | None
    kv_cache_ratio: float | None
    kv_cache_blocks: int | None
    kv_cache_block_tokens: int | None
    input_tokens_per_second: float | None
    output_tokens_per_second: float | None
    time_to_first_token: HistogramView
    latency: HistogramView
    window_seconds: float
    vram_used_bytes: int | None
    vram_total_bytes: int | None
    engine_problem: str


DeploymentState = Literal[
    "pending", "pulling", "starting", "running", "draining", "stopping", "stopped", "restarting", "failed",
]


class DeploymentView(TypedDict):
    id: str
    target: str
    model: str
    origin: str
    state: DeploymentState
    reason: str
    runtime: str
    simulated: bool
    node: str | None
    gpus: list[str]
    port: int | None
    engine_id: str | None
    engine_url: str | None
    attempt: int
    created_at: float
    started_at: float | None
    ready_at: float | None
    unhealthy_since: float | None
    intent: str
    intent_reason: str
    phase: str
    pull: PullProgress | None
    trouble: str
    requests_per_second: float | None
    error_ratio: float | None


class Diagnosis(TypedDict):
    """A known failure: its cause and what mends it."""

    code: str
    cause: str
    remedy: str
    evidence: str
    retry: bool


class Drift(TypedDict):
    """How newer entries differ from those in use, by id, each sorted."""

    added: list[str]
    changed: list[str]
    removed: list[str]


class DriverIssue(TypedDict):
    """A known fault of a driver installation. `fix` is a command or a sentence that mends it."""

    code: str
    message: str
    fix: str


class DriverList(TypedDict):
    items: list[DriverReport]


class DriverReport(TypedDict):
    """What is installed for one vendor on this node."""

    vendor: GpuVendor
    hardware_present: bool
    installed: bool
    version: str | None
    toolkit_version: str | None
    container_toolkit: bool | None
    issues: list[DriverIssue]
    simulated: bool


class EngineExit(TypedDict):
    """How an engine ended. `code` is the exit status, `signal` the number of the signal that killed it."""

    at: float
    code: int | None
    signal: int | None
    out_of_memory: bool
    error: str


class EngineSpec(TypedDict):
    """How each instance of a target is run. `None` or empty: the catalog's or the node's default."""

    runtime: RuntimeKind | None
    image: str | None
    args: list[str]
    env: dict[str, str]
    gpu_count: int | None
    gpus: list[str]
    context: int | None
    concurrency: int | None
    mounts: list[MountOutput]
    trust_remote_code: bool
    url: str | None


class ErrorBody(TypedDict):
    code: str
    message: str
    fix: str
    details: dict[str, Any]


class ErrorView(TypedDict):
    error: ErrorBody


class EventList(TypedDict):
    items: list[EventView]
    next_after: int
    next_before: int | None


class EventPage(TypedDict):
    items: list[EventView]
    next_after: int


class EventView(TypedDict):
    seq: int
    at: float
    subject: Subject
    subject_id: str
    kind: str
    message: str
    level: Level
    by: str
    data: dict[str, Any]


class Failure(TypedDict):
    """One failed attempt to run the engine."""

    attempt: int
    exit: EngineExit
    diagnosis: Diagnosis | None


FaultSeverity = Literal["critical", "warning"]


class Gpu(TypedDict):
    """One device and its latest reading. Readings the vendor does not give are `None`."""

    id: str
    vendor: GpuVendor
    index: int
    uuid: str
    name: str
    vram_total_bytes: int
    vram_used_bytes: int
    vram_free_bytes: int
    pci_address: str | None
    driver_version: str | None
    utilization_percent: float | None
    memory_utilization_percent: float | None
    temperature_celsius: float | None
    power_watts: float | None
    power_limit_watts: float | None
    clock_core_mhz: int | None
    clock_memory_mhz: int | None
    compute_capability: str | None
    ecc_enabled: bool | None
    ecc_uncorrected_errors: int | None
    xid_errors: list[int]
    throttle_reasons: list[str]
    mig_enabled: bool
    processes: list[GpuProcess]
    simulated: bool


class GpuFault(TypedDict):
    severity: FaultSeverity
    what: str
    impact: str


class GpuList(TypedDict):
    items: list[GpuView]
    problem: str
    simulated: bool


class GpuProcess(TypedDict):
    """A process that holds memory on a GPU. `pid` is in the host's pid namespace."""

    pid: int
    name: str
    used_bytes: int | None
    deployment: str | None


GpuVendor = Literal["nvidia", "amd", "intel"]


class GpuView(TypedDict):
    id: str
    node: str
    gpu: Gpu
    stale: bool
    problem: str
    faults: list[GpuFault]
    assigned_to: str | None
    deployments: list[str]
    used_by_deployments_bytes: int | None
    used_by_others_bytes: int | None


class Health(TypedDict):
    status: str


class Hello(TypedDict):
    """Data of `event: hello`, the first of every stream."""

    epoch: str
    at: float
    id: str


class HistogramView(TypedDict):
    buckets: list[BucketView]
    count: float
    sum: float
    p50: float | None
    p95: float | None
    p99: float | None


class HistoryList(TypedDict):
    items: list[HistoryView]
    next_before: str | None


class HistoryView(TypedDict):
    id: str
    target: str
    model: str
    origin: str
    node: str | None
    ended_at: float
    reason: str
    by: str
    state: DeploymentState
    spec: EngineSpec | None
    last_lines: list[LogLineView]


class JoinBody(TypedDict):
    url: str
    token: str


class JoinSnippet(TypedDict):
    """What a new node needs. The invitation is shown once and good once."""

    token: str
    expires_at: float
    url: str
    fingerprint: str
    command: str
    install: str
    config: str


class Joined(TypedDict):
    control_plane: str
    restarting: Literal[True]


class Lagged(TypedDict):
    """Data of `event: lagged`, the last of a stream that is cut off because it was not read fast enough."""

    reason: str


class LayerProgress(TypedDict):
    id: str
    status: str
    done_bytes: int
    total_bytes: int | None


class Left(TypedDict):
    restarting: Literal[True]


Level = Literal["debug", "info", "warning", "error"]


class LogLineView(TypedDict):
    number: int
    at: float
    stream: str
    level: Level
    text: str


class LogPage(TypedDict):
    items: list[LogLineView]
    next_after: int


class LogRecordList(TypedDict):
    items: list[LogRecordView]
    next_after: int
    next_before: int
    complete: bool


class LogRecordView(TypedDict):
    seq: int
    at: float
    source: str
    level: Level
    message: str
    fields: dict[str, Any]


class LogSource(TypedDict):
    source: str
    node: str


class LogSourceList(TypedDict):
    items: list[LogSource]


class LoginBody(TypedDict):
    user: str
    password: str


class MemoryNeed(TypedDict):
    """What one instance needs on each of its GPUs (or of host memory, when `gpu_count` is 0)."""

    gpu_count: int
    terms: list[MemoryTerm]


class MemoryTerm(TypedDict):
    """One summand of a memory need, per GPU. `formula` shows how it came about, with its numbers."""

    name: str
    bytes: int
    formula: str


class MetricName(TypedDict):
    name: str
    unit: str
    text: str
    labels: list[str]


class MetricNames(TypedDict):
    items: list[MetricName]


class MountInput(TypedDict):
    """A host folder made visible to an engine. Must lie below an allowed root, checked by real path."""

    source: str
    target: str
    read_only: NotRequired[bool]


class MountOutput(TypedDict):
    """A host folder made visible to an engine. Must lie below an allowed root, checked by real path."""

    source: str
    target: str
    read_only: bool


class NewApiKey(TypedDict):
    id: str
    label: str
    prefix: str
    created_at: float
    expires_at: float | None
    last_used_at: float | None
    revoked_at: float | None
    status: Literal["active", "expired", "revoked"]
    scope: str
    secret: str


class NewTokenView(TypedDict):
    id: str
    label: str
    prefix: str
    role: Role
    created_at: float
    created_by: str
    expires_at: float | None
    last_used_at: float | None
    revoked_at: float | None
    status: Literal["active", "expired", "revoked"]
    secret: str


class NodeList(TypedDict):
    items: list[NodeView]


NodeLiveness = Literal["ready", "suspect", "lost"]


NodeRole = Literal["standalone", "control-plane", "worker"]


NodeStatus = Literal["active", "cordoned", "draining"]


class NodeView(TypedDict):
    name: str
    role: NodeRole
    status: NodeStatus
    liveness: NodeLiveness
    advertise_url: str
    heartbeat_at: float
    gpus: int
    gpu_models: list[str]
    vram_total_bytes: int
    vram_free_bytes: int
    memory_total_bytes: int
    memory_available_bytes: int
    runtimes: list[str]
    labels: dict[str, str]
    version: str
    simulated: bool
    inventory_stale: bool
    problem: str
    note: str
    connections: int
    deployments_when_drained: int | None


Origin = Literal["config", "catalog", "api"]


class Overview(TypedDict):
    node: str
    role: str
    version: str
    started_at: float
    api_url: str
    console_url: str
    platform: str
    simulated: bool
    nodes: int
    gpus: int
    gpus_stale: bool
    deployments: dict[str, int]
    gateways: int
    connections: int
    verdict: Word
    sentence: str
    reasons: list[Reason]
    vitals: Vitals
    catalog_drift: Drift


class OwnPasswordBody(TypedDict):
    current: str
    new: str


class PasswordBody(TypedDict):
    password: str


class PlacementCell(TypedDict):
    node: str
    deployment: str
    gpus: list[str]
    state: str


class PlacementList(TypedDict):
    items: list[PlacementRow]


class PlacementRow(TypedDict):
    model: str
    target: str
    replicas: int
    cells: list[PlacementCell]


class Preview(TypedDict):
    model: str
    decisions: list[Decision]


class PreviewBody(TypedDict):
    replicas: NotRequired[int]
    node: NotRequired[str | None]
    vendor: NotRequired[GpuVendor | None]
    labels: NotRequired[dict[str, str]]
    pack: NotRequired[bool]
    exclusive: NotRequired[bool]
    gpus: NotRequired[list[str]]
    gpu_count: NotRequired[int | None]
    context: NotRequired[int | None]
    concurrency: NotRequired[int | None]
    runtime: NotRequired[RuntimeKind | None]
    image: NotRequired[str | None]
    args: NotRequired[list[str]]
    env: NotRequired[dict[str, str]]
    mounts: NotRequired[list[MountInput]]
    trust_remote_code: NotRequired[bool]
    model: str


class PullProgress(TypedDict):
    """Progress of an image pull."""

    image: str
    layers: list[LayerProgress]


class Quantiles(TypedDict):
    """Of the last 10 s; null without requests in it."""

    p50: float | None
    p95: float | None
    p99: float | None


class Reason(TypedDict):
    code: str
    severity: Severity
    cause: str
    impact: str
    since: float | None
    subject: str
    link: str


class Removed(TypedDict):
    name: str


class Reset(TypedDict):
    """Data of `event: reset`: what was missed cannot be replayed. Fetch the topics anew."""

    reason: str
    topics: list[str]


class Restart(TypedDict):
    started_at: float
    pending_restart: list[ConfigChange]


Result = Literal["ok", "warning", "failed"]


Role = Literal["admin", "viewer"]


RuntimeKind = Literal["docker", "podman", "process", "external", "simulated"]


class ScaleBody(TypedDict):
    """How many are desired. All else of the target stays as it is."""

    replicas: int


class SeriesList(TypedDict):
    items: list[SeriesView]
    step: int
    long_range: int
    left_out: int


class SeriesView(TypedDict):
    name: str
    unit: str
    labels: dict[str, str]
    points: list[tuple[float, float | None]]


class SessionItem(TypedDict):
    id: str
    user: str
    created_at: float
    last_seen_at: float
    expires_at: float
    source: str
    agent: str
    current: bool


class SessionList(TypedDict):
    items: list[SessionItem]


class SessionView(TypedDict):
    """Who makes this call."""

    user: str
    kind: CallerKind
    role: Role
    must_change_password: bool
    expires_at: float | None


Severity = Literal["critical", "warning", "note"]


class SourceStatus(TypedDict):
    """One source as it stands."""

    name: str
    location: str
    entries: int
    loaded_at: float | None
    problem: str
    drift: Drift


Subject = Literal["deployment", "target", "node", "gpu", "key", "token", "user", "catalog", "daemon"]


class TargetBody(TypedDict):
    """What is desired of a model. Whatever is left out takes the catalog's or the node's default."""

    replicas: NotRequired[int]
    node: NotRequired[str | None]
    vendor: NotRequired[GpuVendor | None]
    labels: NotRequired[dict[str, str]]
    pack: NotRequired[bool]
    exclusive: NotRequired[bool]
    gpus: NotRequired[list[str]]
    gpu_count: NotRequired[int | None]
    context: NotRequired[int | None]
    concurrency: NotRequired[int | None]
    runtime: NotRequired[RuntimeKind | None]
    image: NotRequired[str | None]
    args: NotRequired[list[str]]
    env: NotRequired[dict[str, str]]
    mounts: NotRequired[list[MountInput]]
    trust_remote_code: NotRequired[bool]


class TargetList(TypedDict):
    items: list[TargetView]


class TargetView(TypedDict):
    name: str
    model: str
    replicas: int
    running: int
    origin: str
    spec: EngineSpec
    constraints: Constraints
    created_at: float
    updated_at: float
    updated_by: str
    revision: int
    pending: list[str]
    deployments: list[DeploymentView]


class TokenBody(TypedDict):
    label: str
    role: NotRequired[Role]
    expires_at: NotRequired[float | None]


class TokenList(TypedDict):
    items: list[TokenView]
    next_after: str | None


class TokenView(TypedDict):
    id: str
    label: str
    prefix: str
    role: Role
    created_at: float
    created_by: str
    expires_at: float | None
    last_used_at: float | None
    revoked_at: float | None
    status: Literal["active", "expired", "revoked"]


class Verdict(TypedDict):
    """What the decision says of one GPU, or of a whole node when `gpu` is `None`."""

    node: str
    gpu: str | None
    chosen: bool
    free_bytes: int | None
    promised_bytes: int
    needed_bytes: int | None
    code: str
    reason: str


class Vitals(TypedDict):
    """The present of the whole fleet; null where it is not known, as while no gateway reports."""

    requests_per_second: float | None
    error_ratio: float | None
    latency_seconds: Quantiles
    time_to_first_token_seconds: Quantiles
    input_tokens_per_second: float | None
    output_tokens_per_second: float | None
    in_flight: int | None
    queued: int | None
    gpu_utilization_percent: float | None
    vram_used_bytes: int
    vram_total_bytes: int
    daemon_memory_bytes: int
    daemon_cpu_percent: float
    daemon_loop_lag_seconds: float
    streams: int


Word = Literal["healthy", "degraded", "down", "unknown"]
