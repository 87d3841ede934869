"""How much memory one instance of a model takes, term by term. Pure: facts in, bytes out.

The figures are estimates with a margin, and safe in one direction: vLLM is given its share of the device as a
hard bound (`gpu_memory_utilization`), fills what weights and activations leave of it with KV cache, and takes no
more. An activation that was estimated too low costs KV cache, never a neighbour's memory.

Sources of the formulas and constants (vLLM 0.20 to 0.28):
* KV cache per layer: `vllm/v1/kv_cache_interface.py` (`real_page_size_bytes`, `max_memory_usage_bytes`);
* KV heads over tensor-parallel ranks: split, at least one per rank, so replicated when there are more ranks;
* batch sizes: `EngineArgs.get_batch_defaults`, context `OPENAI_API_SERVER`;
* what counts into the bound: `Worker.determine_available_memory` and `request_memory`: weights, the peak of a
  profiling run, what libraries take meanwhile, CUDA graphs. The driver's context is taken before and comes on top.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from modelgrid.domain.gpu import Gpu
from modelgrid.domain.model import Architecture, Capability, CatalogEntry
from modelgrid.domain.placement import MemoryNeed, MemoryTerm
from modelgrid.domain.target import EngineSpec
from modelgrid.domain.units import GIB, format_bytes

DEFAULT_CONCURRENCY = 2
"""Sequences of full context length that a generative model's KV cache holds unless asked otherwise. vLLM itself
only demands one. Requests use a fraction of the context, so two full ones are room for a dozen usual ones, and an
8B model in 16 bits with 16,384 tokens still fits a 24 GiB card."""
DEFAULT_POOLING_CONCURRENCY = 1
"""For embeddings and rerank: nothing is generated, a cache for one sequence is what vLLM demands to start."""

WHOLE_DEVICE_SHARE = 0.9
"""Share of a device for a model whose need is not known: vLLM's own default of `--gpu-memory-utilization`."""
MAX_SHARE = 0.95
"""Most that an engine is ever given of a device: the rest is for the driver's context and fragmentation."""

DRIVER_CONTEXT_BYTES = GIB // 2
"""Taken by each process on each device before vLLM measures: 0.4 to 0.5 GiB seen with CUDA 12."""
GRAPH_BYTES = GIB
"""CUDA graphs: 0.5 to 0.9 GiB reported by vLLM for 7B to 30B models; none with `--enforce-eager`."""
COMMUNICATION_BYTES = GIB
"""NCCL or RCCL buffers of one tensor-parallel rank: 0.3 to 1.8 GiB more seen at two ranks than at one."""
HOST_PROCESS_BYTES = 2 * GIB
"""Host memory of vLLM's processes on the CPU before weights and cache; 2.9 GB resident measured with 1 GiB cache."""

LARGE_DEVICE_BYTES = 70 * GIB
"""From here on vLLM batches 8192 tokens of 1024 sequences, below 2048 of 256 (A100: always the smaller)."""
LOGIT_BYTES = 3 * 4 * 152_064
"""Sampling, per sequence: three float32 copies of the logits over a vocabulary of 152,064 (Qwen; Llama has 128,256)."""
ACTIVATION_MARGIN = 1.25
"""Llama 3 8B at 8192 tokens and 256 sequences: 1.26 GiB measured by vLLM, 1.34 GiB by the formula before the margin."""
ACTIVATION_BYTES = 2
BLOCK_TOKENS = 16
"""Tokens per KV cache block; a sequence holds whole blocks."""
SMALLEST_CONTEXT = 1024
MOST_GPUS = 64

WEIGHTS = "weights"
KV_CACHE = "KV cache"
KV_WINDOW = "KV cache, sliding window"
ACTIVATIONS = "activations"
GRAPHS = "CUDA graphs"
COMMUNICATION = "communication"
DRIVER_CONTEXT = "driver context"
HOST_PROCESS = "processes"
WHOLE_DEVICE = "whole device"


def memory_need(
    entry: CatalogEntry | None, spec: EngineSpec, gpu_count: int, device: Gpu | None = None
) -> MemoryNeed | None:
    """Return what one instance needs on each of `gpu_count` GPUs (0: of host memory), or `None` when it is not known
    because the model is not in the catalog.

    `device` settles the batch sizes vLLM chooses; without it those of a large GPU are assumed, which need more.
    `device_need` answers in every case, for one device."""
    return None if entry is None else _estimate(entry, spec, gpu_count, device)


