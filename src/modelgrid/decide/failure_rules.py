"""The table of known failures of engines, in order of precedence. Read by `decide.diagnose`.

The first rule that matches wins, so causes stand above what they lead to: a full shared memory ends NCCL, a missing
token ends the download. Each pattern stands for texts of vLLM 0.6 to 0.32, huggingface_hub, PyTorch, Docker, Podman
and the NVIDIA container toolkit; the unit tests carry the recorded lines.
"""

from typing import Final

from modelgrid.decide.failure_rule import LOG, RUNTIME, Rule, died_of

_LESS = "Ask for a smaller context or concurrency, more GPUs per instance, or a smaller or quantised model."
_TOKEN = (
    "Accept the licence on the model's page, then deploy with a token that may read it: "  # noqa: S105 - advice
    "--env HF_TOKEN=hf_…"
)

RULES: Final[tuple[Rule, ...]] = (
    Rule(
        code="host_out_of_memory",
        exits=lambda exit_: exit_.out_of_memory,
        cause="The engine was killed because the host's memory, or its memory limit, was exhausted.",
        remedy="Free host memory, use a smaller model, or run fewer engines on this node.",
        retry=True,
    ),
    # What the container engine says.
    Rule(
        code="gpu_runtime_missing",
        pattern=(
            r"could not select device driver|unknown or invalid runtime name: nvidia|unresolvable CDI devices"
            r"|nvidia-container-(?:cli|runtime)[^\n]*(?:not found|no such file)"
        ),
        cause="The container engine cannot give GPUs to containers.",
        remedy="Install the NVIDIA Container Toolkit and restart the engine: `modelgrid gpu install` shows each step.",
    ),
    Rule(
        code="driver_too_old",
        pattern=(
            r"unsatisfied condition: (?P<need>cuda ?>= ?[\d.]+)|driver on your system is too old"
            r"|CUDA driver version is insufficient|forward compatibility was attempted on non supported HW"
            r"|unsupported PTX version|compiled with an unsupported toolchain"
        ),
        cause="The GPU driver is older than the engine's CUDA.",
        remedy="Update the driver ({need} is demanded; `modelgrid gpu drivers`), or choose an image for an older CUDA.",
        remedy_else="Update the driver (`modelgrid gpu drivers` shows it), or choose an image for an older CUDA.",
    ),
    Rule(
        code="driver_mismatch",
        pattern=r"Driver/library version mismatch",
        cause="The driver's library and its kernel module have different versions; it was updated without a restart.",
        remedy="Reload the NVIDIA kernel modules, or restart the machine.",
    ),
    Rule(
        code="gpu_not_visible",
        pattern=(
            r"No CUDA GPUs are available|Found no NVIDIA driver|Failed to infer device type|CUDA unknown error"
            r"|nvml error: driver not loaded|invalid device ordinal|no ROCm-capable device|No HIP GPUs are available"
            r"|libcuda\.so\.1: cannot open shared object|CUDA-capable device\(s\) is/are busy|unknown device: "
        ),
        cause="The engine sees no usable GPU.",
        remedy="Check the driver with `modelgrid gpu drivers` and `modelgrid doctor`; use an image for its vendor.",
    ),
    Rule(
        code="registry_rate_limited",
        pattern=r"toomanyrequests|pull rate limit",
        where=RUNTIME,
        cause="The registry refuses further pulls for a while.",
        remedy="Log in to the registry on this node, or wait and try again.",
        retry=True,
    ),
    Rule(
        code="registry_tls",
        pattern=r"x509: |server gave HTTP response to HTTPS client|tls: (?:failed|handshake|bad|unknown)",
        where=RUNTIME,
        cause="The registry's certificate is not trusted, or it speaks no TLS.",
        remedy="Add its certificate authority on this node, or list it as an insecure registry of the engine.",
    ),
    Rule(
        code="image_refused",
        pattern=(
            r"pull access denied|requested access to the resource is denied|no basic auth credentials"
            r"|unauthorized: |authentication required|denied: "
        ),
        where=RUNTIME,
        cause="The registry refused the image: it does not exist, or it needs a login.",
        remedy="Check the image's name; log in to the registry on this node when it is private.",
    ),
    Rule(
        code="image_not_found",
        pattern=r"manifest unknown|manifest for \S+ not found|no such image|name unknown|repository \S+ not found",
        where=RUNTIME,
        cause="The registry does not have this image or tag.",
        remedy="Check the image's name and tag.",
    ),
    Rule(
        code="registry_unreachable",
        pattern=(
            r"dial tcp|lookup \S+ on|no such host|Client\.Timeout|TLS handshake timeout|net/http: request canceled"
            r"|pinging container registry|i/o timeout"
        ),
        where=RUNTIME,
        cause="The image registry cannot be reached from this node.",
        remedy="Check the node's network and proxy, or pull from a registry that it can reach.",
        retry=True,
    ),
    Rule(
        code="port_in_use",
        pattern=r"\[Errno 98\]|address already in use|port is already allocated|EADDRINUSE",
        cause="Another program took the engine's port.",
        remedy="Nothing to do: the next start takes another port.",
        retry=True,
    ),
    Rule(
        code="shared_memory_too_small",
        exits=died_of(7),
        pattern=(
            r"/dev/shm[^\n]*no space left|no space left[^\n]*/dev/shm|creating shared memory segment"  # noqa: S108
            r"|insufficient shared memory|\bbus error\b"
        ),
        cause="The shared memory of the engine (/dev/shm) is too small.",
        remedy="Give containers more (docker.shmGib), and on the host enlarge /dev/shm.",
    ),
    Rule(
        code="disk_full",
        pattern=r"no space left on device|\[Errno 28\]|disk quota exceeded|not enough free disk space",
        cause="A disk is full.",
        remedy="Free space below docker.modelCacheDir and the container engine's folder, or use a larger disk.",
    ),
    Rule(
        code="mount_failed",
        pattern=r"bind source path does not exist|invalid mount config|error mounting|statfs \S+: no such file",
        where=RUNTIME,
        cause="A folder that the deployment mounts could not be mounted.",
        remedy="Create the folder on this node, or remove the mount.",
    ),
    Rule(
        code="engine_program_missing",
        pattern=r"executable file not found|exec format error|exec: \S+ no such file|`?vllm`? (?:was )?not found",
        cause="The engine's program is missing in the image or on this node, or was built for another processor.",
        remedy="Use an image of vLLM for this machine's architecture, or set docker.vllmPath.",
    ),
    # What vLLM and its libraries say; memory first.
    Rule(
        code="kv_cache_too_small",
        pattern=(
            r"max seq len \((?P<asked>\d+)\).*?(?:estimated maximum model length is |stored in KV cache \()"
            r"(?P<estimate>\d+)"
            r"|max seq len \(\d+\)|No available memory for the cache blocks"
        ),
        cause="The memory left for the KV cache does not hold one sequence of the context asked.",
        remedy="Ask for a context of at most {estimate} tokens, or give each instance more GPUs.",
        remedy_else=_LESS,
    ),
    Rule(
        code="gpu_memory_taken",
        pattern=(
            r"Free memory on device \S+ \((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\) on startup is less than"
            r"[^\n]*?(?P<wanted>[\d.]+) GiB\)|Error in memory profiling|less than desired GPU memory utilization"
        ),
        cause="The GPU has less free memory than was planned: {free} GiB free of {total}, {wanted} GiB wanted.",
        remedy="Stop what else uses the GPU (`modelgrid gpu status` names it), or ask for a smaller context.",
        retry=True,
    ),
    Rule(
        code="gpu_out_of_memory",
        pattern=(
            r"(?:CUDA|HIP|XPU|GPU) out of memory|torch(?:\.cuda)?\.OutOfMemoryError|CUDA error: out of memory"
            r"|CUBLAS_STATUS_ALLOC_FAILED|cudaErrorMemoryAllocation|UR_RESULT_ERROR_OUT_OF_\w+|hipErrorOutOfMemory"
        ),
        cause="The GPU ran out of memory.",
        remedy=_LESS,
        retry=True,
    ),
    Rule(
        code="host_memory_low",
        pattern=(
            r"Available memory on node \S+ [^\n]*less than requested memory for kv|DefaultCPUAllocator"
            r"|Cannot allocate memory|\[Errno 12\]|(?:^|: )MemoryError|std::bad_alloc"
        ),
        cause="The host has less free memory than the engine needs.",
        remedy="Free host memory, or ask for a smaller context or concurrency.",
        retry=True,
    ),
    Rule(
        code="context_too_long",
        pattern=r"User-specified max_model_len \((?P<asked>\d+)\) is greater than the derived[^=]*=(?P<most>\d+)",
        cause="The context asked, {asked} tokens, is longer than the model supports.",
        remedy="Ask for a context of at most {most} tokens.",
    ),
    Rule(
        code="gpu_count_does_not_divide",
        pattern=(
            r"Total number of attention heads \((?P<heads>\d+)\) must be divisible by[^\n]*?\((?P<count>\d+)\)"
            r"|is not divisible by (?:the )?(?:tensor|tp)"
        ),
        cause="The model cannot be split over this number of GPUs.",
        remedy="Use a GPU count that divides the model's {heads} attention heads.",
        remedy_else="Use another GPU count, usually a power of two.",
    ),
    Rule(
        code="too_few_gpus",
        pattern=r"World size \((?P<world>\d+)\) is larger than the number of available GPUs",
        cause="The engine sees fewer GPUs than it was given.",
        remedy="Check with `modelgrid gpu list` that all GPUs of this node are healthy.",
    ),
    # The hub.
    Rule(
        code="model_gated",
        pattern=(
            r"gated repo|GatedRepoError|Access to model \S+ is restricted|awaiting a review from the repo authors"
        ),
        cause="The model's weights are behind a licence that this node's token has not accepted, or there is no token.",
        remedy=_TOKEN,
    ),
    Rule(
        code="token_refused",
        pattern=(
            r"Invalid user token|Invalid credentials in Authorization header|Invalid username or password"
            r"|Access Token \S+ is expired|User Access Token[^\n]*expired|token has the correct permissions"
        ),
        cause="The model hub refused the token.",
        remedy="Create a new token with read access and deploy with --env HF_TOKEN=hf_….",
    ),
    Rule(
        code="model_path_missing",
        pattern=(
            r"Repo id must be in the form[^\n]*?'(?P<path>/[^']*)'"
            r"|Invalid repository ID or local directory specified: '(?P<folder>/[^']*)'"
            r"|FileNotFoundError:[^\n]*config\.json"
        ),
        cause="The model's folder does not exist where the engine runs.",
        remedy="Put the model into {path} on this node, or name another folder.",
        remedy_else="Put the model there, or name another folder.",
    ),
    Rule(
        code="hub_offline",
        pattern=r"outgoing traffic has been disabled|OfflineModeIsEnabled|offline mode is enabled",
        cause="The weights are not on this node and downloads are switched off.",
        remedy="Download the model into the model cache first, or remove HF_HUB_OFFLINE.",
    ),
    Rule(
        code="model_not_found",
        pattern=(
            r"is not a local folder (?:and is not a valid|or a valid)|Repository Not Found for url"
            r"|RepositoryNotFoundError|Revision Not Found|is not a valid git identifier"
            r"|Invalid repository ID or local directory|does not appear to have a file named config\.json"
        ),
        cause="The model hub has no such model or revision, or does not show it without a token.",
        remedy="Check the name on the hub; for a private model deploy with --env HF_TOKEN=hf_….",
    ),
    Rule(
        code="hub_rate_limited",
        pattern=r"429 (?:Client Error|Too Many Requests)",
        cause="The model hub refuses further downloads for a while.",
        remedy="Wait, or deploy with a token (--env HF_TOKEN=hf_…), which raises the limit.",
        retry=True,
    ),
    Rule(
        code="hub_unreachable",
        pattern=(
            r"We couldn't connect to 'https?://|couldn't find them in the cached files|Max retries exceeded with url"
            r"|Temporary failure in name resolution|LocalEntryNotFoundError|httpx?\.Connect(?:Error|Timeout)"
            r"|cannot find the requested files in the (?:local|disk) cache"
        ),
        cause="The model hub cannot be reached from this node.",
        remedy="Check the node's network and proxy, set HF_ENDPOINT to a mirror, or copy the model into the cache.",
        retry=True,
    ),
    Rule(
        code="weights_corrupt",
        pattern=(
            r"SafetensorError|Error while deserializing header|MetadataIncompleteBuffer|HeaderTooLarge"
            r"|PytorchStreamReader failed|invalid load key"
        ),
        cause="A weight file is damaged or was downloaded only in part.",
        remedy="Delete the model's folder below docker.modelCacheDir; the next start downloads it anew.",
    ),
    # The model and the hardware.
    Rule(
        code="remote_code_needed",
        pattern=(
            r"`trust_remote_code=True`|option `trust_remote_code|contains custom code which must be executed"
            r"|requires you to execute the"
        ),
        cause="The model needs code from its repository, which is off unless allowed.",
        remedy="Read that code, then deploy with --trust-remote-code.",
    ),
    Rule(
        code="dtype_unsupported",
        pattern=(
            r"Bfloat16 is only supported on GPUs with compute capability of at least (?P<need>[\d.]+)"
            r"|dtype \S+ is not supported|does not support (?:bfloat16|float16)|\w*float16 is not supported"
        ),
        cause="The GPU does not support the model's number format.",
        remedy="Add the argument --dtype=half, or use a GPU of compute capability {need} or later.",
        remedy_else="Add the argument --dtype=half (GPU) or --dtype=float32 (CPU).",
    ),
    Rule(
        code="compute_capability",
        pattern=(
            r"no kernel image is available|is not supported for the current GPU\. Minimum capability: (?P<need>\d+)"
            r"|not compatible with the current PyTorch|requires (?:GPU )?compute capability"
        ),
        cause="The GPU is too old for this model's format or for the engine.",
        remedy="Use a GPU of compute capability {need} (times ten) or later, or an unquantised model.",
        remedy_else="Use a newer GPU, an older engine image, or an unquantised model.",
    ),
    Rule(
        code="architecture_unsupported",
        pattern=(
            r"Model architectures \[(?P<name>[^\]]*)\] are not supported|does not recognize this architecture"
            r"|has no vLLM implementation and|Should have a `model_type` key|Cannot find model module"
        ),
        cause="This version of vLLM does not know the model's architecture.",
        remedy="Use a newer engine image, or another model.",
    ),
    Rule(
        code="wrong_arguments",
        pattern=r"(?:(?:vllm|python -m modelgrid\.simulator)(?: serve)?|api_server\.py): error: (?P<what>[^\n]+)",
        where=LOG,
        cause="vLLM refused its arguments: {what}.",
        remedy="Correct the deployment's arguments; options differ between versions of vLLM.",
    ),
    # Effects that have many causes come last.
    Rule(
        code="gpu_fault",
        pattern=(
            r"illegal memory access|uncorrectable ECC error|unspecified launch failure|fallen off the bus"
            r"|device-side assert|\bXid\b|CUDA error: hardware"
        ),
        cause="The GPU reported a fault while it worked.",
        remedy="Look at `modelgrid gpu status` for ECC and XID errors; restart the node when it comes again.",
        retry=True,
    ),
    Rule(
        code="nccl",
        pattern=r"NCCL error|nccl(?:System|Internal|Remote|UnhandledCuda)Error|DistBackendError|RCCL error",
        cause="The GPUs could not talk to each other (NCCL).",
        remedy="Set NCCL_DEBUG=INFO to see why; NCCL_P2P_DISABLE=1 helps where peer access between the GPUs is broken.",
        retry=True,
    ),
    Rule(
        code="too_many_files",
        pattern=r"\[Errno 24\]|Too many open files|can't start new thread|pthread_create failed",
        cause="The engine reached a limit of open files or threads.",
        remedy="Raise the limits (LimitNOFILE, LimitNPROC, pids limit) of the daemon or the container engine.",
        retry=True,
    ),
    Rule(
        code="cache_not_writable",
        pattern=r"\[Errno 13\]|\[Errno 30\]|Read-only file system|PermissionError at",
        cause="The engine may not write where it must, usually the model cache.",
        remedy="Give the daemon's user write access to docker.modelCacheDir.",
    ),
    Rule(
        code="python_module_missing",
        pattern=r"No module named '(?P<module>[^']+)'|ImportError: (?P<what>[^\n]+)",
        cause="A Python module is missing or broken in the engine's installation.",
        remedy="Install {module} beside vLLM, or use an image that has it.",
        remedy_else="Install vLLM anew, or use its official image.",
    ),
    Rule(
        code="configuration_refused",
        pattern=r"Value error, (?P<what>[^\n]+?)(?: \[type=|$)",
        where=LOG,
        cause="vLLM refused the model's configuration: {what}.",
        remedy="Correct the deployment's arguments, or use another engine image.",
    ),
    Rule(
        code="processor_unsupported",
        exits=died_of(4),
        cause="The engine uses instructions that this processor does not have.",
        remedy="Use an engine image or build for this processor.",
    ),
    Rule(
        code="killed",
        exits=died_of(9, 15),
        cause="The engine was ended from outside by {signal}.",
        remedy="If nobody did, look for the kernel's out-of-memory killer in `journalctl -k`.",
        retry=True,
    ),
    Rule(
        code="crashed",
        exits=died_of(6, 11),
        cause="The engine crashed in native code ({signal}).",
        remedy="Try another engine image; if it comes again, report it to vLLM with the log.",
        retry=True,
    ),
)
"""In order of precedence; a new rule goes above what its cause leads to."""
