"""Tiny random models with a real tokenizer, written as complete model folders: what the fast tests train and score.

One decision: norms and biases are random too, so a parity test cannot pass by their being one or zero.
"""

from __future__ import annotations

import json
from pathlib import Path

VOCAB = 300
CONTEXT = 512
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
CORPUS = (
    "My card was stolen yesterday, please block it now.",
    "How do I top up my account with a bank transfer?",
    "The exchange rate that was applied is wrong, can you check it?",
    "You are a helpful assistant that answers with one label only.",
    "Classify the message into one of these intents: card_lost, top_up, exchange_rate.",
    "I would like to know where my money is and when the payment will arrive.",
)


def write_tokenizer(folder: Path, *, vocab: int = VOCAB) -> None:
    """Train a byte-level BPE tokenizer of `vocab` entries and write tokenizer.json and tokenizer_config.json."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=list(CONTROL), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    assert tokenizer.get_vocab_size() == vocab, tokenizer.get_vocab_size()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": CONTEXT,
        "chat_template": CHATML,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")


def make_toy_base(folder: Path, *, arch: str = "llama", layers: int = 2, hidden: int = 32, seed: int = 0, dtype: str = "float32") -> Path:
    """Write a random model of the family `arch` (any decoder name that transformers knows) and return its folder.

    Four query heads, two key/value heads, MLP twice as wide as `hidden`, tied embeddings, context of 512 tokens.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder)
    config = AutoConfig.for_model(
        arch, vocab_size=VOCAB, hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2, head_dim=hidden // 4, max_position_embeddings=CONTEXT,
        tie_word_embeddings=True, initializer_range=0.1, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() == 1:
                    parameter.add_(0.1 * torch.randn_like(parameter))
    model.generation_config.update(bos_token_id=1, eos_token_id=2, pad_token_id=0)
    model.save_pretrained(folder)
    return folder
