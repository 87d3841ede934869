"""From a deployment to the command, environment and mounts of its engine."""

from dataclasses import replace
from typing import Any

import pytest

from modelgrid.decide.launch import (
    CONTAINER_CACHE,
    CONTAINER_MODEL,
    KEEP_ALIVE_SECONDS,
    LaunchSettings,
    check_launchable,
    engine_launch,
)
from modelgrid.domain.deployment import Deployment
from modelgrid.domain.engine import EngineLaunch, GpuBinding
from modelgrid.domain.errors import InvalidInput
from modelgrid.domain.gpu import GpuVendor
from modelgrid.domain.ids import DeploymentId, GpuId, ModelId, NodeName
from modelgrid.domain.model import Architecture, Capability, CatalogEntry
from modelgrid.domain.placement import Decision, MemoryNeed, MemoryTerm, Placement
from modelgrid.domain.routing import GatewaySettings
from modelgrid.domain.target import EngineSpec, Mount, Origin, RuntimeKind
from modelgrid.domain.units import GIB
from modelgrid.simulator.settings import parse_settings

ENTRY = CatalogEntry(
    id=ModelId("acme/tiny"),
    aliases=("tiny", "tiny-1b"),
    capabilities=(Capability.CHAT, Capability.COMPLETIONS),
    parameters=1,
    dtype="bfloat16",
    context=32768,
    default_context=8192,
    licence="mit",
    vllm_args=("--tool-call-parser", "hermes"),
    architecture=Architecture(
        weight_bytes=GIB, layers=2, attention_heads=12, kv_heads=4, head_size=64, source="config.json"
    ),
)
SETTINGS = LaunchSettings(
    images={"nvidia": "vllm/vllm-openai:v1", "amd": "rocm/vllm:v1", "cpu": "acme/vllm-cpu:v1"},
    vllm_path="/opt/vllm/bin/vllm",
    python_path="/opt/modelgrid/bin/python",
    model_cache_dir="/var/lib/modelgrid/models",
    allowed_mounts=("/srv/models",),
    network="modelgrid",
)


def gpu(index: int, vendor: GpuVendor = GpuVendor.NVIDIA, uuid: str = "") -> GpuBinding:
    return GpuBinding(id=GpuId(f"{vendor}-{index}"), vendor=vendor, index=index, uuid=uuid or f"GPU-{index}")


def deployment(runtime: RuntimeKind = RuntimeKind.DOCKER, **spec: Any) -> Deployment:
    return Deployment(
        id=DeploymentId("tiny-000001"),
        target="acme/tiny",
        model=ModelId("acme/tiny"),
        origin=Origin.API,
        spec=EngineSpec(**spec),
        runtime=runtime,
        created_at=0.0,
    )


def launch(
    of: Deployment,
    *gpus: GpuBinding,
    entry: CatalogEntry | None = ENTRY,
    settings: LaunchSettings = SETTINGS,
    env: dict[str, str] | None = None,
    utilization: float | None = 0.4567,
) -> EngineLaunch:
    return engine_launch(
        of, entry, gpus, settings, env or {}, attempt=3, port=18000, utilization=utilization, reserved_bytes=5 * GIB
    )


def test_a_container_gets_what_follows_vllm_serve() -> None:
    made = launch(deployment(args=("--max-num-seqs", "8")), gpu(0), gpu(2))
    assert made.argv == (
        "acme/tiny",
        *("--served-model-name", "acme/tiny", "tiny", "tiny-1b"),
        *("--host", "0.0.0.0"),
        *("--port", "8000"),
        *("--tensor-parallel-size", "2"),
        *("--gpu-memory-utilization", "0.457"),
        *("--max-model-len", "8192"),
        "--enable-prefix-caching",
        *("--tool-call-parser", "hermes"),
        *("--max-num-seqs", "8"),
    )
    assert made.image == "vllm/vllm-openai:v1"
    assert (made.port, made.container_port, made.network) == (18000, 8000, "modelgrid")
    assert (made.attempt, made.reserved_bytes) == (3, 5 * GIB)
    assert made.mounts == (Mount(source="/var/lib/modelgrid/models", target=CONTAINER_CACHE, read_only=False),)
    assert made.env["HF_HOME"].startswith(CONTAINER_CACHE)
    assert "CUDA_VISIBLE_DEVICES" not in made.env, "the container engine shows the devices, numbered anew"
    assert made.shm_bytes >= GIB


