"""The packaged catalog's figures against parameter counts computed from the published configurations.

What the catalog states (layers, heads, head size) goes into the formulas together with what only a configuration
states (hidden size, feed-forward size, vocabulary, biases); the result must be the stated parameter count. A wrong
figure on either side shows.
"""

from collections.abc import Callable
from importlib import resources

import pytest

from modelgrid.decide.catalog import decode
from modelgrid.domain.model import Architecture, Capability, CatalogEntry

ENTRIES = {
    entry.id: entry
    for entry in decode(
        resources.files("modelgrid.adapters.catalog_packaged").joinpath("catalog.json").read_bytes(), source="packaged"
    )
}


def decoder(
    facts: Architecture,
    hidden: int,
    ffn: int,
    vocab: int,
    *,
    tied: bool = False,
    qkv_bias: bool = False,
    head_norms: bool = False,
    wide_norms: bool = False,
    norms: int = 2,
    experts: int = 0,
    shared_ffn: int = 0,
    router_bias: bool = False,
    dense_layers: int = 0,
    dense_ffn: int = 0,
    extra_layers: int = 0,
    extra_embeddings: bool = True,
) -> int:
    """A decoder with gated feed-forward layers; `extra_layers` are multi-token prediction layers, most of them stored
    with an embedding and a head of their own (GLM 4.5), some without (GLM 4.6)."""
    q, k = facts.attention_heads * facts.head_size, facts.kv_heads * facts.head_size
    attention = 2 * hidden * q + 2 * hidden * k
    attention += q + 2 * k if qkv_bias else 0
    attention += 2 * facts.head_size if head_norms else 0
    attention += q + k if wide_norms else 0
    feed = 3 * hidden * ffn
    if experts:
        feed = experts * feed + hidden * experts + (experts if router_bias else 0) + 3 * hidden * shared_ffn
    layer = attention + norms * hidden
    total = facts.layers * layer + (facts.layers - dense_layers) * feed + dense_layers * 3 * hidden * dense_ffn
    total += vocab * hidden * (1 if tied else 2) + hidden
    embeddings = 2 * vocab * hidden if extra_embeddings else 0
    return total + extra_layers * (layer + feed + 2 * hidden * hidden + 3 * hidden + embeddings)


def latent(
    facts: Architecture,
    hidden: int,
    vocab: int,
    *,
    q_rank: int | None,
    nope: int,
    value: int,
    experts: int,
    ffn: int,
    shared: int,
    dense_ffn: int,
    dense_layers: int,
    router_bias: bool = True,
    rope: int = 64,
    extra_layers: int = 0,
) -> int:
    """Multi-head latent attention with experts (DeepSeek V2 and V3, Kimi K2, GLM 4.7 Flash)."""
    heads = facts.attention_heads
    assert facts.kv_latent_size is not None
    rank = facts.kv_latent_size - rope
    query = hidden * q_rank + q_rank + q_rank * heads * (nope + rope) if q_rank else hidden * heads * (nope + rope)
    attention = query + hidden * (rank + rope) + rank + rank * heads * (nope + value) + heads * value * hidden
    feed = 3 * hidden * ffn * (experts + shared) + hidden * experts + (experts if router_bias else 0)
    total = facts.layers * (attention + 2 * hidden) + (facts.layers - dense_layers) * feed
    total += dense_layers * 3 * hidden * dense_ffn + 2 * vocab * hidden + hidden
    return total + extra_layers * (attention + 5 * hidden + feed + 2 * hidden * hidden + 2 * vocab * hidden)


def gpt_oss(facts: Architecture, experts: int, hidden: int = 2880, vocab: int = 201_088) -> tuple[int, int]:
    """Parameters and bytes: expert matrices in MXFP4 (4 bits, and 8 bits of scale for each 32), the rest bfloat16."""
    q, k = facts.attention_heads * facts.head_size, facts.kv_heads * facts.head_size
    attention = 2 * hidden * q + 2 * hidden * k + q + 2 * k + hidden + facts.attention_heads
    wide = attention + 2 * hidden + hidden * experts + experts + experts * 3 * hidden
    wide = facts.layers * wide + 2 * vocab * hidden + hidden
    packed = facts.layers * experts * 3 * hidden * hidden
    return wide + packed, 2 * wide + packed // 2 + packed // 32


