"""Known failures, each told from a recorded message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelgrid.decide.diagnose import MAX_EVIDENCE, diagnose
from modelgrid.decide.failure_rules import RULES
from modelgrid.domain.engine import EngineExit

DOCKER = "Error response from daemon: "
OCI = (
    "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: "
    "unable to start container process: error during container init: error running prestart hook #0: exit status 1, "
    "stdout: , stderr: Auto-detected mode as 'legacy'\n"
)

# (code, retry, text of the runtime). Docker 20.10 to 28, Podman 4.3, NVIDIA Container Toolkit 1.1x.
RUNTIME_TEXTS = [
    ("gpu_runtime_missing", False, DOCKER + 'could not select device driver "" with capabilities: [[gpu]].'),
    ("gpu_runtime_missing", False, DOCKER + 'could not select device driver "nvidia" with capabilities: [[gpu]]'),
    ("gpu_runtime_missing", False, DOCKER + "unknown or invalid runtime name: nvidia"),
    ("gpu_runtime_missing", False, "setting up CDI devices: unresolvable CDI devices nvidia.com/gpu=0"),
    ("driver_too_old", False, DOCKER + OCI + "nvidia-container-cli: requirement error: unsatisfied condition: "
     "cuda>=12.8, please update your driver to a newer version, or use an earlier cuda container: unknown"),
    ("driver_mismatch", False, DOCKER + OCI + "nvidia-container-cli: initialization error: nvml error: "
     "driver/library version mismatch: unknown"),
    ("gpu_not_visible", False, DOCKER + OCI + "nvidia-container-cli: initialization error: nvml error: "
     "driver not loaded: unknown"),
    ("gpu_not_visible", False, DOCKER + OCI + "nvidia-container-cli: device error: GPU-1: unknown device: unknown"),
    ("registry_rate_limited", True, DOCKER + "toomanyrequests: You have reached your unauthenticated pull rate limit."),
    ("registry_tls", False, 'Get "https://reg.example.com/v2/": x509: certificate signed by unknown authority'),
    ("registry_tls", False, 'Get "https://10.0.0.5:5000/v2/": http: server gave HTTP response to HTTPS client'),
    ("image_refused", False, DOCKER + "pull access denied for myimage, repository does not exist or may require "
     "'docker login': denied: requested access to the resource is denied"),
    ("image_refused", False, "unauthorized: authentication required"),
    ("image_not_found", False, "manifest for 127.0.0.1:5000/modelgrid-test/absent:1 not found: manifest unknown: "
     "manifest unknown"),
    ("image_not_found", False, "initializing source docker://quay.io/a/b:c: reading manifest c in quay.io/a/b: "
     "manifest unknown"),
    ("registry_unreachable", True, 'Get "http://127.0.0.1:5001/v2/": dial tcp 127.0.0.1:5001: connect: '
     "connection refused"),
    ("registry_unreachable", True, 'Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io on '
     "127.0.0.53:53: no such host"),
    ("registry_unreachable", True, "pinging container registry reg.example.com: Get: net/http: request canceled"),
    ("port_in_use", True, "driver failed programming external connectivity on endpoint mg (0a): Bind for "
     "127.0.0.1:18000 failed: port is already allocated"),
    ("port_in_use", True, "rootlessport listen tcp 127.0.0.1:18000: bind: address already in use"),
    ("disk_full", False, "failed to register layer: write /usr/lib/x.so: no space left on device"),
    ("mount_failed", False, 'invalid mount config for type "bind": bind source path does not exist: /srv/models/x'),
    ("engine_program_missing", False, 'OCI runtime create failed: exec: "vllm": executable file not found in $PATH: '
     "unknown"),
    ("engine_program_missing", False, "exec /usr/bin/python3: exec format error"),
]  # fmt: skip

# (code, retry, line of the log). vLLM 0.6 to 0.32, huggingface_hub, transformers, PyTorch, NCCL.
LOG_LINES = [
    ("kv_cache_too_small", False, "(EngineCore pid=21523) ERROR 11-23 16:17:22 [core.py:1510] ValueError: To serve at "
     "least one request with the model's max seq len (131072), (0.06 GiB KV cache is needed, which is larger than the "
     "available KV cache memory (0.02 GiB). Based on the available memory, the estimated maximum model length is "
     "40832. Try increasing `gpu_memory_utilization` (which also controls CPU memory on the CPU backend) or "
     "decreasing `max_model_len` when initializing the engine."),
    ("kv_cache_too_small", False, "ERROR 04-05 01:12:55 [core.py:390] ValueError: To serve at least one request with "
     "the models's max seq len (1048576), (24.00 GiB KV cache is needed, which is larger than the available KV cache "
     "memory (9.97 GiB). Try increasing `gpu_memory_utilization` or decreasing `max_model_len`"),
    ("kv_cache_too_small", False, "ValueError: The model's max seq len (4096) is larger than the maximum number of "
     "tokens that can be stored in KV cache (3664). Try increasing `gpu_memory_utilization` or decreasing "
     "`max_model_len` when initializing the engine."),
    ("kv_cache_too_small", False, "ValueError: No available memory for the cache blocks. Try increasing "
     "`gpu_memory_utilization` when initializing the engine."),
    ("gpu_memory_taken", True, "(EngineCore_DP0 pid=215) ERROR 10-13 09:06:25 [core.py:708] ValueError: Free memory on "
     "device cuda:0 (9.80/23.56 GiB) on startup is less than desired GPU memory utilization (0.9, 21.21 GiB). "
     "Decrease GPU memory utilization or reduce GPU memory used by other processes."),
    ("gpu_memory_taken", True, "AssertionError: Error in memory profiling. Initial free memory 8.1 GiB, current free "
     "memory 9.3 GiB. This happens when other processes sharing the same container release GPU memory"),
    ("gpu_out_of_memory", True, "(EngineCore pid=112) ERROR 05-01 14:39:06 [core.py:1131] torch.OutOfMemoryError: CUDA "
     "out of memory. Tried to allocate 50.00 MiB. GPU 0 has a total capacity of 23.56 GiB of which 21.75 MiB is free."),
    ("gpu_out_of_memory", True, "torch.OutOfMemoryError: HIP out of memory. Tried to allocate 2.00 GiB."),
    ("gpu_out_of_memory", True, "RuntimeError: CUDA error: out of memory"),
    ("gpu_out_of_memory", True, "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
    ("host_memory_low", True, "ValueError: Available memory on node 0 (6.13/9.84 GiB) on kv cache allocation is less "
     "than requested memory for kv (4000.0 GiB). Decrease --kv-cache-memory-bytes, VLLM_CPU_KVCACHE_SPACE, or reduce "
     "CPU memory used by other processes."),
    ("host_memory_low", True, "RuntimeError: [enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate "
     "memory: you tried to allocate 68719476736 bytes. Error code 12 (Cannot allocate memory)"),
    ("context_too_long", False, "  Value error, User-specified max_model_len (1000000) is greater than the derived "
     "max_model_len (max_position_embeddings=131072.0 or model_max_length=None in model's config.json)."),
    ("gpu_count_does_not_divide", False, "ValueError: Total number of attention heads (28) must be divisible by tensor "
     "parallel size (8)."),
    ("too_few_gpus", False, "ValueError: World size (4) is larger than the number of available GPUs (2) in this node."),
    ("model_gated", False, "OSError: You are trying to access a gated repo."),
    ("model_gated", False, "Access to model meta-llama/Llama-3.1-8B-Instruct is restricted. You must have access to it "
     "and be authenticated to access it. Please log in."),
    ("model_gated", False, "huggingface_hub.errors.GatedRepoError: 403 Client Error. Cannot access gated repo"),
    ("token_refused", False, "Invalid username or password."),
    ("token_refused", False, "Invalid credentials in Authorization header"),
    ("token_refused", False, 'OSError: User Access Token "modelgrid" is expired'),
    ("model_path_missing", False, "huggingface_hub.errors.HFValidationError: Repo id must be in the form "
     "'repo_name' or 'namespace/repo_name': '/no/such/model'. Use `repo_type` argument if needed."),
    ("model_path_missing", False, "ValueError: Invalid repository ID or local directory specified: '/no/such/model'."),
    ("hub_offline", False, "huggingface_hub.errors.LocalEntryNotFoundError: Cannot find an appropriate cached snapshot "
     "folder for the specified revision on the local disk and outgoing traffic has been disabled."),
    ("model_not_found", False, "OSError: acme/no-such-model is not a local folder and is not a valid model identifier "
     "listed on 'https://huggingface.co/models'"),
    ("model_not_found", False, "Repository Not Found for url: https://huggingface.co/api/models/acme/none."),
    ("model_not_found", False, "Revision Not Found for url: https://huggingface.co/acme/x/resolve/v9/config.json."),
    ("hub_rate_limited", True, "huggingface_hub.errors.HfHubHTTPError: 429 Client Error: Too Many Requests for url"),
    ("hub_unreachable", True, "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and "
     "couldn't find them in the cached files."),
    ("hub_unreachable", True, "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='huggingface.co', "
     "port=443): Max retries exceeded with url: /api/models/x (Caused by NameResolutionError)"),
    ("weights_corrupt", False, "safetensors_rust.SafetensorError: Error while deserializing header: "
     "MetadataIncompleteBuffer"),
    ("remote_code_needed", False, "RuntimeError: Failed to load the model config. If the model is a custom model not "
     "yet available in the HuggingFace transformers library, consider setting `trust_remote_code=True` in LLM or using "
     "the `--trust-remote-code` flag in the CLI."),
    ("remote_code_needed", False, "ValueError: The repository nomic-ai/x contains custom code which must be "
     "executed to correctly load the model."),
    ("dtype_unsupported", False, "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least "
     "8.0. Your Tesla T4 GPU has compute capability 7.5. You can use float16 instead by explicitly setting the `dtype` "
     "flag in CLI, for example: --dtype=half."),
    ("compute_capability", False, "ValueError: The quantization method mxfp4 is not supported for the current GPU. "
     "Minimum capability: 80. Current capability: 75."),
    ("compute_capability", False, "RuntimeError: CUDA error: no kernel image is available for execution on the device"),
    ("architecture_unsupported", False, "ValueError: Model architectures ['FooForCausalLM'] are not supported for now. "
     "Supported architectures: dict_keys(['LlamaForCausalLM'])"),
    ("architecture_unsupported", False, "  Value error, The checkpoint you are trying to load has model type "
     "`nosuchmodel` but Transformers does not recognize this architecture."),
    ("wrong_arguments", False, "vllm: error: unrecognized arguments: --no-such-option 1"),
    ("wrong_arguments", False, "vllm serve: error: argument --dtype: invalid choice: 'float8'"),
    ("wrong_arguments", False, "api_server.py: error: argument --tool-call-parser: expected one argument"),
    ("wrong_arguments", False, "python -m modelgrid.simulator serve: error: argument --port: invalid int value: 'x'"),
    ("wrong_arguments", False, "python -m modelgrid.simulator: error: fault 'oom': no such fault; see --help"),
    ("port_in_use", True, "OSError: [Errno 98] Address already in use"),
    ("disk_full", False, "OSError: [Errno 28] No space left on device"),
    ("disk_full", False, "RuntimeError: Data processing error: CAS service error : IO Error: No space left on device "
     "(os error 28)"),
    ("shared_memory_too_small", False, "torch.distributed.DistBackendError: NCCL error in: NCCLUtils.hpp:317, "
     "unhandled system error, NCCL version 2.21.5 Last error: Error while creating shared memory segment "
     "/dev/shm/nccl-EoOvZr (size 7340384)"),
    ("shared_memory_too_small", False, "OSError: [Errno 28] No space left on device: '/dev/shm/psm_5f2c'"),
    ("nccl", True, "RuntimeError: NCCL error: unhandled system error (run with NCCL_DEBUG=INFO for details)"),
    ("nccl", True, "torch.distributed.DistBackendError: NCCL error in: ../torch/csrc/distributed/c10d/"
     "NCCLUtils.hpp:317"),
    ("gpu_fault", True, "RuntimeError: CUDA error: an illegal memory access was encountered"),
    ("gpu_fault", True, "torch.AcceleratorError: CUDA error: uncorrectable ECC error encountered"),
    ("driver_too_old", False, "RuntimeError: The NVIDIA driver on your system is too old (found version 12040)."),
    ("driver_too_old", False, "RuntimeError: CUDA driver version is insufficient for CUDA runtime version"),
    ("driver_mismatch", False, "Failed to initialize NVML: Driver/library version mismatch"),
    ("gpu_not_visible", False, "RuntimeError: No CUDA GPUs are available"),
    ("gpu_not_visible", False, "RuntimeError: Failed to infer device type, please set the environment variable "
     "`VLLM_LOGGING_LEVEL=DEBUG` to turn on verbose logging"),
    ("gpu_not_visible", False, "ImportError: libcuda.so.1: cannot open shared object file: No such file or directory"),
    ("too_many_files", True, "OSError: [Errno 24] Too many open files"),
    ("too_many_files", True, "RuntimeError: can't start new thread"),
    ("cache_not_writable", False, "PermissionError: [Errno 13] Permission denied: '/modelgrid/cache/huggingface/hub'"),
    ("python_module_missing", False, "ModuleNotFoundError: No module named 'flash_attn'"),
    ("configuration_refused", False, "  Value error, Cannot use FlashInfer with this model [type=value_error, "
     "input_value=ArgsKwargs((), {'model': 'x'}), input_type=ArgsKwargs]"),
]  # fmt: skip

FAILED = EngineExit(at=1.0, code=1)
NOISE = [
    "(APIServer pid=1) INFO 11-23 16:14:01 [api_utils.py:286] non-default args: {'trust_remote_code': False}",
    "(APIServer pid=1) WARNING 11-23 16:14:20 [system_utils.py:255] Found ulimit of 20000 and failed to increase. This "
    "can cause fd limit errors like `OSError: [Errno 24] Too many open files`. Consider increasing with ulimit -n",
    "INFO 04-26 01:59:07 [cuda.py:1] CUDA out of memory is not what happened",
    "Traceback (most recent call last):",
    '  File "/usr/lib/python3/dist-packages/vllm/platforms/cuda.py", line 1, in no_such_image',
    "    raise GatedRepoError(message, response) from e",
]
AFTER = [
    "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
]


@pytest.mark.parametrize(("code", "retry", "text"), RUNTIME_TEXTS, ids=lambda value: str(value)[:40])
def test_what_the_runtime_says(code: str, retry: bool, text: str) -> None:
    for found in (diagnose(None, NOISE, text), diagnose(EngineExit(at=0.0, error=text), [])):
        assert found is not None
        assert (found.code, found.retry) == (code, retry)
        assert found.cause
        assert found.remedy
        assert "{" not in found.cause + found.remedy
        assert found.evidence


@pytest.mark.parametrize(("code", "retry", "line"), LOG_LINES, ids=lambda value: str(value)[:40])
def test_what_the_log_says(code: str, retry: bool, line: str) -> None:
    found = diagnose(FAILED, [*NOISE, line, *AFTER])
    assert found is not None
    assert (found.code, found.retry) == (code, retry)
    assert "{" not in found.cause + found.remedy
    assert found.evidence[-30:] in line[:MAX_EVIDENCE]
    assert not found.evidence.startswith(("(", " ")), "the evidence is the message without vLLM's prefix"


@pytest.mark.parametrize(
    ("ended", "code", "word"),
    [
        (EngineExit(at=0, code=137, out_of_memory=True), "host_out_of_memory", "host's memory"),
        (EngineExit(at=0, signal=9), "killed", "SIGKILL"),
        (EngineExit(at=0, code=137), "killed", "SIGKILL"),
        (EngineExit(at=0, code=143), "killed", "SIGTERM"),
        (EngineExit(at=0, signal=7), "shared_memory_too_small", "/dev/shm"),
        (EngineExit(at=0, code=135), "shared_memory_too_small", "/dev/shm"),
        (EngineExit(at=0, signal=11), "crashed", "SIGSEGV"),
        (EngineExit(at=0, code=134), "crashed", "SIGABRT"),
        (EngineExit(at=0, signal=4), "processor_unsupported", "instructions"),
    ],
)
def test_what_the_exit_says(ended: EngineExit, code: str, word: str) -> None:
    found = diagnose(ended, NOISE)
    assert found is not None
    assert found.code == code
    assert word in found.cause


def test_every_rule_has_a_recorded_message() -> None:
    shown = {code for code, *_ in RUNTIME_TEXTS + LOG_LINES}
    shown |= {"host_out_of_memory", "killed", "crashed", "processor_unsupported"}
    assert {rule.code for rule in RULES} == shown


def test_the_remedy_quotes_the_context_that_fits() -> None:
    new, old, tail = (next(t for c, _, t in LOG_LINES if c == "kv_cache_too_small" and s in t) for s in
                      ("40832", "3664", "No available"))  # fmt: skip
    for line, word in ((new, "40832 tokens"), (old, "3664 tokens"), (tail, "smaller context")):
        found = diagnose(FAILED, [line])
        assert found is not None
        assert word in found.remedy


def test_the_numbers_of_taken_memory_are_told() -> None:
    line = next(text for code, _, text in LOG_LINES if code == "gpu_memory_taken")
    found = diagnose(FAILED, [line])
    assert found is not None
    assert "9.80 GiB free of 23.56, 21.21 GiB wanted" in found.cause


def test_the_cause_is_told_before_what_it_leads_to() -> None:
    found = diagnose(EngineExit(at=0, code=137), ["RuntimeError: NCCL error: unhandled system error", LOG_LINES[6][2]])
    assert found is not None
    assert found.code == "gpu_out_of_memory"


def test_colours_do_not_hide_a_message() -> None:
    found = diagnose(FAILED, ["\x1b[0;36m(EngineCore pid=1)\x1b[0;0m ERROR 11-23 16:17:22 [core.py:1] \x1b[31mOSError: "
                              "[Errno 98] Address already in use\x1b[0m"])  # fmt: skip
    assert found is not None
    assert found.evidence == "OSError: [Errno 98] Address already in use"


@pytest.mark.parametrize("ended", [None, EngineExit(at=0, code=0), EngineExit(at=0, code=1), EngineExit(at=0, code=3)])
def test_what_is_not_known_is_not_guessed(ended: EngineExit | None) -> None:
    assert diagnose(ended, [*NOISE, *AFTER, "KeyError: 'x'"]) is None


@given(
    st.one_of(st.none(), st.builds(EngineExit, at=st.just(0.0), code=st.integers(0, 255), error=st.text(max_size=50))),
    st.lists(st.one_of(st.text(max_size=100), st.sampled_from([t for _, _, t in LOG_LINES])), max_size=10),
    st.text(max_size=100),
)
def test_any_text_is_survived_and_evidence_is_bounded(ended: EngineExit | None, lines: list[str], error: str) -> None:
    found = diagnose(ended, lines, error)
    if found is not None:
        assert len(found.evidence) <= MAX_EVIDENCE
        assert found.code in {rule.code for rule in RULES}
    assert diagnose(ended, lines, error) == found


def test_hostile_lines_take_bounded_time() -> None:
    import time

    lines = ["max seq len ( " * 2500] * 250 + ["Free memory on device (" * 1700] * 250
    begin = time.process_time()
    diagnose(FAILED, lines)
    assert time.process_time() - begin < 2.5
