"""The memory estimate: each term against figures worked out by hand or reported by vLLM."""

import pytest

from modelgrid.decide import need as needs
from modelgrid.decide.need import (
    device_need,
    enough_gpus,
    exceeds_device,
    footprint,
    gpu_counts,
    gpu_memory_utilization,
    is_exclusive,
    kv_bytes_per_token,
    kv_cache_bytes,
    largest_context,
    memory_need,
)
from modelgrid.domain.gpu import Gpu, GpuVendor
from modelgrid.domain.ids import GpuId, ModelId
from modelgrid.domain.model import Architecture, Capability, CatalogEntry
from modelgrid.domain.placement import MemoryNeed, MemoryTerm
from modelgrid.domain.target import EngineSpec
from modelgrid.domain.units import GIB, KIB

LLAMA_8B = Architecture(
    weight_bytes=16_060_522_496, layers=32, attention_heads=32, kv_heads=8, head_size=128, source="test"
)
LLAMA_70B = Architecture(
    weight_bytes=141_107_412_992, layers=80, attention_heads=64, kv_heads=8, head_size=128, source="test"
)
GPT_OSS_20B = Architecture(
    weight_bytes=13_761_264_768,
    layers=24,
    attention_heads=64,
    kv_heads=8,
    head_size=64,
    kv_layers=12,
    sliding_layers=12,
    sliding_window=128,
    source="test",
)
DEEPSEEK_V3 = Architecture(
    weight_bytes=688_586_727_753,
    layers=61,
    attention_heads=128,
    kv_heads=128,
    head_size=192,
    kv_latent_size=576,
    source="test",
)
HYBRID = Architecture(
    weight_bytes=10 * GIB, layers=48, attention_heads=16, kv_heads=2, head_size=256, kv_layers=12, source="test"
)
ENCODER = Architecture(
    weight_bytes=2 * GIB, layers=24, attention_heads=16, kv_heads=16, head_size=64, kv_layers=0, source="test"
)


def entry(facts: Architecture = LLAMA_8B, capability: Capability = Capability.CHAT, **more: object) -> CatalogEntry:
    known: dict[str, object] = {"default_context": 8192, "default_gpus": 1, "vllm_args": (), **more}
    return CatalogEntry(
        id=ModelId("org/model"),
        capabilities=(capability,),
        parameters=8_000_000_000,
        dtype="bfloat16",
        context=131_072,
        licence="mit",
        architecture=facts,
        **known,  # type: ignore[arg-type]
    )


def device(gib: int = 24, name: str = "Card") -> Gpu:
    return Gpu(
        id=GpuId("nvidia-0"),
        vendor=GpuVendor.NVIDIA,
        index=0,
        uuid="GPU-0",
        name=name,
        vram_total_bytes=gib * GIB,
        vram_used_bytes=0,
        vram_free_bytes=gib * GIB,
    )


def terms(need: MemoryNeed | None) -> dict[str, int]:
    assert need is not None
    return {term.name: term.bytes for term in need.terms}


def test_llama_8b_term_by_term():
    need = memory_need(entry(), EngineSpec(context=8192, concurrency=4), 1, device())
    assert terms(need) == {
        "weights": 16_060_522_496,
        "KV cache": 4 * GIB,  # 128 KiB × 8192 × 4
        "activations": int((2048 * 4096 * 14.5 * 2 + 256 * 3 * 4 * 152_064) * 1.25),
        "CUDA graphs": GIB,
        "driver context": GIB // 2,
    }


def test_every_term_shows_its_numbers():
    need = memory_need(entry(GPT_OSS_20B), EngineSpec(), 2, device())
    assert need is not None
    for term in need.terms:
        assert any(letter.isdigit() for letter in term.formula), term
    formulas = {term.name: term.formula for term in need.terms}
    assert formulas["KV cache"] == "12.0 KiB per token × 8192 tokens × 2 sequences"
    assert formulas["weights"] == "12.8 GiB of weights / 2 GPUs"


