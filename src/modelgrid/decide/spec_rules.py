"""Rules for what people may ask of an engine: image, arguments, environment, mounts, URL, names and counts.

Pure checks that raise `InvalidInput` with `details = {path, value, expected}` and a `fix`. They run before a
spec is stored and again before it is launched. What depends on the machine (does a mount lie below an allowed
root by real path?) is checked where the machine is, in the runtimes.

Option names are those of `vllm serve`. Its parser accepts underscores for dashes and unambiguous abbreviations
(`argparse`'s default), so every rule compares normalised names and also refuses each abbreviation of a refused one.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

from modelgrid.domain.errors import InvalidInput
from modelgrid.domain.target import Constraints, EngineSpec, Mount

MAX_ARGS: Final = 128
MAX_ARG_LENGTH: Final = 4096
MAX_ENV: Final = 128
MAX_ENV_LENGTH: Final = 32_768
"""Characters of one value. Linux allows 128 KiB per string; nothing an engine reads needs more than this."""
MAX_MOUNTS: Final = 16
MAX_LABELS: Final = 16
MAX_GPUS: Final = 64
MAX_CONTEXT: Final = 100_000_000
MAX_CONCURRENCY: Final = 100_000

_OPTION = re.compile(r"--[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_.-]+)?\Z")
_NUMBER = re.compile(r"-\d+(\.\d+)?\Z")
_ENV_NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,127}\Z")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?(?:/[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)*\Z")
_GPU_ID = re.compile(r"(?:nvidia|amd|intel)-\d{1,3}\Z")
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?\Z")

# The grammar of github.com/distribution/reference, with its bounds: name ≤ 255, tag ≤ 128 characters.
_DOMAIN = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[a-fA-F0-9:]+\])"
    r"(?::[0-9]{1,5})?\Z"
)
_PATH_PART = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*\Z")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\Z")
_DIGEST = re.compile(r"(?:sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})\Z")

_OWNED: Final[Mapping[str, str]] = {
    "model": "name the model with `model`",
    "served-model-name": "the catalog entry's id and aliases are the served names",
    "host": "ModelGrid chooses where an engine listens; nothing replaces it",
    "port": "ModelGrid chooses the engine's port; nothing replaces it",
    "uds": "ModelGrid reaches engines over TCP; nothing replaces it",
    "grpc": "ModelGrid speaks HTTP to engines; nothing replaces it",
    "grpc-port": "ModelGrid speaks HTTP to engines; nothing replaces it",
    "headless": "ModelGrid needs the engine's HTTP server; nothing replaces it",
    "tensor-parallel-size": "use `gpuCount` or `gpus`",
    "pipeline-parallel-size": "use `gpuCount` or `gpus`",
    "prefill-context-parallel-size": "use `gpuCount` or `gpus`",
    "decode-context-parallel-size": "use `gpuCount` or `gpus`",
    "data-parallel-size": "use `replicas`",
    "data-parallel-size-local": "use `replicas`",
    "data-parallel-rank": "use `replicas`",
    "data-parallel-start-rank": "use `replicas`",
    "data-parallel-address": "use `replicas`",
    "data-parallel-rpc-port": "use `replicas`",
    "data-parallel-backend": "use `replicas`",
    "data-parallel-hybrid-lb": "use `replicas`",
    "data-parallel-external-lb": "use `replicas`",
    "data-parallel-multi-port-external-lb": "use `replicas`",
    "data-parallel-supervisor-port": "use `replicas`",
    "nnodes": "an engine runs on one node; use `replicas`",
    "node-rank": "an engine runs on one node; use `replicas`",
    "master-addr": "an engine runs on one node; use `replicas`",
    "master-port": "an engine runs on one node; use `replicas`",
    "device-ids": "use `gpus`",
    "device": "use `gpuCount: 0` for the CPU",
    "gpu-memory-utilization": "it follows from `context` and `concurrency`",
    "device-memory-utilization": "it follows from `context` and `concurrency`",
    "kv-cache-memory-bytes": "it follows from `context` and `concurrency`",
    "num-gpu-blocks-override": "it follows from `context` and `concurrency`",
    "max-model-len": "use `context`",
    "trust-remote-code": "use `trustRemoteCode`",
    "download-dir": "set `docker.modelCacheDir` in config.json",
    "api-key": "API keys are checked by the gateway; create one with `modelgrid config apikey generate`",
    "hf-token": "set the environment variable HF_TOKEN, so that the token is stored sealed and not shown in `ps`",
    "root-path": "ModelGrid needs the engine's paths as they are; nothing replaces it",
    "ssl-keyfile": "set `api.tls` in config.json; engines listen on this machine only",
    "ssl-certfile": "set `api.tls` in config.json; engines listen on this machine only",
    "ssl-ca-certs": "set `api.tls` in config.json; engines listen on this machine only",
    "ssl-cert-reqs": "set `api.tls` in config.json; engines listen on this machine only",
    "ssl-ciphers": "set `api.tls` in config.json; engines listen on this machine only",
    "enable-ssl-refresh": "set `api.tls` in config.json; engines listen on this machine only",
    "help": "read `vllm serve --help` outside ModelGrid; an engine given this exits at once",
    "version": "read it from the engine's log; an engine given this exits at once",
}
_DANGEROUS: Final[Mapping[str, str]] = {
    "config": "it reads options from a file, past these rules; give them as arguments",
    "middleware": "it imports code into the engine",
    "worker-cls": "it imports code into the engine",
    "worker-extension-cls": "it imports code into the engine",
    "scheduler-cls": "it imports code into the engine",
    "logits-processors": "it imports code into the engine",
    "model-class-overrides": "it imports code into the engine",
    "io-processor-plugin": "it imports code into the engine",
    "tool-parser-plugin": "it imports code into the engine; use `--tool-call-parser` with one of vLLM's own",
    "reasoning-parser-plugin": "it imports code into the engine; use `--reasoning-parser` with one of vLLM's own",
    "kv-transfer-config": "it can import code into the engine and opens ports",
    "ec-transfer-config": "it can import code into the engine and opens ports",
    "log-config-file": "it can import code into the engine",
    "logging-config": "it can import code into the engine",
    "profiler-config": "it writes files where it is told to",
    "tool-server": "it lets requests run code",
    "allowed-local-media-path": "it lets requests read files of the host",
    "trust-request-chat-template": "it lets requests run their own templates",
    "trust-request-mm-kwargs": "it lets requests configure the engine",
}
_REFUSED_OPTIONS: Final = {**_OWNED, **_DANGEROUS}

_WHOLE_OPTIONS: Final = frozenset({"reasoning-parser"})
"""Options of their own although a refused one begins with their name; a whole name is never an abbreviation."""

_ENV_ALLOWED: Final = frozenset({"PYTHONUNBUFFERED", "PYTHONHASHSEED", "PYTHONFAULTHANDLER"})
_ENV_PREFIXES: Final = ("LD_", "DYLD_", "PYTHON", "MODELGRID_", "BASH_", "GCONV_", "LISTEN_", "DOCKER_")
_ENV_REFUSED: Final[Mapping[str, str]] = {
    "PATH": "the engine's program is chosen by `image` or `docker.vllmPath`",
    "HOME": "ModelGrid sets it",
    "SHELL": "it alters how programs are started",
    "IFS": "it alters how programs are started",
    "ENV": "it alters how programs are started",
    "NOTIFY_SOCKET": "it belongs to the daemon",
    "CUDA_VISIBLE_DEVICES": "use `gpus` or `gpuCount`",
    "CUDA_DEVICE_ORDER": "use `gpus` or `gpuCount`",
    "NVIDIA_VISIBLE_DEVICES": "use `gpus` or `gpuCount`",
    "HIP_VISIBLE_DEVICES": "use `gpus` or `gpuCount`",
    "ROCR_VISIBLE_DEVICES": "use `gpus` or `gpuCount`",
    "ZE_AFFINITY_MASK": "use `gpus` or `gpuCount`",
    "ONEAPI_DEVICE_SELECTOR": "use `gpus` or `gpuCount`",
    "VLLM_TARGET_DEVICE": "use `gpuCount: 0` for the CPU",
    "VLLM_CPU_KVCACHE_SPACE": "it follows from `context` and `concurrency`",
    "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "ModelGrid sets it to suit the gateway",
    "VLLM_API_KEY": "API keys are checked by the gateway",
    "VLLM_PORT": "ModelGrid chooses the engine's ports",
    "VLLM_HOST_IP": "ModelGrid chooses where an engine listens",
    "VLLM_PLUGINS": "it loads code into the engine",
    "VLLM_RUST_FRONTEND_PATH": "it runs another program",
    "VLLM_SERVER_DEV_MODE": "it opens endpoints that control the engine",
    "VLLM_ALLOW_INSECURE_SERIALIZATION": "it lets messages run code",
    "HF_HOME": "set `docker.modelCacheDir` in config.json",
    "HF_HUB_CACHE": "set `docker.modelCacheDir` in config.json",
    "HUGGINGFACE_HUB_CACHE": "set `docker.modelCacheDir` in config.json",
    "TRANSFORMERS_CACHE": "set `docker.modelCacheDir` in config.json",
}
_SYSTEM_FOLDERS: Final = (
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr", "/var/run",
)  # fmt: skip


def check_spec(spec: EngineSpec, *, path: str = "spec", require_digest: bool = False) -> None:
    """Raise `InvalidInput` for the first thing in `spec` that may not be asked.

    `path` is what the caller named the spec; it starts each error's `path`. `require_digest`: refuse images that
    are not pinned by digest.
    """
    if spec.image is not None:
        check_image(spec.image, path=f"{path}.image", require_digest=require_digest)
    check_args(spec.args, path=f"{path}.args")
    check_env(spec.env, path=f"{path}.env")
    _check_count(spec.gpu_count, f"{path}.gpuCount", 0, MAX_GPUS, "GPUs per instance")
    _check_count(spec.context, f"{path}.context", 1, MAX_CONTEXT, "tokens")
    _check_count(spec.concurrency, f"{path}.concurrency", 1, MAX_CONCURRENCY, "sequences")
    if len(spec.gpus) > MAX_GPUS or len(set(spec.gpus)) != len(spec.gpus):
        _refuse(f"{path}.gpus", list(spec.gpus), f"at most {MAX_GPUS} different GPU ids", "Name each GPU once.")
    for number, gpu in enumerate(spec.gpus):
        if not _GPU_ID.match(gpu):
            fix = "`modelgrid gpu list` shows the ids of this machine."
            _refuse(f"{path}.gpus[{number}]", gpu, "a GPU id such as nvidia-0", fix)
    if spec.gpus and spec.gpu_count not in (None, len(spec.gpus)):
        _refuse(
            f"{path}.gpuCount",
            spec.gpu_count,
            f"{len(spec.gpus)}, the number of pinned GPUs",
            "Leave gpuCount out when gpus are named.",
        )
    check_mounts(spec.mounts, path=f"{path}.mounts")
    if spec.url is not None:
        check_url(spec.url, path=f"{path}.url")


def check_constraints(constraints: Constraints, *, path: str = "constraints") -> None:
    """Raise `InvalidInput` when a node name or label is malformed, or there are too many."""
    if constraints.node is not None:
        check_name(constraints.node, path=f"{path}.node", longest=253)
    if len(constraints.labels) > MAX_LABELS:
        _refuse(f"{path}.labels", len(constraints.labels), f"at most {MAX_LABELS} labels", "Ask for fewer labels.")
    for key, value in constraints.labels.items():
        for text, what in ((key, "label name"), (value, "label value")):
            if len(text) > 128 or not _LABEL.match(text):
                expected = f"a {what} of letters, digits, dots, dashes and slashes"
                _refuse(f"{path}.labels", f"{key}={value}", expected, "Rename the label.")


def check_name(name: str, *, path: str, longest: int = 200) -> None:
    """Raise `InvalidInput` unless `name` can name a model, a target or a node."""
    if len(name) > longest or not _NAME.match(name):
        expected = f"letters, digits, `.`, `_`, `-` and `/` between them, at most {longest} characters"
        _refuse(path, name, expected, "Use a name such as meta-llama/Llama-3.1-8B-Instruct.")


def check_image(image: str, *, path: str = "image", require_digest: bool = False) -> None:
    """Raise `InvalidInput` unless `image` is a container image reference and cannot be read as an option."""
    expected = "an image reference: [registry[:port]/]name[:tag][@sha256:…]"
    fix = "Use a reference such as vllm/vllm-openai:v0.11.0."
    rest, at, digest = image.partition("@")
    if len(image) > 512 or not rest or (at and not _DIGEST.match(digest)):
        _refuse(path, image, expected, fix)
    folder, slash, last = rest.rpartition("/")
    name, colon, tag = last.partition(":")
    if (colon and not _TAG.match(tag)) or (slash and not folder):
        _refuse(path, image, expected, fix)
    parts = [*folder.split("/"), name] if folder else [name]
    if folder and (parts[0] == "localhost" or any(c in parts[0] for c in ".:[") or parts[0] != parts[0].lower()):
        if not _DOMAIN.match(parts[0]):
            _refuse(path, image, expected, fix)
        parts = parts[1:]
    if len(rest) > 255 + len(tag) + 1 or not all(_PATH_PART.match(part) for part in parts):
        _refuse(path, image, expected, fix)
    if require_digest and not digest:
        _refuse(path, image, "a reference pinned by digest (…@sha256:…)", "Append the image's digest.")


def check_args(args: Iterable[str], *, path: str = "args") -> None:
    """Raise `InvalidInput` unless `args` are long options of `vllm serve`, and their values, that may be given."""
    args = tuple(args)
    if len(args) > MAX_ARGS:
        _refuse(path, len(args), f"at most {MAX_ARGS} arguments", "Give fewer arguments.")
    may_be_value = False
    for number, arg in enumerate(args):
        here = f"{path}[{number}]"
        if len(arg) > MAX_ARG_LENGTH or _has_control(arg, allowed="\t\n"):
            _refuse(here, arg[:80], f"printable text of at most {MAX_ARG_LENGTH} characters", "Shorten or clean it.")
        if not arg.startswith("-") or _NUMBER.match(arg):
            if not may_be_value:
                _refuse(here, arg, "a long option of `vllm serve`", "Start with an option: --option value.")
            continue
        name = arg.partition("=")[0]
        if not _OPTION.match(name):
            _refuse(here, arg, "a long option: --option or --option=value", "Write the option in its long form.")
        _check_option(here, arg, name)
        may_be_value = "=" not in arg


def _check_option(path: str, arg: str, name: str) -> None:
    option = name[2:].partition(".")[0].replace("_", "-").lower()
    for form in {option, option.removeprefix("no-")} - _WHOLE_OPTIONS:
        for refused, why in _REFUSED_OPTIONS.items():
            if refused.startswith(form):
                short = "" if form == refused else f" (an abbreviation of --{refused})"
                word = "is not allowed" if refused in _DANGEROUS else "belongs to ModelGrid"
                raise InvalidInput(
                    f"{path}: {name}{short} {word}: {why}.",
                    fix=f"Remove {name}.",
                    path=path,
                    value=arg[:200],
                    expected=f"an option other than --{refused}",
                )


def check_env(env: Mapping[str, str], *, path: str = "env") -> None:
    """Raise `InvalidInput` for a malformed variable, or one that alters the loader or ModelGrid's own control.

    Values are never repeated in the error: they may be secrets.
    """
    if len(env) > MAX_ENV:
        _refuse(path, len(env), f"at most {MAX_ENV} variables", "Set fewer variables.")
    for name, value in env.items():
        here = f"{path}.{name[:128]}"
        if not _ENV_NAME.match(name):
            _refuse(here, name[:128], "a name of A-Z, 0-9 and _, not starting with a digit", "Rename the variable.")
        if name in _ENV_REFUSED or (name.startswith(_ENV_PREFIXES) and name not in _ENV_ALLOWED):
            why = _ENV_REFUSED.get(name, "it alters how programs are loaded or controlled")
            raise InvalidInput(
                f"{here}: the variable {name} may not be set: {why}.",
                fix=f"Remove {name}.",
                path=here,
                value=name,
                expected="another variable",
            )
        if len(value) > MAX_ENV_LENGTH or _has_control(value, allowed="\t\n"):
            _refuse(
                here,
                f"{len(value)} characters",
                f"at most {MAX_ENV_LENGTH} characters without control characters",
                "Shorten or clean the value.",
            )


def check_mounts(mounts: Iterable[Mount], *, path: str = "mounts") -> None:
    """Raise `InvalidInput` unless every mount has two absolute, normal paths and a target outside system folders.

    Whether the source lies below an allowed root is the runtime's check, by real path, at each start.
    """
    mounts = tuple(mounts)
    if len(mounts) > MAX_MOUNTS:
        _refuse(path, len(mounts), f"at most {MAX_MOUNTS} mounts", "Mount fewer folders.")
    targets: set[str] = set()
    for number, mount in enumerate(mounts):
        for value, side in ((mount.source, "source"), (mount.target, "target")):
            here = f"{path}[{number}].{side}"
            if not is_plain_absolute_path(value) or ":" in value or value == "/":
                _refuse(here, value[:200], "an absolute path without `..`, `.`, `//` and `:`", "Write the whole path.")
        source, target = mount.source, mount.target
        if source.rpartition("/")[2] in {"docker.sock", "podman.sock", "containerd.sock", "crio.sock"}:
            _refuse(f"{path}[{number}].source", source, "a folder", "A container engine's socket is never mounted.")
        if any(target == folder or target.startswith(f"{folder}/") for folder in _SYSTEM_FOLDERS):
            fix = "Choose a target such as /data."
            _refuse(f"{path}[{number}].target", target, "a path outside the system's folders", fix)
        if target in targets:
            _refuse(f"{path}[{number}].target", target, "a target of its own", "Give each mount another target.")
        targets.add(target)


def check_url(url: str, *, path: str = "url") -> None:
    """Raise `InvalidInput` unless `url` is the base URL of an engine: plain HTTP, no path but `/v1`, no credentials."""
    expected = "a base URL: http://host[:port]"
    fix = "Use a URL such as http://127.0.0.1:8000. An engine behind TLS or below a path needs a proxy here before it."
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        _refuse(path, url[:200], expected, fix)
    clean = len(url) <= 2048 and url.isascii() and not any(c.isspace() for c in url) and not _has_control(url)
    plain = not (parts.username or parts.password or parts.query or parts.fragment or "?" in url or "#" in url)
    base = parts.path.rstrip("/") in {"", "/v1"}
    if not (clean and plain and base and parts.scheme == "http" and parts.hostname) or port == 0 or "\\" in url:
        _refuse(path, url[:200] if plain else "a URL with credentials, a query or a fragment", expected, fix)


def is_plain_absolute_path(path: str) -> bool:
    """Tell whether `path` is absolute, at most 4096 characters, and already in its normal form.

    >>> is_plain_absolute_path("/data/models"), is_plain_absolute_path("/data/../etc"), is_plain_absolute_path("data")
    (True, False, False)
    """
    if not path.startswith("/") or len(path) > 4096 or _has_control(path):
        return False
    return path == "/" or all(part not in {"", ".", ".."} for part in path[1:].split("/"))


def _check_count(value: int | None, path: str, least: int, most: int, unit: str) -> None:
    if value is not None and not least <= value <= most:
        _refuse(path, value, f"{least} to {most:,} {unit}", "Give a number within these bounds.")


def _has_control(text: str, *, allowed: str = "") -> bool:
    return any((ord(c) < 32 or ord(c) == 127 or "\ud800" <= c <= "\udfff") and c not in allowed for c in text)


def _refuse(path: str, value: Any, expected: str, fix: str) -> NoReturn:
    raise InvalidInput(f"{path} is {value!r}; expected {expected}.", fix=fix, path=path, value=value, expected=expected)
