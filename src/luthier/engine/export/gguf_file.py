"""A model of the Llama family written as a GGUF file: the inverse of `engine.models.gguf_weights`.

One decision: vectors stay float32 and, in a 4-bit file, the embedding and the output head are stored in 8 bits, as
llama.cpp keeps them finer too; whatever a type cannot hold is stored in the next finer one, as there (Q4_K: Q5_0, then F16),
and every such tensor is named in the result.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from luthier.core.errors import EngineRefused
from luthier.engine.export import q4_k
from luthier.engine.export.gguf_vocabulary import Vocabulary
from luthier.engine.models.gguf_weights import BLOCK_NAMES, TOP_NAMES

GgufType = Literal["f16", "q8_0", "q4_k", "q4_0"]
Progress = Callable[[int, int], None]
"""Called with (done, total) tensors."""
_ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
_FILE_TYPES = {"f16": 1, "q8_0": 7, "q4_k": 14, "q4_0": 2}
"""llama.cpp's names for a whole file; 14 is MOSTLY_Q4_K_S, all linear layers in Q4_K."""
_BLOCK = 32
"""Values that share a scale in Q4_0, Q5_0 and Q8_0: a row must be a multiple of it."""
_F16_MAX = 65504.0
_FIX = "export it with `--to merged`"


@dataclass(frozen=True, slots=True)
class GgufText:
    """What the file says about text and origin."""

    name: str
    licence: str
    vocabulary: Vocabulary
    template: str


@dataclass(frozen=True, slots=True)
class Stored:
    """How many tensors were stored in each type, and those that another type than asked for was taken for, with the reason."""

    counts: dict[str, int]
    exceptions: tuple[str, ...]

    def lines(self) -> list[str]:
        """The exceptions with those of all layers in one line: `model.layers.*.mlp.up_proj.weight (30 tensors): ...`."""
        of_kind = Counter(re.sub(r"(?<=\.)\d+(?=\.)", "*", line) for line in self.exceptions)
        return [kind if n == 1 else kind.replace(":", f" ({n} tensors):", 1) for kind, n in of_kind.items()]


def architecture_of(config: dict[str, Any]) -> str:
    """The GGUF architecture of a transformers config. Raises EngineRefused for what the file could not state."""
    kind = str(config.get("model_type"))
    if kind not in _ARCHITECTURES:
        raise EngineRefused(f"a GGUF export needs one of these architectures: {', '.join(_ARCHITECTURES)}", kind, "config.json", _FIX)
    rope = config.get("rope_parameters") or {}
    window = config.get("sliding_window") is not None and (kind == "mistral" or bool(config.get("use_sliding_window")))
    head_dim = _head_dim(config)
    variants = {
        f"rotary scaling ({rope.get('rope_type')})": rope.get("rope_type", "default") != "default",
        "a sliding window": window,
        "biases in attention or MLP": bool(config.get("attention_bias")) or bool(config.get("mlp_bias")),
        f"the activation {config.get('hidden_act')}": config.get("hidden_act") != "silu",
        f"heads of {head_dim} (readers of qwen3 files take 128)": kind == "qwen3" and head_dim != 128,
    }
    for what, present in variants.items():
        if present:
            raise EngineRefused("a GGUF export needs a model that the file can state", what, "config.json", _FIX)
    return _ARCHITECTURES[kind]


def write_gguf(path: Path, model: Any, text: GgufText, kind: GgufType, progress: Progress) -> Stored:
    """Write the torch `model` (float32, merged) in one file. Raises EngineRefused, or OSError on a full disk."""
    import gguf

    config = model.config.to_dict()
    arch = architecture_of(config)
    writer = gguf.GGUFWriter(path, arch)
    _add_shape(writer, config)
    writer.add_name(text.name)
    writer.add_license(text.licence)
    writer.add_file_type(_FILE_TYPES[kind])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _add_text(writer, text)
    stored = _add_tensors(writer, model, kind, progress)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()
    return stored


def _head_dim(config: dict[str, Any]) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def _add_shape(writer: Any, config: dict[str, Any]) -> None:
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_freq_base(float(config["rope_parameters"]["rope_theta"]))
    writer.add_rope_dimension_count(_head_dim(config))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_key_length(_head_dim(config))
    writer.add_value_length(_head_dim(config))
    writer.add_vocab_size(config["vocab_size"])


