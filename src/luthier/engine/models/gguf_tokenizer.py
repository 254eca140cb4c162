"""A GGUF file's vocabulary turned into tokenizer.json, tokenizer_config.json and generation_config.json.

One decision: text is split the way the vocabulary's merges were learned (`tokenizer.ggml.pre`); an unknown split
is refused, because a tokenizer that is nearly right is wrong without a sign.
"""

from __future__ import annotations

from typing import Any

from luthier.core.errors import UserError
from luthier.engine.models.gguf_weights import GGUFFile

_CONTROL, _USER_DEFINED = 3, 4
_SAFETENSORS_FIX = "use the model's safetensors folder"
_LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_DIGITS, _PLAIN = "digits", "plain"
# `tokenizer.ggml.pre` (llama.cpp: llama-vocab.cpp) -> a split expression, each digit apart, or GPT-2's own split
SPLITS = {
    "gpt-2": _PLAIN, "default": _PLAIN,
    "smollm": _DIGITS, "codeshell": _DIGITS, "exaone": _DIGITS, "starcoder": _DIGITS, "refact": _DIGITS,
    "llama-bpe": _LLAMA3, "llama3": _LLAMA3, "llama-v3": _LLAMA3, "qwen2": _QWEN2, "deepseek-r1-qwen": _QWEN2,
}  # fmt: skip


NORMALISED = ("qwen2", "deepseek-r1-qwen")
"""The names under which text is put into Unicode form NFC before it is split."""


def build_tokenizer(file: GGUFFile) -> Any:
    """The byte-level BPE tokenizer (`tokenizers.Tokenizer`) that the file describes."""
    from tokenizers import AddedToken, Tokenizer, decoders, models

    kind, where = file.need("tokenizer.ggml.model"), str(file.path)
    if kind != "gpt2":
        raise UserError("a GGUF vocabulary must be byte-level BPE (`gpt2`)", repr(kind), where, _SAFETENSORS_FIX)
    tokens, types = file.need("tokenizer.ggml.tokens"), file.need("tokenizer.ggml.token_type")
    if len(set(tokens)) != len(tokens) or len(types) != len(tokens):
        raise UserError("a vocabulary must name each token once, with a type each", f"{len(tokens)} tokens, {len(types)} types", where)
    merges = [tuple(m.split(" ")) for m in file.need("tokenizer.ggml.merges")]
    if any(len(m) != 2 for m in merges):
        raise UserError("a merge must be two pieces", next(m for m in merges if len(m) != 2), where)
    llama3 = SPLITS.get(file.get("tokenizer.ggml.pre", "")) == _LLAMA3
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges, ignore_merges=llama3))
    if file.get("tokenizer.ggml.pre") in NORMALISED:
        from tokenizers import normalizers

        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizer_of(file.get("tokenizer.ggml.pre", "default"), where)
    tokenizer.decoder = decoders.ByteLevel()
    control = [t for t, kind in zip(tokens, types, strict=True) if kind == _CONTROL]
    plain = [t for t, kind in zip(tokens, types, strict=True) if kind == _USER_DEFINED]
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in control])
    tokenizer.add_tokens([AddedToken(t, normalized=False, special=False) for t in plain])
    if tokenizer.get_vocab_size() != len(tokens):
        raise UserError("control tokens must be part of the vocabulary", f"{tokenizer.get_vocab_size()} tokens", where)
    return tokenizer


def pre_tokenizer_of(pre: str, where: str) -> Any:
    """How text is split under the name `tokenizer.ggml.pre`. Raises UserError for a name that is not known."""
    from tokenizers import Regex, pre_tokenizers

    split = SPLITS.get(pre)
    if split is None:
        raise UserError(
            f"the split of the text must be known: {', '.join(SPLITS)}", repr(pre), f"{where}, tokenizer.ggml.pre", _SAFETENSORS_FIX
        )
    if split == _PLAIN:
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    if split == _DIGITS:
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    regex = pre_tokenizers.Split(Regex(split), behavior="isolated")
    return pre_tokenizers.Sequence([regex, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def tokenizer_config(file: GGUFFile) -> dict[str, Any]:
    """tokenizer_config.json: special tokens by text, the chat template, the context length."""
    arch, tokens = file.need("general.architecture"), file.need("tokenizer.ggml.tokens")
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": bool(file.get("tokenizer.ggml.add_bos_token", False)),
        "clean_up_tokenization_spaces": False,
        "model_max_length": int(file.need(f"{arch}.context_length")),
    }
    keys = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    for name, key in keys.items():
        token_id = file.get(f"tokenizer.ggml.{key}_token_id")
        if token_id is None:
            continue
        if token_id >= len(tokens):
            raise UserError(f"`{key}_token_id` must be below {len(tokens)}", token_id, str(file.path))
        config[name] = tokens[token_id]
    template = file.get("tokenizer.chat_template")
    return config | ({"chat_template": template} if template else {})


def generation_config(file: GGUFFile) -> dict[str, Any]:
    """generation_config.json: where a generation starts and ends."""
    keys = {"bos_token_id": "bos_token_id", "eos_token_id": "eos_token_id", "pad_token_id": "padding_token_id"}
    found = {name: file.get(f"tokenizer.ggml.{key}") for name, key in keys.items()}
    return {name: value for name, value in found.items() if value is not None}