def test_estimate_covers_what_vllm_reported():
    """Llama 3 8B on a card of 80 GB, as logged by vLLM 0.6.5: 14.96 GiB of weights, 1.26 GiB of activations, with
    256 sequences and 8192 tokens in a batch. On two GPUs: 7.48 GiB and 1.26 GiB."""
    spec = EngineSpec(args=("--max-num-seqs", "256", "--max-num-batched-tokens=8192"))
    one, two = (terms(memory_need(entry(), spec, count, device(80))) for count in (1, 2))
    assert 14.9 * GIB < one["weights"] < 15.0 * GIB
    assert 1.26 * GIB < one["activations"] < 2 * GIB
    assert 7.4 * GIB < two["weights"] < 7.5 * GIB


@pytest.mark.parametrize(
    ("facts", "ranks", "expected"),
    [
        (LLAMA_8B, 1, 128 * KIB),
        (LLAMA_8B, 4, 32 * KIB),
        (LLAMA_8B, 8, 16 * KIB),
        (LLAMA_8B, 16, 16 * KIB),  # more ranks than KV heads: one head each, replicated
        (LLAMA_70B, 1, 320 * KIB),
        (GPT_OSS_20B, 1, 24 * KIB),  # the sliding layers do not grow
        (HYBRID, 1, 24 * KIB),
        (HYBRID, 4, 12 * KIB),
        (DEEPSEEK_V3, 1, 61 * 576 * 2),
        (DEEPSEEK_V3, 8, 61 * 576 * 2),  # each rank keeps the whole latent
        (ENCODER, 1, 0),
    ],
)
def test_kv_bytes_per_token(facts, ranks, expected):
    assert kv_bytes_per_token(facts, tensor_parallel=ranks) == expected


def test_sliding_window_bounds_its_layers():
    need = terms(memory_need(entry(GPT_OSS_20B), EngineSpec(context=131_072, concurrency=1), 1, device()))
    assert need["KV cache"] == 24 * KIB * 131_072
    assert need["KV cache, sliding window"] == 24 * KIB * (2176 + 16)  # 128 - 1 + 2048 tokens in blocks, one more block
    short = terms(memory_need(entry(GPT_OSS_20B), EngineSpec(context=1024, concurrency=1), 1, device()))
    assert short["KV cache, sliding window"] == 24 * KIB * (1024 + 16)


@pytest.mark.parametrize(
    "args", [("--kv-cache-dtype", "fp8"), ("--kv-cache-dtype=fp8_e5m2",), ("--kv_cache_dtype", "fp8")]
)
def test_fp8_cache_takes_half(args):
    plain = terms(memory_need(entry(), EngineSpec(), 1))
    assert terms(memory_need(entry(), EngineSpec(args=args), 1))["KV cache"] * 2 == plain["KV cache"]


def test_catalog_arguments_count_and_those_of_the_spec_come_after():
    known = entry(vllm_args=("--kv-cache-dtype", "fp8"))
    fp8 = terms(memory_need(known, EngineSpec(), 1))["KV cache"]
    auto = terms(memory_need(known, EngineSpec(args=("--kv-cache-dtype", "auto")), 1))["KV cache"]
    assert auto == 2 * fp8


def test_eager_has_no_graphs():
    assert "CUDA graphs" not in terms(memory_need(entry(), EngineSpec(args=("--enforce-eager",)), 1))


def test_embeddings_keep_no_logits_and_encoders_no_cache():
    encoder = terms(memory_need(entry(ENCODER, Capability.EMBEDDINGS), EngineSpec(), 1, device()))
    assert "KV cache" not in encoder
    # Without chunked prefill a batch holds one whole sequence.
    assert encoder["activations"] == int(8192 * 1024 * 14.5 * 2 * 1.25)
    decoder = terms(memory_need(entry(capability=Capability.EMBEDDINGS), EngineSpec(), 1, device()))
    assert decoder["KV cache"] == 128 * KIB * 8192 * needs.DEFAULT_POOLING_CONCURRENCY


