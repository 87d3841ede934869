"""The load of a simulated model: what is logged, what memory is claimed, and how it fails."""

import asyncio
import time
from collections.abc import Callable

from modelgrid.simulator import log
from modelgrid.simulator.settings import EngineSettings

_SHARDS = 4
_WEIGHTS_SHARE = 0.7
"""Of the claimed memory; the KV cache gets the rest."""
_CACHE_BYTES_PER_TOKEN = 128 * 1024
"""What a token takes when no memory was given: 32 layers × 8 KV heads × 128 × 2 bytes × 2, an 8B model in bf16."""
_GIB = 1024**3
_MIB = 1024**2
_ADVICE = "See https://docs.vllm.ai/en/latest/configuration/conserving_memory/ for more details."


class LoadFailure(Exception):
    """The load ends here. `code` is the exit status; the reason is logged already."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exit status {code}")
        self.code = code


async def load(settings: EngineSettings, claim: Callable[[int], None], held_by_others: Callable[[], int]) -> None:
    """Pretend to load for `settings.load_seconds`.

    `claim` publishes how many bytes the engine holds on each GPU; `held_by_others` returns what the fullest of
    its GPUs holds for other processes. Raises `LoadFailure`.
    """
    began = time.monotonic()
    step = settings.load_seconds / (_SHARDS + 1)
    weights = int(settings.reserved_bytes * _WEIGHTS_SHARE)
    _check_free_memory(settings, held_by_others())
    log.info("gpu_model_runner.py:5047", f"Starting to load model {settings.model}...", process="EngineCore")
    if settings.faults.hang_at_load:
        await asyncio.Event().wait()
    for shard in range(1, _SHARDS + 1):
        await asyncio.sleep(step)
        if settings.faults.exit_at_load is not None:
            raise LoadFailure(settings.faults.exit_at_load)
        held = weights * shard // _SHARDS
        _check_room(settings, held_by_others(), held, fault=settings.faults.oom_at_load and shard == _SHARDS)
        claim(held)
        done = time.monotonic() - began
        left = done / shard * (_SHARDS - shard)
        log.plain(
            f"Loading safetensors checkpoint shards: {100 * shard // _SHARDS:3d}% Completed | {shard}/{_SHARDS} "
            f"[{_clock(done)}<{_clock(left)}, {shard / max(done, 0.01):5.2f}it/s]"
        )
    took = time.monotonic() - began
    log.info("default_loader.py:501", f"Loading weights took {took:.2f} seconds", process="EngineCore")
    log.info(
        "gpu_model_runner.py:5149",
        f"Model loading took {weights / _GIB:.2f} GiB memory and {took:.6f} seconds",
        process="EngineCore",
    )
    await asyncio.sleep(step)
    _make_cache(settings, settings.reserved_bytes - weights)
    _check_room(settings, held_by_others(), settings.reserved_bytes)
    claim(settings.reserved_bytes)
    log.info("gpu_model_runner.py:6581", "Graph capturing finished in 0 secs, took 0.00 GiB", process="EngineCore")
    log.info(
        "core.py:396",
        f"init engine (profile, create kv cache, warmup model) took {time.monotonic() - began - took:.2f} s",
        process="EngineCore",
    )


def _make_cache(settings: EngineSettings, cache_bytes: int) -> None:
    tokens = settings.context // 2 if settings.faults.kv_too_small else settings.kv_cache_tokens
    cache_bytes = cache_bytes or tokens * _CACHE_BYTES_PER_TOKEN
    log.info("gpu_worker.py:759", f"Available KV cache memory: {cache_bytes / _GIB:.2f} GiB", process="EngineCore")
    if tokens < settings.context:
        needed = cache_bytes * settings.context / tokens
        _fail(
            f"ValueError: To serve at least one request with the model's max seq len ({settings.context}), "
            f"({needed / _GIB:.2f} GiB KV cache is needed, which is larger than the available KV cache memory "
            f"({cache_bytes / _GIB:.2f} GiB). Based on the available memory, the estimated maximum model length is "
            f"{tokens}. Try increasing `gpu_memory_utilization` (which also controls CPU memory on the CPU backend) "
            f"or decreasing `max_model_len` when initializing the engine. {_ADVICE}"
        )
    log.info(
        "kv_cache_utils.py:2327",
        f"GPU KV cache size: {tokens:,} tokens, "
        f"Maximum concurrency for {settings.context:,} tokens per request: {tokens / settings.context:.2f}x",
        process="EngineCore",
    )


def _check_free_memory(settings: EngineSettings, others: int) -> None:
    total, wanted = settings.gpu_total_bytes, settings.reserved_bytes
    if total and total - others < wanted:
        _fail(
            f"ValueError: Free memory on device cuda:0 ({max(0, total - others) / _GIB:.2f}/{total / _GIB:.2f} GiB) on "
            f"startup is less than desired GPU memory utilization ({settings.gpu_memory_utilization}, "
            f"{wanted / _GIB:.2f} GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes."
        )


def _check_room(settings: EngineSettings, others: int, held: int, *, fault: bool = False) -> None:
    total = settings.gpu_total_bytes
    if not fault and not (total and others + held > total):
        return
    # What PyTorch's caching allocator says (c10/cuda/CUDACachingAllocator.cpp).
    total = total or max(held, settings.reserved_bytes)
    wanted = max(2 * _MIB, held // _SHARDS)
    free = max(0, total - others - held) if not fault else wanted // 2
    _fail(
        f"torch.OutOfMemoryError: CUDA out of memory. Tried to allocate {wanted / _MIB:.2f} MiB. "
        f"GPU 0 has a total capacity of {total / _GIB:.2f} GiB of which {free / _MIB:.2f} MiB is free. "
        f"Including non-PyTorch memory, this process has {held / _GIB:.2f} GiB memory in use. "
        f"Of the allocated memory {held / _GIB:.2f} GiB is allocated by PyTorch, and 0.00 MiB is reserved by PyTorch "
        "but unallocated. If reserved but unallocated memory is large try setting "
        "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation."
    )


def _fail(reason: str) -> None:
    """Log `reason` the way it surfaces from vLLM's engine process, then from its API server."""
    log.error("core.py:1246", "EngineCore failed to start.\nTraceback (most recent call last):\n" + reason)
    log.error(
        "serve.py:300",
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
        process="APIServer",
    )
    raise LoadFailure(1)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"