def qwen3_next(facts: Architecture, hidden: int = 2048, vocab: int = 151_936) -> int:
    experts = 512 * 3 * hidden * 512 + hidden * 512 + 3 * hidden * 512 + hidden
    q, k = facts.attention_heads * facts.head_size, facts.kv_heads * facts.head_size
    full = hidden * 2 * q + 2 * hidden * k + q * hidden + 2 * facts.head_size
    linear = hidden * 12_288 + hidden * 64 + 8192 * 4 + 2 * 32 + 128 + 4096 * hidden
    assert facts.kv_layers is not None
    total = facts.layers * (experts + 2 * hidden) + facts.kv_layers * full + (facts.layers - facts.kv_layers) * linear
    prediction = full + experts + 2 * hidden + 2 * hidden * hidden + 3 * hidden
    return total + 2 * vocab * hidden + hidden + prediction


def cross_encoder(facts: Architecture, ffn: int, vocab: int, positions: int, types: int, head: int = 0) -> int:
    """BERT and XLM-RoBERTa with a pooler (or the dense layer of the classifier in its place)."""
    hidden = facts.attention_heads * facts.head_size
    layer = 4 * (hidden * hidden + hidden) + 2 * hidden * ffn + ffn + hidden + 4 * hidden
    embeddings = (vocab + positions + types) * hidden + 2 * hidden
    return embeddings + facts.layers * layer + hidden * hidden + hidden + head


def siglip(text_hidden: int) -> int:
    """SigLIP so400m at 896 pixels, and Gemma 3's projection to the text."""
    layer = 4 * (1152 * 1152 + 1152) + 2 * 1152 * 4304 + 4304 + 1152 + 4 * 1152
    return 27 * layer + 3 * 14 * 14 * 1152 + 1152 + 4096 * 1152 + 2 * 1152 + 1152 * text_hidden + 1152


PIXTRAL = 24 * (4 * 1024**2 + 3 * 1024 * 4096 + 2 * 1024) + 3 * 14 * 14 * 1024 + 1024
PIXTRAL_PROJECTION = 1024 + 4 * 1024 * 1024 + 1024 * 5120 + 5120 * 5120
QWEN25_VISION = (
    32 * (1280 * 3840 + 3840 + 1280**2 + 1280 + 3 * 1280 * 3420 + 2 * 3420 + 1280 + 2 * 1280)
    + 3 * 2 * 14 * 14 * 1280
    + 1280 + 5120 * 5120 + 5120 + 5120 * 3584 + 3584
)  # fmt: skip
QWEN3_VISION = (
    27 * (1152 * 3456 + 3456 + 1152**2 + 1152 + 2 * 1152 * 4304 + 4304 + 1152 + 4 * 1152)
    + 3 * 2 * 16 * 16 * 1152 + 1152 + 2304 * 1152
    + 4 * (4608 * 4608 + 4608 + 4608 * 4096 + 4096) + 2 * 1152 + 3 * 2 * 4608
)  # fmt: skip
LLAMA4_VISION = (
    34 * (4 * (1408**2 + 1408) + 2 * 1408 * 5632 + 5632 + 1408 + 4 * 1408)
    + 588 * 1408 + 1408 + 577 * 1408 + 4 * 1408 + 5632 * 4096 + 4096 * 4096 + 4096 * 5120
)  # fmt: skip