def test_fewer_sequences_than_the_default_need_less():
    spec = EngineSpec(args=("--max-num-seqs", "1"))
    assert terms(memory_need(entry(), spec, 1))["KV cache"] == 128 * KIB * 8192


def test_batches_follow_the_device():
    small, large, a100 = (
        terms(memory_need(entry(), EngineSpec(), 1, gpu))["activations"]
        for gpu in (device(24), device(80, "NVIDIA H100"), device(80, "NVIDIA A100-SXM4-80GB"))
    )
    assert small == a100 < large
    assert terms(memory_need(entry(), EngineSpec(), 1))["activations"] == large  # not known: the larger


def test_default_model_of_a_24_gib_card_fits_it():
    """The catalog serves Llama 3.1 8B with 16,384 tokens: the most usual card has to take that."""
    need = memory_need(entry(default_context=16_384), EngineSpec(), 1, device(24))
    assert need is not None
    assert footprint(need, 24 * GIB) < 23.5 * GIB


def test_several_gpus_share_and_talk():
    need = terms(memory_need(entry(LLAMA_70B), EngineSpec(), 4, device(80)))
    assert need["weights"] == 141_107_412_992 // 4
    assert need["communication"] == GIB
    assert need["KV cache"] == 80 * KIB * 8192 * 2


def test_on_the_cpu():
    need = memory_need(entry(), EngineSpec(context=1000, concurrency=1), 0)
    assert terms(need) == {
        "weights": 16_060_522_496,
        "KV cache": GIB,  # a number of whole GiB
        "activations": int((2048 * 4096 * 14.5 * 2 + 256 * 3 * 4 * 152_064) * 1.25),
        "processes": 2 * GIB,
    }
    assert need is not None
    assert need.gpu_count == 0
    assert kv_cache_bytes(need) == GIB
    assert footprint(need, 64 * GIB) == need.per_gpu_bytes
    assert not exceeds_device(need, 64 * GIB)
    assert exceeds_device(need, 16 * GIB)


def test_unknown_model_takes_the_whole_device_alone():
    assert memory_need(None, EngineSpec(), 1) is None
    need = device_need(None, EngineSpec(), 1, device(24))
    assert is_exclusive(need)
    assert gpu_memory_utilization(need, 24 * GIB) == 0.9
    assert "not in the catalog" in need.terms[0].formula
    assert not is_exclusive(device_need(entry(), EngineSpec(), 1, device(24)))
    on_cpu = device_need(None, EngineSpec(), 0, None)
    assert not is_exclusive(on_cpu)
    assert kv_cache_bytes(on_cpu) == GIB


def plain(size: int, context: int = 0) -> MemoryNeed:
    return MemoryNeed(
        gpu_count=1,
        terms=(
            MemoryTerm(name="weights", bytes=size, formula="1"),
            MemoryTerm(name="driver context", bytes=context, formula="1"),
        ),
    )


@pytest.mark.parametrize(
    ("size", "total", "share"),
    [
        (500, 1000, 0.5),
        (501, 1000, 0.501),
        (5001, 10_000, 0.501),  # up
        (1, 10_000, 0.001),
        (950, 1000, 0.95),
        (951, 1000, 0.95),  # never more
    ],
)
def test_utilization_is_rounded_up_to_three_digits(size, total, share):
    assert gpu_memory_utilization(plain(size), total) == share