def _add_text(writer: Any, text: GgufText) -> None:
    vocabulary = text.vocabulary
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(list(vocabulary.tokens))
    writer.add_token_types(list(vocabulary.types))
    writer.add_token_merges(list(vocabulary.merges))
    adders = {
        "bos": writer.add_bos_token_id, "eos": writer.add_eos_token_id, "pad": writer.add_pad_token_id,
        "unk": writer.add_unk_token_id, "eot": writer.add_eot_token_id,
    }  # fmt: skip
    for role, add in adders.items():
        if role in vocabulary.special:
            add(vocabulary.special[role])
    writer.add_add_bos_token(vocabulary.add_bos)
    writer.add_chat_template(text.template)


def _add_tensors(writer: Any, model: Any, kind: GgufType, progress: Progress) -> Stored:
    import gguf
    import numpy as np

    config = model.config.to_dict()
    tensors = {n: t for n, t in model.state_dict().items() if not (n == "lm_head.weight" and config.get("tie_word_embeddings"))}
    counts: dict[str, int] = {}
    exceptions: list[str] = []
    for done, (name, tensor) in enumerate(tensors.items()):
        progress(done, len(tensors))
        values = _permuted(name, np.ascontiguousarray(tensor.detach().numpy(), np.float32), config)
        stored, why = _type_of(name, values.shape, kind)
        if stored == "F16" and float(np.abs(values).max()) > _F16_MAX:
            raise EngineRefused("weights of an F16 file must be within 65504", f"{np.abs(values).max():g} in {name}", fix="take q8_0")
        raw = gguf.GGMLQuantizationType[stored]
        blocks = q4_k.quantise(values) if stored == "Q4_K" else gguf.quants.quantize(values, raw)
        writer.add_tensor(gguf_name(name), blocks, raw_dtype=raw)
        counts[stored] = counts.get(stored, 0) + 1
        exceptions += [f"{name}: {stored}, {why}"] if why else []
    progress(len(tensors), len(tensors))
    return Stored(counts, tuple(exceptions))


def _type_of(name: str, shape: tuple[int, ...], kind: GgufType) -> tuple[str, str]:
    """(ggml type, why it is not the one asked for; "" when it is, and for vectors, which are always F32)."""
    if len(shape) == 1:
        return "F32", ""
    if kind == "f16":
        return "F16", ""
    if shape[-1] % _BLOCK:
        return "F16", f"its rows of {shape[-1]} are not a multiple of {_BLOCK}"
    if kind in ("q4_0", "q4_k") and name in ("model.embed_tokens.weight", "lm_head.weight"):
        return "Q8_0", "embedding and output head are kept in 8 bits"
    if kind == "q4_k" and shape[-1] % q4_k.SUPER:
        return "Q5_0", f"its rows of {shape[-1]} are not a multiple of {q4_k.SUPER}"
    return kind.upper(), ""


def _permuted(name: str, values: Any, config: dict[str, Any]) -> Any:
    """llama.cpp's row order of q and k in `llama` files: within a head, [a0 a1 ... b0 b1 ...] -> [a0 b0 a1 b1 ...]."""
    import numpy as np

    heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}
    part = name.split(".")[-2] if name.count(".") > 1 else ""
    if _ARCHITECTURES[config["model_type"]] != "llama" or part not in heads:
        return values
    num = int(config[heads[part]])
    split = values.reshape(num, 2, values.shape[0] // num // 2, *values.shape[1:])
    return np.ascontiguousarray(split.swapaxes(1, 2).reshape(values.shape))


def gguf_name(name: str) -> str:
    """`model.layers.3.self_attn.q_proj.weight` -> `blk.3.attn_q.weight`. Raises EngineRefused for a tensor that GGUF has no name for."""
    stem, _, end = name.rpartition(".")
    top = {theirs: ours for ours, theirs in TOP_NAMES.items()}
    if stem in top:
        return f"{top[stem]}.{end}"
    parts = stem.split(".", 3)
    block = {theirs: ours for ours, theirs in BLOCK_NAMES.items()}
    if len(parts) == 4 and parts[:2] == ["model", "layers"] and parts[3] in block:
        return f"blk.{parts[2]}.{block[parts[3]]}.{end}"
    raise EngineRefused("each tensor of a GGUF file must have a name there", repr(name), fix=_FIX)