LLAMA3, QWEN2, QWEN3 = 128_256, 152_064, 151_936
Formula = Callable[[Architecture], int]
PARAMETERS: dict[str, Formula] = {
    "meta-llama/Llama-3.2-1B-Instruct": lambda a: decoder(a, 2048, 8192, LLAMA3, tied=True),
    "meta-llama/Llama-3.2-3B-Instruct": lambda a: decoder(a, 3072, 8192, LLAMA3, tied=True),
    "meta-llama/Llama-3.1-8B-Instruct": lambda a: decoder(a, 4096, 14_336, LLAMA3),
    "meta-llama/Llama-3.3-70B-Instruct": lambda a: decoder(a, 8192, 28_672, LLAMA3),
    "meta-llama/Llama-4-Scout-17B-16E-Instruct": lambda a: (
        decoder(a, 5120, 8192, 202_048, experts=16, shared_ffn=8192) + LLAMA4_VISION
    ),
    "Qwen/Qwen2.5-0.5B-Instruct": lambda a: decoder(a, 896, 4864, QWEN3, tied=True, qkv_bias=True),
    "Qwen/Qwen2.5-1.5B-Instruct": lambda a: decoder(a, 1536, 8960, QWEN3, tied=True, qkv_bias=True),
    "Qwen/Qwen2.5-3B-Instruct": lambda a: decoder(a, 2048, 11_008, QWEN3, tied=True, qkv_bias=True),
    "Qwen/Qwen2.5-7B-Instruct": lambda a: decoder(a, 3584, 18_944, QWEN2, qkv_bias=True),
    "Qwen/Qwen2.5-14B-Instruct": lambda a: decoder(a, 5120, 13_824, QWEN2, qkv_bias=True),
    "Qwen/Qwen2.5-32B-Instruct": lambda a: decoder(a, 5120, 27_648, QWEN2, qkv_bias=True),
    "Qwen/Qwen2.5-72B-Instruct": lambda a: decoder(a, 8192, 29_568, QWEN2, qkv_bias=True),
    "Qwen/Qwen2.5-Coder-7B-Instruct": lambda a: decoder(a, 3584, 18_944, QWEN2, qkv_bias=True),
    "Qwen/Qwen2.5-Coder-32B-Instruct": lambda a: decoder(a, 5120, 27_648, QWEN2, qkv_bias=True),
    "Qwen/Qwen2.5-VL-7B-Instruct": lambda a: decoder(a, 3584, 18_944, QWEN2, qkv_bias=True) + QWEN25_VISION,
    "Qwen/Qwen3-0.6B": lambda a: decoder(a, 1024, 3072, QWEN3, tied=True, head_norms=True),
    "Qwen/Qwen3-1.7B": lambda a: decoder(a, 2048, 6144, QWEN3, tied=True, head_norms=True),
    "Qwen/Qwen3-4B-Instruct-2507": lambda a: decoder(a, 2560, 9728, QWEN3, tied=True, head_norms=True),
    "Qwen/Qwen3-8B": lambda a: decoder(a, 4096, 12_288, QWEN3, head_norms=True),
    "Qwen/Qwen3-14B": lambda a: decoder(a, 5120, 17_408, QWEN3, head_norms=True),
    "Qwen/Qwen3-32B": lambda a: decoder(a, 5120, 25_600, QWEN3, head_norms=True),
    "Qwen/Qwen3-VL-8B-Instruct": lambda a: decoder(a, 4096, 12_288, QWEN3, head_norms=True) + QWEN3_VISION,
    "Qwen/Qwen3-30B-A3B-Instruct-2507": lambda a: decoder(a, 2048, 768, QWEN3, head_norms=True, experts=128),
    "Qwen/Qwen3-Coder-30B-A3B-Instruct": lambda a: decoder(a, 2048, 768, QWEN3, head_norms=True, experts=128),
    "Qwen/Qwen3-235B-A22B-Instruct-2507": lambda a: decoder(a, 4096, 1536, QWEN3, head_norms=True, experts=128),
    "Qwen/Qwen3-Coder-480B-A35B-Instruct": lambda a: decoder(a, 6144, 2560, QWEN3, head_norms=True, experts=160),
    "Qwen/Qwen3-Next-80B-A3B-Instruct": qwen3_next,
    "mistralai/Mistral-7B-Instruct-v0.3": lambda a: decoder(a, 4096, 14_336, 32_768),
    "mistralai/Mistral-Nemo-Instruct-2407": lambda a: decoder(a, 5120, 14_336, 131_072),
    "mistralai/Mistral-Small-24B-Instruct-2501": lambda a: decoder(a, 5120, 32_768, 131_072),
    "mistralai/Mistral-Small-3.2-24B-Instruct-2506": lambda a: (
        decoder(a, 5120, 32_768, 131_072) + PIXTRAL + PIXTRAL_PROJECTION
    ),
    "mistralai/Devstral-Small-2507": lambda a: decoder(a, 5120, 32_768, 131_072),
    "mistralai/Mixtral-8x7B-Instruct-v0.1": lambda a: decoder(a, 4096, 14_336, 32_000, experts=8),
    "mistralai/Mixtral-8x22B-Instruct-v0.1": lambda a: decoder(a, 6144, 16_384, 32_768, experts=8),
    "google/gemma-2-2b-it": lambda a: decoder(a, 2304, 9216, 256_000, tied=True, norms=4),
    "google/gemma-2-9b-it": lambda a: decoder(a, 3584, 14_336, 256_000, tied=True, norms=4),
    "google/gemma-2-27b-it": lambda a: decoder(a, 4608, 36_864, 256_000, tied=True, norms=4),
    "google/gemma-3-1b-it": lambda a: decoder(a, 1152, 6912, 262_144, tied=True, norms=4, head_norms=True),
    "google/gemma-3-4b-it": lambda a: (
        decoder(a, 2560, 10_240, 262_208, tied=True, norms=4, head_norms=True) + siglip(2560)
    ),
    "google/gemma-3-12b-it": lambda a: (
        decoder(a, 3840, 15_360, 262_208, tied=True, norms=4, head_norms=True) + siglip(3840)
    ),
    "google/gemma-3-27b-it": lambda a: (
        decoder(a, 5376, 21_504, 262_208, tied=True, norms=4, head_norms=True) + siglip(5376)
    ),
    "microsoft/phi-4": lambda a: decoder(a, 5120, 17_920, 100_352),
    "microsoft/Phi-4-mini-instruct": lambda a: decoder(a, 3072, 8192, 200_064, tied=True),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": lambda a: decoder(a, 1536, 8960, QWEN3, qkv_bias=True),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": lambda a: decoder(a, 3584, 18_944, QWEN2, qkv_bias=True),
    "deepseek-ai/DeepSeek-R1-Distill-Llama-8B": lambda a: decoder(a, 4096, 14_336, LLAMA3),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B": lambda a: decoder(a, 5120, 13_824, QWEN2, qkv_bias=True),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B": lambda a: decoder(a, 5120, 27_648, QWEN2, qkv_bias=True),
    "deepseek-ai/DeepSeek-R1-Distill-Llama-70B": lambda a: decoder(a, 8192, 28_672, LLAMA3),
    "deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct": lambda a: latent(
        a, 2048, 102_400, q_rank=None, nope=128, value=128, experts=64, ffn=1408, shared=2, dense_ffn=10_944,
        dense_layers=1, router_bias=False,
    ),
    "openai/gpt-oss-20b": lambda a: gpt_oss(a, 32)[0],
    "openai/gpt-oss-120b": lambda a: gpt_oss(a, 128)[0],
    "zai-org/GLM-4-9B-0414": lambda a: decoder(a, 4096, 13_696, 151_552, norms=4, qkv_bias=True),
    "zai-org/GLM-4-32B-0414": lambda a: decoder(a, 6144, 23_040, 151_552, norms=4),
    "zai-org/GLM-4.5-Air": lambda a: decoder(
        a, 4096, 1408, 151_552, qkv_bias=True, experts=128, shared_ffn=1408, router_bias=True, dense_layers=1,
        dense_ffn=10_944, extra_layers=1,
    ),
    "zai-org/GLM-4.6": lambda a: decoder(
        a, 5120, 1536, 151_552, qkv_bias=True, head_norms=True, experts=160, shared_ffn=1536, router_bias=True,
        dense_layers=3, dense_ffn=12_288, extra_layers=1, extra_embeddings=False,
    ),
    "zai-org/GLM-4.7-Flash": lambda a: latent(
        a, 2048, 154_880, q_rank=768, nope=192, value=256, experts=64, ffn=1536, shared=1, dense_ffn=10_240,
        dense_layers=1, extra_layers=1,
    ),
    "moonshotai/Kimi-K2-Instruct-0905": lambda a: latent(
        a, 7168, 163_840, q_rank=1536, nope=128, value=128, experts=384, ffn=2048, shared=1, dense_ffn=18_432,
        dense_layers=1,
    ),
    "ibm-granite/granite-3.3-2b-instruct": lambda a: decoder(a, 2048, 8192, 49_159, tied=True),
    "ibm-granite/granite-3.3-8b-instruct": lambda a: decoder(a, 4096, 12_800, 49_159, tied=True),
    "allenai/OLMo-2-1124-7B-Instruct": lambda a: decoder(a, 4096, 11_008, 100_352, wide_norms=True),
    "allenai/OLMo-2-1124-13B-Instruct": lambda a: decoder(a, 5120, 13_824, 100_352, wide_norms=True),
    "allenai/OLMo-2-0325-32B-Instruct": lambda a: decoder(a, 5120, 27_648, 100_352, wide_norms=True),
    "HuggingFaceTB/SmolLM2-135M-Instruct": lambda a: decoder(a, 576, 1536, 49_152, tied=True),
    "HuggingFaceTB/SmolLM2-360M-Instruct": lambda a: decoder(a, 960, 2560, 49_152, tied=True),
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": lambda a: decoder(a, 2048, 8192, 49_152, tied=True),
    "HuggingFaceTB/SmolLM3-3B": lambda a: decoder(a, 2048, 11_008, 128_256, tied=True),
    "CohereLabs/c4ai-command-r7b-12-2024": lambda a: decoder(a, 4096, 14_336, 256_000, tied=True, norms=1),
    "CohereLabs/c4ai-command-a-03-2025": lambda a: decoder(a, 12_288, 36_864, 256_000, tied=True, norms=1),
    "tiiuae/Falcon3-7B-Instruct": lambda a: decoder(a, 3072, 23_040, 131_072),
    "tiiuae/Falcon3-10B-Instruct": lambda a: decoder(a, 3072, 23_040, 131_072),
    "Qwen/Qwen3-Embedding-0.6B": lambda a: decoder(a, 1024, 3072, 151_669, tied=True, head_norms=True),
    "Qwen/Qwen3-Embedding-4B": lambda a: decoder(a, 2560, 9728, 151_665, tied=True, head_norms=True),
    "Qwen/Qwen3-Embedding-8B": lambda a: decoder(a, 4096, 12_288, 151_665, tied=True, head_norms=True),
    "Qwen/Qwen3-Reranker-0.6B": lambda a: decoder(a, 1024, 3072, 151_669, tied=True, head_norms=True),
    "intfloat/e5-mistral-7b-instruct": lambda a: decoder(a, 4096, 14_336, 32_000, tied=True),
    "BAAI/bge-m3": lambda a: cross_encoder(a, 4096, 250_002, 8194, 1),
    "BAAI/bge-large-en-v1.5": lambda a: cross_encoder(a, 4096, 30_522, 512, 2),
    "BAAI/bge-base-en-v1.5": lambda a: cross_encoder(a, 3072, 30_522, 512, 2),
    "BAAI/bge-small-en-v1.5": lambda a: cross_encoder(a, 1536, 30_522, 512, 2),
    "intfloat/multilingual-e5-large-instruct": lambda a: cross_encoder(a, 4096, 250_002, 514, 1),
    "Snowflake/snowflake-arctic-embed-l-v2.0": lambda a: cross_encoder(a, 4096, 250_002, 8194, 1),
    "sentence-transformers/all-MiniLM-L6-v2": lambda a: cross_encoder(a, 1536, 30_522, 512, 2),
    "nomic-ai/nomic-embed-text-v1.5": lambda a: (
        (30_528 + 2) * 768 + 2 * 768 + a.layers * (4 * 768**2 + 3 * 768 * 3072 + 4 * 768)
    ),
    "Alibaba-NLP/gte-modernbert-base": lambda a: (
        50_368 * 768 + 768 + a.layers * (4 * 768**2 + 3 * 768 * 1152 + 2 * 768)
    ),
    "BAAI/bge-reranker-v2-m3": lambda a: cross_encoder(a, 4096, 250_002, 8194, 1, head=1025),
    "BAAI/bge-reranker-base": lambda a: cross_encoder(a, 3072, 250_002, 514, 1, head=769),
    "cross-encoder/ms-marco-MiniLM-L6-v2": lambda a: cross_encoder(a, 1536, 30_522, 512, 2, head=385),
}  # fmt: skip

