"""Models as the catalog knows them. Memory is computed from architecture facts, never typed in."""

from dataclasses import dataclass
from enum import StrEnum

from modelgrid.domain.ids import ModelId


class Capability(StrEnum):
    CHAT = "chat"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    RERANK = "rerank"


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The facts of a model's published configuration from which memory follows."""

    weight_bytes: int
    """Size of all weight files."""
    layers: int
    attention_heads: int
    """Query heads; tensor parallelism must divide it."""
    kv_heads: int
    head_size: int
    kv_layers: int | None = None
    """Layers that keep a KV cache over the whole context; `None`: all. Hybrid models keep fewer."""
    sliding_layers: int = 0
    """Layers (not counted in `kv_layers`) whose KV cache is bounded by `sliding_window`."""
    sliding_window: int = 0
    """Tokens."""
    kv_latent_size: int | None = None
    """Multi-head latent attention: elements kept per token and layer, in place of 2 × kv_heads × head_size."""
    source: str
    """Where the facts were read, for example `config.json of the repository at revision …`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogEntry:
    """One model that can be deployed."""

    id: ModelId
    aliases: tuple[str, ...] = ()
    capabilities: tuple[Capability, ...]
    parameters: int
    dtype: str
    """Type of the weights as stored: `bfloat16`, `float16`, `fp8`, `int4`, `mxfp4`."""
    context: int
    """Longest context the model supports, tokens."""
    default_context: int
    """Context served when the operator does not ask for another, tokens; ≤ `context`."""
    default_gpus: int = 1
    licence: str
    gated: bool = False
    """The weights need an accepted licence and a token (`HF_TOKEN`)."""
    vllm_args: tuple[str, ...] = ()
    repository: str = ""
    """Where vLLM loads the weights from: a hub repository or an absolute local path; empty: the id."""
    trust_remote_code: bool = False
    """The model needs code from its repository; the operator must opt in per deployment."""
    architecture: Architecture
    added: str = ""
    """Date of the entry, `YYYY-MM-DD`."""
    source: str = ""
    """Name of the catalog source the entry came from."""

    @property
    def location(self) -> str:
        return self.repository or self.id

    @property
    def names(self) -> tuple[str, ...]:
        """Every name a request may use: the canonical id first."""
        return (self.id, *self.aliases)