def test_driver_context_is_beside_the_share_and_part_of_the_footprint():
    need = plain(12 * GIB + 1, GIB // 2)
    assert gpu_memory_utilization(need, 24 * GIB) == 0.501
    assert footprint(need, 24 * GIB) == -(-501 * 24 * GIB // 1000) + GIB // 2
    assert footprint(need, 24 * GIB) >= need.per_gpu_bytes


def test_more_than_a_share_of_95_percent_exceeds_a_device():
    assert not exceeds_device(plain(950), 1000)
    assert exceeds_device(plain(951), 1000)
    assert exceeds_device(plain(940, 70), 1000)  # fits the share, not the device


@pytest.mark.parametrize(
    ("facts", "spec", "available", "expected"),
    [
        (LLAMA_8B, EngineSpec(), 8, (1, 2, 4, 8)),
        (LLAMA_8B, EngineSpec(), 3, (1, 2)),
        (LLAMA_8B, EngineSpec(), 0, (1,)),
        (LLAMA_8B, EngineSpec(gpu_count=2), 8, (2,)),
        (LLAMA_8B, EngineSpec(gpu_count=0), 8, (0,)),
        (LLAMA_8B, EngineSpec(gpus=(GpuId("nvidia-1"), GpuId("nvidia-3"))), 8, (2,)),
        (ENCODER, EngineSpec(), 32, (1, 2, 4, 8, 16)),  # 16 heads
        (HYBRID, EngineSpec(), 8, (1, 2, 4, 8)),  # 2 KV heads: replicated beyond
        (DEEPSEEK_V3, EngineSpec(), 8, (1, 2, 4, 8)),
    ],
)
def test_counts_worth_trying(facts, spec, available, expected):
    assert gpu_counts(entry(facts), spec, available) == expected


def test_counts_of_an_odd_model_and_of_an_unknown_one():
    odd = Architecture(weight_bytes=GIB, layers=24, attention_heads=14, kv_heads=2, head_size=64, source="test")
    assert gpu_counts(entry(odd), EngineSpec(), 8) == (1, 2)
    uneven = Architecture(weight_bytes=GIB, layers=24, attention_heads=24, kv_heads=6, head_size=64, source="test")
    assert gpu_counts(entry(uneven), EngineSpec(), 8) == (1, 2)  # 6 KV heads over 4 ranks go neither way
    assert gpu_counts(entry(default_gpus=4), EngineSpec(), 8) == (4, 8)
    assert gpu_counts(None, EngineSpec(), 8) == (1,)


def test_largest_context_is_the_largest_that_fits():
    spec = EngineSpec(context=131_072)
    gpu = device(24)
    context = largest_context(entry(), spec, 1, gpu, 22 * GIB)
    assert context == 16_384
    fits, next_up = (
        footprint(device_need(entry(), EngineSpec(context=c), 1, gpu), gpu.vram_total_bytes)
        for c in (context, context * 2)
    )
    assert fits <= 22 * GIB < next_up
    assert largest_context(entry(), EngineSpec(context=8192), 1, gpu, 24 * GIB) == 4096  # below the present one
    assert largest_context(entry(), spec, 1, gpu, 10 * GIB) is None


def test_enough_gpus():
    assert enough_gpus(entry(), EngineSpec(), device(24)) == 1
    assert enough_gpus(entry(LLAMA_70B), EngineSpec(), device(80)) == 2
    assert enough_gpus(entry(LLAMA_70B), EngineSpec(), device(48)) == 4
    assert enough_gpus(entry(LLAMA_70B), EngineSpec(), device(1)) is None


@pytest.mark.parametrize("text", ["", "many", "-4", "nan", "1e400"])
def test_arguments_that_are_no_numbers_are_left_to_vllm(text):
    assert memory_need(entry(), EngineSpec(args=("--max-num-seqs", text)), 1) == memory_need(entry(), EngineSpec(), 1)


@pytest.mark.parametrize(("text", "tokens"), [("4096", 4096), ("4k", 4000), ("4K", 4096), ("1.5k", 1500)])
def test_numbers_as_vllm_reads_them(text, tokens):
    spec = EngineSpec(args=("--max-num-batched-tokens", text))
    need = memory_need(entry(), spec, 1)
    assert need is not None
    formula = next(term.formula for term in need.terms if term.name == "activations")
    assert formula.startswith(f"({tokens} tokens")


def test_flag_without_its_value_is_left_to_vllm():
    assert memory_need(entry(), EngineSpec(args=("--max-num-seqs",)), 1) is not None