DEEPSEEK = {
    "deepseek-ai/DeepSeek-V3-0324", "deepseek-ai/DeepSeek-R1-0528", "deepseek-ai/DeepSeek-V3.1",
}  # fmt: skip
for _name in DEEPSEEK:
    PARAMETERS[_name] = lambda a: latent(
        a, 7168, 129_280, q_rank=1536, nope=128, value=128, experts=256, ffn=2048, shared=1, dense_ffn=18_432,
        dense_layers=3,
    )  # fmt: skip


def block_fp8_bytes(
    *,
    hidden: int,
    layers: int,
    heads: int,
    vocab: int,
    experts: int,
    ffn: int,
    dense_ffn: int,
    dense_layers: int,
    extra_layers: int = 0,
) -> int:
    """Tensor bytes of the FP8 repositories of DeepSeek V3 and Kimi K2: matrices of the layers in FP8 with a float32
    scale per 128 x 128 block, the embedding, head, norms and router in bfloat16, the router's bias in float32."""

    def packed(rows: int, columns: int) -> int:
        return rows * columns + 4 * -(-rows // 128) * -(-columns // 128)

    attention = packed(1536, hidden) + packed(heads * 192, 1536) + packed(576, hidden) + packed(heads * 256, 512)
    attention += packed(hidden, heads * 128) + 2 * (1536 + 512 + 2 * hidden)
    feed = (experts + 1) * (2 * packed(ffn, hidden) + packed(hidden, ffn)) + 2 * experts * hidden + 4 * experts
    dense = 2 * packed(dense_ffn, hidden) + packed(hidden, dense_ffn)
    total = layers * attention + (layers - dense_layers) * feed + dense_layers * dense + 2 * hidden * (2 * vocab + 1)
    return total + extra_layers * (attention + feed + 2 * (2 * hidden * hidden + 3 * hidden + 2 * vocab * hidden))


STORED_TWICE = {"Qwen/Qwen3-0.6B": 1024 * QWEN3, "Qwen/Qwen3-1.7B": 2048 * QWEN3}
"""Tied output embeddings that the repository stores all the same."""
BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}


