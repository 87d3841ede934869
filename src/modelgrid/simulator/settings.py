"""The command line of the simulated engine: `vllm serve` as ModelGrid calls it, and `--sim-*`."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass

from modelgrid.simulator.faults import HELP, SOUND, Faults, parse_faults

DESCRIPTION = """\
A SIMULATED inference engine: it speaks the HTTP API of vLLM, loads no model, needs no GPU and answers with
made-up words. It takes the arguments of `vllm serve` and ignores those it does not know.
"""
BLOCK_TOKENS = 16
"""Tokens per KV cache block: vLLM's default block size."""
_DEFAULT_CONTEXT = 8192
_DEFAULT_SEQUENCES = 256
_DEFAULT_KEEP_ALIVE_SECONDS = 5
"""vLLM's default of VLLM_HTTP_TIMEOUT_KEEP_ALIVE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """All that one simulated engine is told. Durations are seconds."""

    model: str
    served_names: tuple[str, ...]
    host: str = "127.0.0.1"
    port: int = 8000
    api_keys: tuple[str, ...] = ()
    context: int = _DEFAULT_CONTEXT
    max_sequences: int = _DEFAULT_SEQUENCES
    tensor_parallel: int = 1
    gpu_memory_utilization: float = 0.9
    runner: str = "auto"
    prefix_caching: bool = True
    prompt_tokens_details: bool = False
    force_include_usage: bool = False
    keep_alive_seconds: float = _DEFAULT_KEEP_ALIVE_SECONDS
    shutdown_seconds: float = 0.0
    load_seconds: float = 2.0
    first_token_seconds: float = 0.05
    token_seconds: float = 0.01
    prefill_rate: float = 0.0
    """Prompt tokens per second that are not in the prefix cache; 0 takes no time for them."""
    kv_cache_tokens: int = 4 * _DEFAULT_CONTEXT
    output_tokens: int = 64
    embedding_dimensions: int = 64
    gpu_ids: tuple[str, ...] = ()
    reserved_bytes: int = 0
    """Memory to claim on each GPU."""
    gpu_total_bytes: int = 0
    """Memory each GPU has; 0: not known, so nothing can run out."""
    gpu_state_dir: str = ""
    access_log: bool = False
    log_requests: bool = False
    faults: Faults = SOUND

    @property
    def cache_blocks(self) -> int:
        return self.kv_cache_tokens // BLOCK_TOKENS


def parser() -> argparse.ArgumentParser:
    """Return the parser of `python -m modelgrid.simulator`."""
    top = argparse.ArgumentParser(
        prog="python -m modelgrid.simulator", description=DESCRIPTION, formatter_class=argparse.RawTextHelpFormatter
    )
    verbs = top.add_subparsers(dest="verb", required=True)
    serve = verbs.add_parser(
        "serve",
        help="serve a simulated model",
        description=DESCRIPTION,
        epilog=HELP,
        formatter_class=argparse.RawTextHelpFormatter,
        allow_abbrev=False,
    )
    serve.add_argument("model", metavar="MODEL", help="name of the model to pretend to serve")
    vllm = serve.add_argument_group("arguments of vLLM")
    vllm.add_argument("--served-model-name", nargs="+", default=[], metavar="NAME")
    vllm.add_argument("--host", default="127.0.0.1")
    vllm.add_argument("--port", type=int, default=8000, help="0 takes a free one, shown in the log")
    vllm.add_argument("--api-key", nargs="*", default=[], metavar="KEY", help="also $VLLM_API_KEY")
    vllm.add_argument("--max-model-len", type=_tokens, default=None, metavar="N", help=f"default {_DEFAULT_CONTEXT}")
    vllm.add_argument("--max-num-seqs", type=_positive, default=_DEFAULT_SEQUENCES, metavar="N")
    vllm.add_argument("--tensor-parallel-size", "-tp", type=_positive, default=1, metavar="N")
    vllm.add_argument("--gpu-memory-utilization", type=float, default=0.9, metavar="F")
    vllm.add_argument("--runner", choices=["auto", "generate", "pooling"], default="auto")
    vllm.add_argument("--enable-prefix-caching", action=argparse.BooleanOptionalAction, default=True)
    vllm.add_argument("--enable-prompt-tokens-details", action="store_true")
    vllm.add_argument("--enable-force-include-usage", action="store_true")
    vllm.add_argument("--enable-log-requests", action="store_true")
    vllm.add_argument("--shutdown-timeout", type=_seconds, default=0.0, metavar="SECONDS")
    sim = serve.add_argument_group("what is simulated")
    sim.add_argument("--sim-load-seconds", type=_seconds, default=2.0, metavar="SECONDS")
    sim.add_argument("--sim-ttft", type=_seconds, default=0.05, metavar="SECONDS", help="time to first token")
    sim.add_argument("--sim-itl", type=_seconds, default=0.01, metavar="SECONDS", help="inter-token latency")
    sim.add_argument("--sim-prefill-rate", type=_seconds, default=0.0, metavar="TOKENS/S", help="0: at once")
    sim.add_argument("--sim-concurrency", type=_positive, default=None, metavar="N", help="overrides --max-num-seqs")
    sim.add_argument("--sim-kv-cache-tokens", type=_positive, default=None, metavar="N", help="default 4 × context")
    sim.add_argument("--sim-output-tokens", type=_positive, default=64, metavar="N", help="length of an answer")
    sim.add_argument("--sim-embedding-dimensions", type=_positive, default=64, metavar="N")
    sim.add_argument("--sim-gpu-ids", default="", metavar="ID,ID", help="GPUs to claim memory on")
    sim.add_argument("--sim-reserved-bytes", type=int, default=None, metavar="N", help="claimed on each GPU")
    sim.add_argument("--sim-gpu-total-bytes", type=int, default=0, metavar="N", help="memory of each GPU")
    sim.add_argument("--sim-gpu-state-dir", default="", metavar="DIR", help="where the claims are published")
    sim.add_argument("--sim-access-log", action="store_true", help="log each request as uvicorn does")
    sim.add_argument("--sim-fault", action="append", default=[], metavar="FAULT", help="see below")
    return top


def parse_settings(argv: Sequence[str]) -> tuple[EngineSettings, tuple[str, ...]]:
    """Return the settings in `argv` and the arguments that were ignored because only vLLM knows them.

    Ends the process with status 2 and a message when a value is not usable, as argparse does."""
    top = parser()
    given, ignored = top.parse_known_args([_dashes(argument) for argument in argv])
    unknown_sim = [argument for argument in ignored if argument.startswith("--sim-")]
    if unknown_sim:
        top.error(f"unknown arguments: {' '.join(unknown_sim)}")
    try:
        faults = parse_faults(given.sim_fault)
    except ValueError as error:
        top.error(str(error))
    context = given.max_model_len or _DEFAULT_CONTEXT
    environment_key = os.environ.get("VLLM_API_KEY")
    reserved = given.sim_reserved_bytes
    if reserved is None:
        reserved = int(given.sim_gpu_total_bytes * given.gpu_memory_utilization)
    settings = EngineSettings(
        model=given.model,
        served_names=tuple(given.served_model_name) or (given.model,),
        host=given.host,
        port=given.port,
        api_keys=tuple(given.api_key) or ((environment_key,) if environment_key else ()),
        context=context,
        max_sequences=given.sim_concurrency or given.max_num_seqs,
        tensor_parallel=given.tensor_parallel_size,
        gpu_memory_utilization=given.gpu_memory_utilization,
        runner=given.runner,
        prefix_caching=given.enable_prefix_caching,
        prompt_tokens_details=given.enable_prompt_tokens_details,
        force_include_usage=given.enable_force_include_usage,
        keep_alive_seconds=float(os.environ.get("VLLM_HTTP_TIMEOUT_KEEP_ALIVE", _DEFAULT_KEEP_ALIVE_SECONDS)),
        shutdown_seconds=given.shutdown_timeout,
        load_seconds=given.sim_load_seconds,
        first_token_seconds=given.sim_ttft,
        token_seconds=given.sim_itl,
        prefill_rate=given.sim_prefill_rate,
        kv_cache_tokens=given.sim_kv_cache_tokens or 4 * context,
        output_tokens=given.sim_output_tokens,
        embedding_dimensions=given.sim_embedding_dimensions,
        gpu_ids=tuple(part for part in given.sim_gpu_ids.split(",") if part),
        reserved_bytes=reserved,
        gpu_total_bytes=given.sim_gpu_total_bytes,
        gpu_state_dir=given.sim_gpu_state_dir,
        access_log=given.sim_access_log,
        log_requests=given.enable_log_requests,
        faults=faults,
    )
    return settings, tuple(ignored)


def _dashes(argument: str) -> str:
    # vLLM accepts --max_model_len for --max-model-len.
    if not argument.startswith("--"):
        return argument
    name, given, value = argument.partition("=")
    return name.replace("_", "-") + given + value


def _tokens(text: str) -> int | None:
    """vLLM's human-readable integers: `32768`, `32k` (1000), `32K` (1024), `1.5k`; `auto` and -1 leave it open."""
    if text in {"auto", "-1"}:
        return None
    factor = {"k": 1000, "K": 1024, "m": 1000**2, "M": 1024**2}.get(text[-1:], 1)
    number = float(text[:-1] if factor > 1 else text) * factor
    if number < 1 or number != int(number):
        raise ValueError(text)
    return int(number)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise ValueError(text)
    return number