def device_need(entry: CatalogEntry | None, spec: EngineSpec, gpu_count: int, device: Gpu | None) -> MemoryNeed:
    """Return what one instance takes of `device`; `device` is `None` for an engine on the CPU.

    A model that is not in the catalog takes the whole device: 0.9 of it, shared with nobody (`is_exclusive`). On the
    CPU, where there is no such bound, it takes a guess that suits small models."""
    if entry is not None:
        return _estimate(entry, spec, gpu_count if device else 0, device)
    if device is None:
        guess = "the model is not in the catalog: a guess that suits small models"
        return MemoryNeed(
            gpu_count=0,
            terms=(
                MemoryTerm(name=WEIGHTS, bytes=GIB, formula=guess),
                MemoryTerm(name=KV_CACHE, bytes=GIB, formula=guess),
                _host_processes(),
            ),
        )
    total = device.vram_total_bytes
    formula = f"the model is not in the catalog, so its need is not known: {WHOLE_DEVICE_SHARE:g} of the device"
    whole = MemoryTerm(name=WHOLE_DEVICE, bytes=int(total * WHOLE_DEVICE_SHARE), formula=formula)
    return MemoryNeed(gpu_count=gpu_count, terms=(whole, _driver_context()))


def is_exclusive(need: MemoryNeed) -> bool:
    """Whether the need stands for a whole device that is shared with nobody."""
    return any(term.name == WHOLE_DEVICE for term in need.terms)


def kv_cache_bytes(need: MemoryNeed) -> int:
    """Return the KV cache's part of a need: what `VLLM_CPU_KVCACHE_SPACE` is set from on the CPU."""
    return sum(term.bytes for term in need.terms if term.name in (KV_CACHE, KV_WINDOW))


def kv_bytes_per_token(architecture: Architecture, cache_dtype_bytes: int = 2, tensor_parallel: int = 1) -> int:
    """Return the KV cache bytes that one more token of context takes on each of `tensor_parallel` ranks.

    Counts the layers that keep the whole context. Layers bounded by a sliding window take theirs once per
    sequence and are a term of their own. Grouped KV heads are split over the ranks, at least one each; the latent
    of multi-head latent attention is kept whole by every rank."""
    full = architecture.kv_layers
    if full is None:
        full = architecture.layers - architecture.sliding_layers
    return full * _kv_bytes_per_layer(architecture, cache_dtype_bytes, tensor_parallel)


def gpu_memory_utilization(need: MemoryNeed, gpu_total_bytes: int) -> float:
    """Return vLLM's `--gpu-memory-utilization` for `need` on a GPU: the part that vLLM counts into its bound (all
    but the driver's context) over the total, rounded up to three digits, at most 0.95."""
    return min(_thousandths(need, gpu_total_bytes), round(MAX_SHARE * 1000)) / 1000