def test_every_entry_has_a_formula_and_every_formula_an_entry() -> None:
    assert set(PARAMETERS) == set(ENTRIES)


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_parameters_follow_from_the_architecture(name: str) -> None:
    assert PARAMETERS[name](ENTRIES[name].architecture) == ENTRIES[name].parameters


@pytest.mark.parametrize("name", sorted(name for name, entry in ENTRIES.items() if entry.dtype in BYTES))
def test_weight_bytes_follow_from_the_stored_parameters(name: str) -> None:
    entry = ENTRIES[name]
    stored = entry.parameters + STORED_TWICE.get(name, 0)
    assert entry.architecture.weight_bytes == stored * BYTES[entry.dtype]


@pytest.mark.parametrize(("name", "experts"), [("openai/gpt-oss-20b", 32), ("openai/gpt-oss-120b", 128)])
def test_mxfp4_weight_bytes_follow_from_the_packing(name: str, experts: int) -> None:
    facts = ENTRIES[name].architecture
    assert gpt_oss(facts, experts)[1] == facts.weight_bytes


def test_block_fp8_bytes_are_those_of_the_files_but_for_their_headers() -> None:
    tensors = block_fp8_bytes(
        hidden=7168, layers=61, heads=128, vocab=129_280, experts=256, ffn=2048, dense_ffn=18_432, dense_layers=3,
        extra_layers=1,
    )  # fmt: skip
    for name in sorted(DEEPSEEK):
        stated = ENTRIES[name].architecture.weight_bytes
        assert 0 < stated - tensors < stated * 0.0001, name


