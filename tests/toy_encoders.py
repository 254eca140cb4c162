"""Tiny random encoders and encoder-decoders with real tokenizers, written as complete model folders.

One decision: their tokenizers put special tokens (and type ids) around a text by themselves, as published ones do, so
what the renderer makes of a text can be held to transformers' own tokenizer.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TEXT = (
    "my card was stolen now please block it how do i top up account with a bank transfer the rate that applied is wrong "
    "can you check late cash one two three four five six seven eight nine ten why when where red green blue up down left "
    "right , . ? !"
)
WORDS = TEXT.split()


def write_word_tokenizer(folder: Path, *, pair_types: bool = True, ends: bool = False) -> int:
    """A word-level tokenizer: `[CLS] a [SEP] b [SEP]`, or `a </s>` with `ends`. Returns the size of its vocabulary."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    special = ["<pad>", "</s>", "<unk>"] if ends else ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {word: i for i, word in enumerate([*special, *dict.fromkeys(WORDS)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>" if ends else "[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(special)
    if ends:
        tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
        roles = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    else:
        second = "$B:1 [SEP]:1" if pair_types else "$B [SEP]"
        template = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair=f"[CLS] $A [SEP] {second}", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
        tokenizer.post_processor = template
        roles = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    tokenizer.save(str(folder / "tokenizer.json"))
    body = {"tokenizer_class": "PreTrainedTokenizerFast", **roles, "model_max_length": 64}
    (folder / "tokenizer_config.json").write_text(json.dumps(body, indent=1), encoding="utf-8")
    return len(vocabulary)


def make_toy_encoder(folder: Path, arch: str = "bert", *, hidden: int = 32, seed: int = 0) -> Path:
    """A random two-layer encoder of the family `arch` for texts of up to 64 tokens; returns its folder."""
    import torch
    from transformers import AutoConfig, AutoModel

    folder.mkdir(parents=True, exist_ok=True)
    size = write_word_tokenizer(folder, pair_types=arch in ("bert", "electra"))
    shape: dict[str, Any] = {
        "vocab_size": size, "hidden_size": hidden, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 2 * hidden,
        "max_position_embeddings": 65 if arch in ("roberta", "xlm-roberta", "mpnet") else 64, "pad_token_id": 0,
    }  # fmt: skip
    if arch == "distilbert":
        shape = {"vocab_size": size, "dim": hidden, "n_layers": 2, "n_heads": 4, "hidden_dim": 2 * hidden, "max_position_embeddings": 64}
    if arch == "electra":
        shape["embedding_size"] = hidden // 2
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModel.from_config(AutoConfig.for_model(arch, **shape))
        _away_from_trivial(model)
    model.save_pretrained(folder)
    return folder


def make_toy_seq2seq(folder: Path, arch: str = "t5", *, hidden: int = 32, seed: int = 0) -> Path:
    """A random two-layer encoder-decoder of the family `arch`; returns its folder."""
    import torch
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    folder.mkdir(parents=True, exist_ok=True)
    size = write_word_tokenizer(folder, ends=True)
    shape: dict[str, Any] = {
        "vocab_size": size, "d_model": hidden, "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0,
    }  # fmt: skip
    if arch == "t5":
        shape |= {"d_kv": hidden // 4, "d_ff": 2 * hidden, "num_layers": 2, "num_heads": 4}
    else:
        shape |= {
            "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
            "encoder_ffn_dim": 2 * hidden, "decoder_ffn_dim": 2 * hidden, "max_position_embeddings": 64, "bos_token_id": None,
            "forced_eos_token_id": None,
        }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model(arch, **shape))
        _away_from_trivial(model)
    model.generation_config.update(forced_eos_token_id=None, forced_bos_token_id=None, bos_token_id=None)
    model.save_pretrained(folder)
    return folder


def _away_from_trivial(model: Any) -> None:
    """Every weight gets noise, biases and norms too, so that a parity test cannot pass by their being zero or one."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
