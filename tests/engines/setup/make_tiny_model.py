"""Write a random-weight Llama of two layers with a tokenizer and a chat template: real files, a megabyte in all.

Runs with the interpreter of the vLLM environment: `python make_tiny_model.py FOLDER`."""

import json
import sys
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL = ["<|bos|>", "<|eos|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
VOCABULARY = 512
CONTEXT = 131_072
"""Far more than a test serves, so that a test can also ask for more than its KV cache holds."""
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def tokenizer() -> transformers.PreTrainedTokenizerFast:
    """Train a byte-level BPE on the standard library's own text: any text will do, and this one is everywhere."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator([Path(json.__file__).read_text(encoding="utf-8")], trainer)
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token=SPECIAL[0], eos_token=SPECIAL[1], pad_token=SPECIAL[1]
    )
    fast.chat_template = TEMPLATE
    return fast


def model() -> transformers.LlamaForCausalLM:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        tie_word_embeddings=True,
    )
    return transformers.LlamaForCausalLM(config)  # float32: vLLM has kernels for it on every CPU


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    model().save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    for path in folder.iterdir():
        path.chmod(0o644)  # a container may read it as another user


main()
