"""What people may ask of an engine, and the words of each refusal."""

import pytest

from modelgrid.decide.spec_rules import (
    MAX_ARG_LENGTH,
    MAX_ARGS,
    MAX_ENV_LENGTH,
    check_args,
    check_constraints,
    check_env,
    check_image,
    check_mounts,
    check_name,
    check_spec,
    check_url,
)
from modelgrid.domain.errors import InvalidInput
from modelgrid.domain.ids import GpuId, NodeName
from modelgrid.domain.target import Constraints, EngineSpec, Mount

DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    "image",
    [
        "vllm/vllm-openai:v0.11.0",
        "vllm/vllm-openai",
        "python",
        "localhost:5000/a/b:1",
        "127.0.0.1:5000/modelgrid-test/python:1",
        "registry.example.com:443/team/x__y.z-a:Tag_1.0",
        "[::1]:5000/a:1",
        f"a/b@{DIGEST}",
        f"quay.io/a/b:1@{DIGEST}",
        "public.ecr.aws/q9t5s3a7/vllm-cpu-release-repo:latest",
    ],
)
def test_image_references(image: str) -> None:
    check_image(image)


@pytest.mark.parametrize(
    "image",
    [
        "", "-v", "--privileged", "-it ubuntu", "a b", "a;b", "a$(x)", "a/B", "a//b", "/a", "a/", "a:", "a:-x",
        "a:" + "x" * 129, "a@sha256:00", "a@", "a@md5:00", "a\nb", "a\0", "../a", "a..b", "é", "a/b:c:d", "x" * 600,
        "host:port/a", "//a", "-host.com/a", "a/" + "b" * 300, "http://a/b",
    ],
)  # fmt: skip
def test_what_is_no_image_reference_is_refused(image: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_image(image, path="spec.image")
    assert caught.value.details["path"] == "spec.image"
    assert "image reference" in caught.value.details["expected"]
    assert caught.value.fix


def test_a_digest_can_be_demanded() -> None:
    check_image(f"a/b@{DIGEST}", require_digest=True)
    with pytest.raises(InvalidInput, match="pinned by digest"):
        check_image("a/b:latest", require_digest=True)


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("--max-num-seqs", "64"),
        ("--max-num-seqs=64",),
        ("--enforce-eager",),
        ("--no-enable-prefix-caching",),
        ("--hf-overrides", '{"rope_scaling": {"factor": 4}}'),
        ("--compilation-config.level=3",),
        ("--reasoning-parser", "qwen3"),
        ("--reasoning_parser=qwen3",),
        ("--chat-template", "/templates/x.jinja"),
        ("--seed", "-1"),
        ("--disable-log-stats", "--allowed-origins", '["*"]'),
        ("--lora-modules", "a=acme/a", "b=acme/b"),
        ("--model-impl", "transformers"),
        ("--config-format", "mistral"),
        ("--sim-fault", "oom-at-load"),
    ],
)
def test_arguments_that_may_be_given(args: tuple[str, ...]) -> None:
    check_args(args)