def test_a_process_listens_on_loopback_and_sees_its_gpus_only() -> None:
    made = launch(deployment(RuntimeKind.PROCESS), gpu(1), gpu(3))
    assert made.argv[:3] == ("/opt/vllm/bin/vllm", "serve", "acme/tiny")
    assert made.argv[made.argv.index("--host") + 1] == "127.0.0.1"
    assert made.argv[made.argv.index("--port") + 1] == "18000"
    assert made.env["CUDA_VISIBLE_DEVICES"] == "1,3"
    assert made.env["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert made.env["HF_HOME"] == "/var/lib/modelgrid/models/huggingface"
    assert (made.image, made.mounts, made.network) == ("", (), "")


@pytest.mark.parametrize(
    ("binding", "expected"),
    [
        (gpu(1, GpuVendor.AMD), {"HIP_VISIBLE_DEVICES": "1", "CUDA_VISIBLE_DEVICES": "1"}),
        (gpu(1, GpuVendor.INTEL), {"ZE_AFFINITY_MASK": "1"}),
        (gpu(0, uuid="MIG-377e0049"), {"CUDA_VISIBLE_DEVICES": "MIG-377e0049"}),
    ],
)
def test_each_vendor_has_its_variable(binding: GpuBinding, expected: dict[str, str]) -> None:
    env = launch(deployment(RuntimeKind.PROCESS), binding).env
    assert expected.items() <= env.items()
    assert "VLLM_TARGET_DEVICE" not in env


def test_the_cpu_gets_its_image_and_the_cache_of_its_need() -> None:
    need = MemoryNeed(
        gpu_count=0,
        terms=(
            MemoryTerm(name="weights", bytes=GIB, formula=""),
            MemoryTerm(name="KV cache", bytes=2 * GIB + 1, formula=""),
        ),
    )
    placed = replace(
        deployment(gpu_count=0),
        placement=Placement(
            node=NodeName("n"), gpus=(), decision=Decision(node=NodeName("n"), need=need, summary=""), placed_at=0.0
        ),
    )
    made = launch(placed)
    assert made.image == "acme/vllm-cpu:v1"
    assert made.env["VLLM_TARGET_DEVICE"] == "cpu"
    assert made.env["VLLM_CPU_KVCACHE_SPACE"] == "3"
    assert not {"--tensor-parallel-size", "--gpu-memory-utilization"} & set(made.argv)
    assert launch(deployment(gpu_count=0)).env["VLLM_CPU_KVCACHE_SPACE"] == "1"
    assert launch(deployment(RuntimeKind.PROCESS, gpu_count=0)).env["CUDA_VISIBLE_DEVICES"] == ""


def test_connections_outlast_the_gateways_and_nothing_is_reported_home() -> None:
    env = launch(deployment(), gpu(0)).env
    assert int(env["VLLM_HTTP_TIMEOUT_KEEP_ALIVE"]) == KEEP_ALIVE_SECONDS > GatewaySettings().keep_alive_seconds
    assert env["VLLM_NO_USAGE_STATS"] == env["DO_NOT_TRACK"] == "1"


def test_the_operators_variables_are_passed_and_ours_win() -> None:
    env = launch(deployment(), gpu(0), env={"HF_TOKEN": "hf_x", "HF_HOME": "/elsewhere"}).env
    assert env["HF_TOKEN"] == "hf_x"
    assert env["HF_HOME"].startswith(CONTAINER_CACHE)


def test_a_launch_never_shows_its_environment() -> None:
    assert "hf_secret" not in repr(launch(deployment(), gpu(0), env={"HF_TOKEN": "hf_secret"}))


@pytest.mark.parametrize(
    ("image", "command"),
    [
        ("rocm/vllm:latest", ("vllm", "serve")),
        ("localhost:5000/rocm/vllm@sha256:" + "0" * 64, ("vllm", "serve")),
        ("docker.io/rocm/vllm-dev", ("vllm", "serve")),
        ("vllm/vllm-openai:v0.11.0", ()),
        ("acme/rocm/vllm", ()),
    ],
)
def test_images_whose_entry_point_is_a_shell_get_the_command(image: str, command: tuple[str, ...]) -> None:
    assert launch(deployment(image=image), gpu(0)).argv[: len(command) + 1] == (*command, "acme/tiny")


def test_a_vendor_without_an_image_is_refused_with_the_setting() -> None:
    with pytest.raises(InvalidInput) as caught:
        launch(deployment(), gpu(0, GpuVendor.INTEL))
    assert "docker.image.intel" in caught.value.fix


def test_a_local_model_is_mounted_read_only_below_an_allowed_root() -> None:
    entry = replace(ENTRY, repository="/srv/models/tiny")
    made = launch(deployment(mounts=(Mount(source="/srv/models/lora", target="/lora"),)), gpu(0), entry=entry)
    assert made.argv[0] == CONTAINER_MODEL
    assert Mount(source="/srv/models/tiny", target=CONTAINER_MODEL, read_only=True) in made.mounts
    assert made.mounts[-1].target == "/lora"
    assert launch(deployment(RuntimeKind.PROCESS), gpu(0), entry=entry).argv[2] == "/srv/models/tiny"
    for outside in ("/etc", "/srv/models-evil/x"):
        with pytest.raises(InvalidInput, match="allowed root"):
            launch(deployment(), gpu(0), entry=replace(ENTRY, repository=outside))


def test_a_model_that_no_catalog_knows() -> None:
    made = launch(deployment(), gpu(0), entry=None, utilization=None)
    assert made.argv[:3] == ("acme/tiny", "--served-model-name", "acme/tiny")
    assert not {"--max-model-len", "--gpu-memory-utilization"} & set(made.argv)


def test_pooling_models_have_no_prefix_cache() -> None:
    entry = replace(ENTRY, capabilities=(Capability.EMBEDDINGS,), vllm_args=("--runner", "pooling"))
    assert "--enable-prefix-caching" not in launch(deployment(), gpu(0), entry=entry).argv


def test_remote_code_only_with_consent() -> None:
    entry = replace(ENTRY, trust_remote_code=True)
    with pytest.raises(InvalidInput, match="runs code from its repository") as caught:
        launch(deployment(), gpu(0), entry=entry)
    assert caught.value.details["path"] == "spec.trustRemoteCode"
    assert "--trust-remote-code" in launch(deployment(trust_remote_code=True), gpu(0), entry=entry).argv
    assert "--trust-remote-code" not in launch(deployment(), gpu(0)).argv


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        (EngineSpec(context=32769), "spec.context"),
        (EngineSpec(gpu_count=5), "spec.gpuCount"),
        (EngineSpec(gpus=tuple(GpuId(f"nvidia-{n}") for n in range(8))), "spec.gpuCount"),
        (EngineSpec(runtime=RuntimeKind.EXTERNAL), "spec.url"),
    ],
)
def test_what_contradicts_the_catalog_is_refused(spec: EngineSpec, path: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_launchable(spec, ENTRY, model="acme/tiny")
    assert caught.value.details["path"] == path
    assert caught.value.fix


def test_what_agrees_with_the_catalog_is_accepted() -> None:
    check_launchable(EngineSpec(context=32768, gpu_count=6), ENTRY, model="acme/tiny")
    check_launchable(EngineSpec(context=10**6, gpu_count=7), None, model="acme/other")


def test_an_external_engine_has_a_url_and_no_command() -> None:
    made = launch(deployment(RuntimeKind.EXTERNAL, url="http://127.0.0.1:9000"))
    assert (made.url, made.argv, made.image) == ("http://127.0.0.1:9000", (), "")
    with pytest.raises(InvalidInput, match="no URL"):
        launch(deployment(RuntimeKind.EXTERNAL))


def test_the_simulated_engine_understands_what_it_is_given() -> None:
    settings = replace(
        SETTINGS,
        simulator_gpu_state_dir="/run/mg/gpus",
        simulated_gpu_bytes={"nvidia-0": 24 * GIB, "nvidia-1": 16 * GIB},
        simulator_args=("--sim-load-seconds", "0.5", "--sim-ttft", "0.1"),
    )
    told = ("--sim-fault", "oom-at-load", "--sim-ttft", "0.3")  # counts more than what all are told
    made = launch(deployment(RuntimeKind.SIMULATED, args=told), gpu(0), gpu(1), settings=settings)
    assert made.argv[:4] == ("/opt/modelgrid/bin/python", "-m", "modelgrid.simulator", "serve")
    read, ignored = parse_settings(made.argv[3:])
    assert ignored == ("--tool-call-parser", "hermes")
    assert read.served_names == ("acme/tiny", "tiny", "tiny-1b")
    assert (read.host, read.port, read.context, read.tensor_parallel) == ("127.0.0.1", 18000, 8192, 2)
    assert (read.gpu_ids, read.reserved_bytes, read.gpu_total_bytes) == (("nvidia-0", "nvidia-1"), 5 * GIB, 16 * GIB)
    assert (read.gpu_state_dir, read.load_seconds) == ("/run/mg/gpus", 0.5)
    assert read.faults.oom_at_load
    assert read.first_token_seconds == 0.3
    assert "CUDA_VISIBLE_DEVICES" not in made.env


def test_the_same_facts_give_the_same_launch() -> None:
    assert launch(deployment(), gpu(0)) == launch(deployment(), gpu(0))
