"""A model without a hub: a random-weight Llama of two layers, its tokenizer and chat template, and a catalog of it."""

import hashlib
import json
from pathlib import Path

from testbed import vllm_cpu
from testbed.common import engines_dir, run, step

SCRIPT = Path(__file__).resolve().parents[1] / "make_tiny_model.py"
MODEL_ID = "modelgrid-test/tiny"
ARGS = ("--enforce-eager", "--dtype", "float32")
"""Left to itself vLLM computes in bfloat16, with AMX where the CPU announces it, even where it is not enabled."""


def folder() -> Path:
    return engines_dir() / "models" / "tiny"


def catalog() -> Path:
    """Return the catalog file that names the model and where it lies (`models.sources` in config.json)."""
    return engines_dir() / "models" / "catalog.json"


def ready() -> bool:
    stamp = folder() / ".made-by"
    return stamp.exists() and stamp.read_text() == _stamp() and catalog().exists()


def make() -> None:
    """Make the model, with the libraries of the vLLM environment."""
    if ready():
        return
    vllm_cpu.install()
    with step(f"model {folder()}"):
        run([vllm_cpu.folder() / "bin" / "python", SCRIPT, folder()], why="the tiny model", env={"HF_HUB_OFFLINE": "1"})
        _write_catalog()
        (folder() / ".made-by").write_text(_stamp())


def _write_catalog() -> None:
    facts = json.loads((folder() / "config.json").read_text())
    weights = (folder() / "model.safetensors").stat().st_size
    entry = {
        "id": MODEL_ID,
        "aliases": ["tiny"],
        "capabilities": ["chat", "completions"],
        "parameters": weights // 4,
        "dtype": "float32",
        "context": facts["max_position_embeddings"],
        "default_context": 512,
        "licence": "Apache-2.0",
        "vllm_args": list(ARGS),
        "repository": str(folder()),
        "architecture": {
            "weight_bytes": weights,
            "layers": facts["num_hidden_layers"],
            "attention_heads": facts["num_attention_heads"],
            "kv_heads": facts["num_key_value_heads"],
            "head_size": facts["head_dim"],
            "source": "config.json in the model's folder",
        },
    }
    catalog().write_text(json.dumps({"version": 1, "models": [entry]}, indent=2) + "\n")


def _stamp() -> str:
    return hashlib.sha256(SCRIPT.read_bytes() + Path(__file__).read_bytes()).hexdigest() + str(folder())