def test_kimi_bytes_are_computed_the_same_way() -> None:
    stated = ENTRIES["moonshotai/Kimi-K2-Instruct-0905"].architecture.weight_bytes
    assert stated == block_fp8_bytes(
        hidden=7168, layers=61, heads=64, vocab=163_840, experts=384, ffn=2048, dense_ffn=18_432, dense_layers=1
    )


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", 8_030_261_248),
        ("Qwen/Qwen2.5-7B-Instruct", 7_615_616_512),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", 30_532_122_624),
        ("Qwen/Qwen3-Next-80B-A3B-Instruct", 81_324_862_720),
        ("Qwen/Qwen3-VL-8B-Instruct", 8_767_123_696),
        ("google/gemma-3-27b-it", 27_432_406_640),
        ("mistralai/Mistral-Small-3.2-24B-Instruct-2506", 24_011_361_280),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", 108_641_793_536),
        ("zai-org/GLM-4.5-Air", 110_468_824_832),
        ("zai-org/GLM-4.7-Flash", 31_221_488_576),
        ("moonshotai/Kimi-K2-Instruct-0905", 1_026_408_232_448),
        ("openai/gpt-oss-120b", 116_829_156_672),
        ("BAAI/bge-m3", 567_754_752),
        ("BAAI/bge-reranker-v2-m3", 567_755_777),
        ("Alibaba-NLP/gte-modernbert-base", 149_014_272),
    ],
)
def test_the_formulas_meet_the_counts_that_the_hub_shows(name: str, published: int) -> None:
    assert ENTRIES[name].parameters == published


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=lambda entry: entry.id)
def test_every_entry_is_consistent(entry: CatalogEntry) -> None:
    facts = entry.architecture
    assert entry.default_context <= entry.context
    assert facts.attention_heads % facts.kv_heads == 0
    assert facts.attention_heads % entry.default_gpus == 0
    assert entry.licence
    assert entry.added
    assert facts.source.startswith(f"config.json of {entry.id}")
    if facts.sliding_layers:
        assert facts.kv_layers is not None
        assert facts.kv_layers + facts.sliding_layers == facts.layers
        assert facts.sliding_window > 0
    chats = {Capability.CHAT, Capability.COMPLETIONS} & set(entry.capabilities)
    assert bool(chats) != ("--runner" in entry.vllm_args), "pooling models say so, the others do not"


def test_the_catalog_covers_sizes_and_uses() -> None:
    assert len(ENTRIES) >= 36
    uses = [capability for entry in ENTRIES.values() for capability in entry.capabilities]
    assert uses.count(Capability.EMBEDDINGS) >= 6
    assert uses.count(Capability.RERANK) >= 3
    sizes = [entry.parameters for entry in ENTRIES.values() if Capability.CHAT in entry.capabilities]
    assert min(sizes) < 1_000_000_000
    assert max(sizes) > 300_000_000_000