@pytest.mark.parametrize(
    ("arg", "instead"),
    [
        ("--host", "chooses where"),
        ("--port=1", "chooses the engine's port"),
        ("--uds", "TCP"),
        ("--served-model-name", "aliases"),
        ("--served_model_name=x", "aliases"),
        ("--model", "`model`"),
        ("--tensor-parallel-size", "`gpuCount`"),
        ("--tensor-parallel", "`gpuCount`"),
        ("--pipeline_parallel_size", "`gpuCount`"),
        ("--data-parallel-size", "`replicas`"),
        ("--gpu-memory-utilization", "`context`"),
        ("--gpu-mem=0.99", "`context`"),
        ("--max-model-len", "`context`"),
        ("--trust-remote-code", "`trustRemoteCode`"),
        ("--TRUST-REMOTE-CODE", "`trustRemoteCode`"),
        ("--trust", "`trustRemoteCode`"),
        ("--no-trust-remote-code", "`trustRemoteCode`"),
        ("--api-key", "gateway"),
        ("--hf-token", "HF_TOKEN"),
        ("--config", "past these rules"),
        ("--conf=/etc/x", "past these rules"),
        ("--middleware", "imports code"),
        ("--worker-cls=x.Y", "imports code"),
        ("--tool-parser-plugin", "imports code"),
        ("--reasoning-parser-plugin", "imports code"),
        ("--kv-transfer-config.kv_connector_module_path=x", "import code"),
        ("--allowed-local-media-path=/", "files of the host"),
        ("--ssl-keyfile", "api.tls"),
        ("--root-path", "paths"),
        ("--download-dir", "modelCacheDir"),
        ("--help", "exits"),
    ],
)
def test_refused_arguments_name_what_to_use(arg: str, instead: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_args(["--seed", "1", arg], path="spec.args")
    assert instead in caught.value.message
    assert caught.value.details["path"] == "spec.args[2]"
    assert caught.value.details["value"] == arg
    assert caught.value.fix.startswith("Remove --")


@pytest.mark.parametrize(
    "args",
    [
        ("model",), ("-tp", "2"), ("-O3",), ("--",), ("-",), ("---x",), ("--x y",), ("--é",), ("--seed=1", "stray"),
        ("--x\0",), ("--seed", "1\x1b[31m"), ("",), ("--seed", "a" * (MAX_ARG_LENGTH + 1)), ("--seed", "\ud800"),
        ("--seed",) * (MAX_ARGS + 1), ("@/etc/passwd",), ("--\n",),
    ],
)  # fmt: skip
def test_what_is_no_long_option_is_refused(args: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInput):
        check_args(args)


@pytest.mark.parametrize(
    "name", ["HF_TOKEN", "NCCL_DEBUG", "VLLM_LOGGING_LEVEL", "_X", "PYTHONUNBUFFERED", "HTTPS_PROXY", "HF_ENDPOINT"]
)
def test_variables_that_may_be_set(name: str) -> None:
    check_env({name: "value with spaces; $(and) 'signs'\n"})


@pytest.mark.parametrize(
    "name",
    [
        "LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME", "PATH", "HOME",
        "MODELGRID_STATE_DIR", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES",
        "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK", "VLLM_PLUGINS", "VLLM_API_KEY", "HF_HOME", "BASH_ENV",
        "VLLM_ALLOW_INSECURE_SERIALIZATION", "DOCKER_HOST", "LISTEN_FDS", "NOTIFY_SOCKET",
    ],
)  # fmt: skip
def test_variables_that_alter_the_loader_or_our_control_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_env({name: "hunter2"}, path="spec.env")
    assert caught.value.details["path"] == f"spec.env.{name}"
    assert "hunter2" not in str(caught.value) + str(caught.value.details), "values may be secrets"


@pytest.mark.parametrize("name", ["", "a", "http_proxy", "1A", "A-B", "A B", "A=B", "Ä", "A\0", "A" * 200])
def test_malformed_variables_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        check_env({name: "x"})


@pytest.mark.parametrize("value", ["a\0b", "\x1b[2J", "x" * (MAX_ENV_LENGTH + 1), "\udc80"])
def test_malformed_values_are_refused_without_repeating_them(value: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_env({"A": value})
    assert value not in str(caught.value)


def test_mounts() -> None:
    check_mounts([Mount(source="/data/models", target="/models"), Mount(source="/data/lora", target="/lora")])


@pytest.mark.parametrize(
    ("source", "target", "side"),
    [
        ("data", "/x", "source"),
        ("/", "/x", "source"),
        ("/data/../etc", "/x", "source"),
        ("/data//x", "/x", "source"),
        ("/data/./x", "/x", "source"),
        ("/data/", "/x", "source"),
        ("/a:b", "/x", "source"),
        ("/a\0", "/x", "source"),
        ("/var/run/docker.sock", "/x", "source"),
        ("/run/podman/podman.sock", "/x", "source"),
        ("/data", "x", "target"),
        ("/data", "/", "target"),
        ("/data", "/proc/sys", "target"),
        ("/data", "/etc", "target"),
        ("/data", "/usr/lib/python3", "target"),
        ("/data", "/dev/shm", "target"),
        ("/data", "/x/../etc", "target"),
    ],
)
def test_mounts_that_are_refused(source: str, target: str, side: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_mounts([Mount(source=source, target=target)], path="spec.mounts")
    assert caught.value.details["path"] == f"spec.mounts[0].{side}"


def test_two_mounts_on_one_target_are_refused() -> None:
    with pytest.raises(InvalidInput, match="target of its own"):
        check_mounts([Mount(source="/a", target="/x"), Mount(source="/b", target="/x")])


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000", "http://gpu-1.example.com", "http://[::1]:8000", "http://h/", "http://h:1/v1"]
)
def test_urls(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "", "127.0.0.1:8000", "ftp://h", "file:///etc", "http://", "http://user:secret@h", "http://h?x=1", "http://h#x",
        "http://h:99999", "http://h:0", "http://h h", "http://h\n", "http://[::1", "http://h\\@evil", "javascript:x",
        "https://h", "http://h/v", "http://h/v1/models",
    ],
)  # fmt: skip
def test_what_is_no_base_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_url(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["meta-llama/Llama-3.1-8B-Instruct", "tiny", "a/b/c", "gpt-oss-20b", "x_1"])
def test_names(name: str) -> None:
    check_name(name, path="name")


@pytest.mark.parametrize("name", ["", "-x", "a/", "/a", "a//b", "a b", "../a", "a/..", "a\n", "<b>", "a" * 201, "é"])
def test_malformed_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        check_name(name, path="name")


def test_a_whole_spec() -> None:
    check_spec(
        EngineSpec(
            image="vllm/vllm-openai:v0.11.0",
            args=("--max-num-seqs", "8"),
            env={"HF_TOKEN": "x"},
            gpus=(GpuId("nvidia-0"), GpuId("nvidia-1")),
            gpu_count=2,
            context=4096,
            mounts=(Mount(source="/a", target="/b"),),
        )
    )


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        (EngineSpec(image="-x"), "spec.image"),
        (EngineSpec(args=("--host",)), "spec.args[0]"),
        (EngineSpec(env={"PATH": "x"}), "spec.env.PATH"),
        (EngineSpec(gpu_count=-1), "spec.gpuCount"),
        (EngineSpec(gpu_count=65), "spec.gpuCount"),
        (EngineSpec(context=0), "spec.context"),
        (EngineSpec(concurrency=0), "spec.concurrency"),
        (EngineSpec(gpus=(GpuId("gpu0"),)), "spec.gpus[0]"),
        (EngineSpec(gpus=(GpuId("nvidia-0"), GpuId("nvidia-0"))), "spec.gpus"),
        (EngineSpec(gpus=(GpuId("nvidia-0"),), gpu_count=2), "spec.gpuCount"),
        (EngineSpec(mounts=(Mount(source="x", target="/y"),)), "spec.mounts[0].source"),
        (EngineSpec(url="x"), "spec.url"),
    ],
)
def test_a_spec_is_refused_by_its_first_fault(spec: EngineSpec, path: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_spec(spec)
    assert caught.value.details["path"] == path
    assert {"value", "expected"} <= caught.value.details.keys()
    assert caught.value.exit_code == 2


def test_constraints() -> None:
    check_constraints(Constraints(node=NodeName("gpu-1.example.com"), labels={"zone": "a", "team/x": "b-1"}))
    many = {f"l{number}": "x" for number in range(17)}
    for bad in (
        Constraints(node=NodeName("-x")),
        Constraints(labels={"a b": "c"}),
        Constraints(labels={"a": "<"}),
        Constraints(labels=many),
    ):
        with pytest.raises(InvalidInput):
            check_constraints(bad)