def footprint(need: MemoryNeed, total_bytes: int) -> int:
    """Return the bytes an engine with `need` may take of a device with `total_bytes`: the share vLLM is given,
    as rounded for it, and the driver's context. For host memory: the need itself."""
    if need.gpu_count == 0:
        return need.per_gpu_bytes
    return -(-_thousandths(need, total_bytes) * total_bytes // 1000) + _context_bytes(need)


def exceeds_device(need: MemoryNeed, total_bytes: int) -> bool:
    """Whether `need` is more than a device (or a host) of `total_bytes` could ever give to one engine."""
    if need.gpu_count == 0:
        return need.per_gpu_bytes > total_bytes
    return _thousandths(need, total_bytes) > MAX_SHARE * 1000 or footprint(need, total_bytes) > total_bytes


def gpu_counts(entry: CatalogEntry | None, spec: EngineSpec, available: int) -> tuple[int, ...]:
    """Return the tensor-parallel sizes worth trying, smallest first. 0 is an engine on the CPU.

    Only one when it is settled: by the pinned GPUs, by the count asked, or because the model is not known (1).
    Otherwise the catalog's default and its doublings, as long as `available` (GPUs of the largest node) has them
    and the model's heads can be split so."""
    if spec.gpus:
        return (len(spec.gpus),)
    if spec.gpu_count is not None:
        return (spec.gpu_count,)
    if entry is None:
        return (1,)
    counts = [entry.default_gpus]
    while (count := counts[-1] * 2) <= available and _splits(entry.architecture, count):
        counts.append(count)
    return tuple(counts)


def largest_context(
    entry: CatalogEntry, spec: EngineSpec, gpu_count: int, device: Gpu | None, available_bytes: int
) -> int | None:
    """Return the largest power of two of tokens, below the present context, with which an instance fits into
    `available_bytes` of `device`. `None` when not even `SMALLEST_CONTEXT` does.

    Powers of two, so that the advice does not change with every megabyte that comes and goes."""
    context = 1 << max(0, (_settings(entry, spec, device).context - 1).bit_length() - 1)
    while context >= SMALLEST_CONTEXT:
        need = _estimate(entry, spec, gpu_count, device, context=context)
        total = available_bytes if device is None else device.vram_total_bytes
        if footprint(need, total) <= available_bytes and not exceeds_device(need, total):
            return context
        context //= 2
    return None


def with_context(entry: CatalogEntry, spec: EngineSpec, gpu_count: int, device: Gpu | None, context: int) -> int:
    """Return the bytes that an instance takes of `device`, or of host memory, with another context."""
    need = _estimate(entry, spec, gpu_count, device, context=context)
    return footprint(need, device.vram_total_bytes if device is not None else 0)


def enough_gpus(entry: CatalogEntry, spec: EngineSpec, device: Gpu) -> int | None:
    """Return the smallest number of empty GPUs like `device` that an instance fits on, `None` when none does."""
    count = max(1, entry.default_gpus)
    while count <= MOST_GPUS:
        if _splits(entry.architecture, count) and not exceeds_device(
            _estimate(entry, spec, count, device), device.vram_total_bytes
        ):
            return count
        count *= 2
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    """What of the memory follows from the specification and from vLLM's defaults."""

    context: int
    concurrency: int
    batch_tokens: int
    batch_sequences: int
    cache_dtype_bytes: int
    graphs: bool
    generative: bool


def most_sequences(entry: CatalogEntry | None, spec: EngineSpec) -> int | None:
    """Return how many sequences the engine of `spec` works on at once (`--max-num-seqs`); `None` when nobody says."""
    return _whole(_argument((*(entry.vllm_args if entry else ()), *spec.args), "--max-num-seqs"))


def _settings(
    entry: CatalogEntry, spec: EngineSpec, device: Gpu | None, *, on_gpu: bool = True, context: int | None = None
) -> _Settings:
    arguments = (*entry.vllm_args, *spec.args)
    generative = bool({Capability.CHAT, Capability.COMPLETIONS} & set(entry.capabilities))
    if context is None:
        context = spec.context or entry.default_context
    large = on_gpu and (device is None or _is_large(device))
    sequences = most_sequences(entry, spec)
    tokens = _whole(_argument(arguments, "--max-num-batched-tokens"))
    if tokens is None:
        tokens = 8192 if large else 2048
        if not generative:
            tokens = max(tokens, context)  # without chunked prefill a batch holds a whole sequence
    concurrency = spec.concurrency
    if concurrency is None:
        concurrency = DEFAULT_CONCURRENCY if generative else DEFAULT_POOLING_CONCURRENCY
        concurrency = min(concurrency, sequences or concurrency)
    cache_dtype = _argument(arguments, "--kv-cache-dtype") or ""
    return _Settings(
        context=context,
        concurrency=max(1, concurrency),
        batch_tokens=tokens,
        batch_sequences=sequences or (1024 if large else 256),
        cache_dtype_bytes=1 if cache_dtype.startswith(("fp8", "int8")) else 2,
        graphs=on_gpu and not _has(arguments, "--enforce-eager"),
        generative=generative,
    )


def _estimate(
    entry: CatalogEntry, spec: EngineSpec, gpu_count: int, device: Gpu | None, *, context: int | None = None
) -> MemoryNeed:
    facts = entry.architecture
    settings = _settings(entry, spec, device, on_gpu=gpu_count > 0, context=context)
    ranks = max(1, gpu_count)
    terms = [
        MemoryTerm(
            name=WEIGHTS,
            bytes=-(-facts.weight_bytes // ranks),
            formula=f"{format_bytes(facts.weight_bytes)} of weights" + (f" / {ranks} GPUs" if ranks > 1 else ""),
        ),
        *_cache_terms(facts, settings, ranks, whole_gib=gpu_count == 0),
        _activations(facts, settings, ranks),
    ]
    if settings.graphs:
        terms.append(MemoryTerm(name=GRAPHS, bytes=GRAPH_BYTES, formula=f"{format_bytes(GRAPH_BYTES)}, a fixed sum"))
    if ranks > 1:
        formula = f"{format_bytes(COMMUNICATION_BYTES)} of buffers between {ranks} GPUs"
        terms.append(MemoryTerm(name=COMMUNICATION, bytes=COMMUNICATION_BYTES, formula=formula))
    if gpu_count:
        terms.append(_driver_context())
    else:
        terms.append(_host_processes())
    return MemoryNeed(gpu_count=gpu_count, terms=tuple(terms))


def _cache_terms(facts: Architecture, settings: _Settings, ranks: int, *, whole_gib: bool) -> list[MemoryTerm]:
    """`whole_gib`: `VLLM_CPU_KVCACHE_SPACE` is a number of GiB."""
    terms = []
    full = kv_bytes_per_token(facts, settings.cache_dtype_bytes, ranks)
    if full:
        terms.append(_cache_term(KV_CACHE, full, _blocks(settings.context), settings, whole_gib=whole_gib))
    if facts.sliding_layers:
        # While a prompt is read in chunks, a window holds the chunk besides its own tokens, and may begin mid-block.
        tokens = _blocks(min(settings.context, facts.sliding_window - 1 + settings.batch_tokens)) + BLOCK_TOKENS
        bounded = facts.sliding_layers * _kv_bytes_per_layer(facts, settings.cache_dtype_bytes, ranks)
        terms.append(_cache_term(KV_WINDOW, bounded, tokens, settings, whole_gib=whole_gib))
    return terms


def _cache_term(name: str, per_token: int, tokens: int, settings: _Settings, *, whole_gib: bool) -> MemoryTerm:
    size = per_token * tokens * settings.concurrency
    sequences = f"{settings.concurrency} sequence" + ("s" if settings.concurrency != 1 else "")
    formula = f"{format_bytes(per_token)} per token × {tokens} tokens × {sequences}"
    if whole_gib:
        size, formula = -(-size // GIB) * GIB, f"{formula}, in whole GiB"
    return MemoryTerm(name=name, bytes=size, formula=formula)


def _activations(facts: Architecture, settings: _Settings, ranks: int) -> MemoryTerm:
    """The peak of a forward pass over a full batch, and sampling of all its sequences.

    Per token and in units of the hidden size (taken as heads × head size): four streams that every rank keeps
    whole, and an MLP of 3.5 × hidden with gate, up and product, which the ranks split."""
    hidden = facts.attention_heads * facts.head_size
    units = 4 + 10.5 / ranks
    sampled = settings.batch_sequences if settings.generative else 0
    forward = settings.batch_tokens * hidden * units * ACTIVATION_BYTES
    size = int((forward + sampled * LOGIT_BYTES) * ACTIVATION_MARGIN)
    logits = f" + {sampled} sequences × {format_bytes(LOGIT_BYTES)} of logits" if sampled else ""
    formula = (
        f"({settings.batch_tokens} tokens × {hidden} × {units:g} × {ACTIVATION_BYTES} B{logits}) × {ACTIVATION_MARGIN}"
    )
    return MemoryTerm(name=ACTIVATIONS, bytes=size, formula=formula)


def _driver_context() -> MemoryTerm:
    formula = f"{format_bytes(DRIVER_CONTEXT_BYTES)} per process, beside what vLLM counts"
    return MemoryTerm(name=DRIVER_CONTEXT, bytes=DRIVER_CONTEXT_BYTES, formula=formula)


def _host_processes() -> MemoryTerm:
    formula = f"{format_bytes(HOST_PROCESS_BYTES)} for vLLM's processes"
    return MemoryTerm(name=HOST_PROCESS, bytes=HOST_PROCESS_BYTES, formula=formula)


def _kv_bytes_per_layer(facts: Architecture, cache_dtype_bytes: int, ranks: int) -> int:
    if facts.kv_latent_size is not None:
        return facts.kv_latent_size * cache_dtype_bytes
    return 2 * max(1, -(-facts.kv_heads // ranks)) * facts.head_size * cache_dtype_bytes


def _context_bytes(need: MemoryNeed) -> int:
    return sum(term.bytes for term in need.terms if term.name == DRIVER_CONTEXT)


def _thousandths(need: MemoryNeed, total_bytes: int) -> int:
    return -(-(need.per_gpu_bytes - _context_bytes(need)) * 1000 // max(1, total_bytes))


def _splits(facts: Architecture, ranks: int) -> bool:
    """Whether vLLM accepts `ranks` for this model: query heads divide, KV heads divide or are replicated evenly."""
    if facts.attention_heads % ranks:
        return False
    return facts.kv_latent_size is not None or not facts.kv_heads % ranks or not ranks % facts.kv_heads


def _is_large(device: Gpu) -> bool:
    return device.vram_total_bytes >= LARGE_DEVICE_BYTES and "a100" not in device.name.lower()


def _blocks(tokens: int) -> int:
    return -(-tokens // BLOCK_TOKENS) * BLOCK_TOKENS


def _has(arguments: Sequence[str], flag: str) -> bool:
    return any(argument.replace("_", "-") == flag for argument in arguments)


def _argument(arguments: Sequence[str], flag: str) -> str | None:
    """Return the last value of `flag`, given as `--flag value` or `--flag=value`. vLLM reads `_` as `-`."""
    found = None
    for position, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name.replace("_", "-") == flag:
            found = value if equals else next(iter(arguments[position + 1 : position + 2]), None)
    return found


def _whole(text: str | None) -> int | None:
    """Return a count as vLLM reads it: `8192`, `8k` (8000) or `8K` (8192); `None` when it is not one."""
    scale = {"k": 1000, "K": 1024, "m": 1000**2, "M": 1024**2}.get((text or "")[-1:], 1)
    try:
        count = int(float((text or "").rstrip("kKmM")) * scale)
    except (ValueError, OverflowError):
        return None
    return count if count > 0 else None
