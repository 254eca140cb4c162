"""A GGUF file of the Llama family turned into a model folder: config and weights (float32, dequantised once).

One decision: float32, because a Q4_1 value is `scale * level + minimum` of two float16 numbers and does not
survive rounding to 16 bits. llama.cpp stores the rows of q and k of `llama` files in another order (its rotary
embedding pairs neighbours); they are put back here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from luthier.core.errors import UserError, did_you_mean

CONVERTER_VERSION = 1
Progress = Callable[[str, int, int], None]
"""Called with (what, done, total)."""

# GGUF architecture -> (transformers model_type, class, rows of q and k permuted, biases on q, k, v)
FAMILIES = {
    "llama": ("llama", "LlamaForCausalLM", True, False),
    "qwen2": ("qwen2", "Qwen2ForCausalLM", False, True),
    "qwen3": ("qwen3", "Qwen3ForCausalLM", False, False),
}
BLOCK_NAMES = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
TOP_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_BROKEN = (ValueError, IndexError, KeyError, AttributeError, TypeError, OverflowError, struct.error)


class GGUFFile:
    """An opened GGUF file: its metadata by key and its tensors. Raises UserError when it is not a whole GGUF file."""

    def __init__(self, path: Path) -> None:
        import gguf

        self.path = path
        with path.open("rb") as f:
            magic = f.read(4)
        if magic != b"GGUF":
            raise UserError("a .gguf file must begin with the bytes `GGUF`", repr(magic), str(path))
        try:
            self._reader = gguf.GGUFReader(str(path))
        except _BROKEN as err:
            raise UserError("the GGUF file must be whole and readable", f"{type(err).__name__}: {str(err)[:120]}", str(path)) from None
        self.tensors = {t.name: t for t in self._reader.tensors}

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a metadata key, or `default`."""
        field = self._reader.fields.get(key)
        return default if field is None else field.contents()

    def need(self, key: str) -> Any:
        """The value of a metadata key that must be there."""
        value = self.get(key)
        if value is None:
            raise UserError(f"the GGUF file must state `{key}`", "nothing", str(self.path))
        return value


def convert_config(file: GGUFFile) -> dict[str, Any]:
    """config.json as transformers wants it. Raises UserError for an architecture outside the Llama family."""
    arch = file.need("general.architecture")
    if arch not in FAMILIES:
        where = str(file.path)
        raise UserError(f"GGUF files of these architectures can be read: {', '.join(FAMILIES)}", arch, where, did_you_mean(arch, FAMILIES))
    _refuse_variants(file, arch)
    model_type, cls, _, _ = FAMILIES[arch]
    hidden, heads = int(file.need(f"{arch}.embedding_length")), int(file.need(f"{arch}.attention.head_count"))
    head_dim = int(file.get(f"{arch}.attention.key_length", file.get(f"{arch}.rope.dimension_count", hidden // heads)))
    if int(file.get(f"{arch}.rope.dimension_count", head_dim)) != head_dim:
        raise UserError(
            "rotary embeddings must cover the whole head", f"{file.get(f'{arch}.rope.dimension_count')} of {head_dim}", str(file.path)
        )
    config = {
        "architectures": [cls],
        "model_type": model_type,
        "vocab_size": len(file.need("tokenizer.ggml.tokens")),
        "hidden_size": hidden,
        "intermediate_size": int(file.need(f"{arch}.feed_forward_length")),
        "num_hidden_layers": int(file.need(f"{arch}.block_count")),
        "num_attention_heads": heads,
        "num_key_value_heads": int(file.get(f"{arch}.attention.head_count_kv", heads)),
        "head_dim": head_dim,
        "max_position_embeddings": int(file.need(f"{arch}.context_length")),
        "rms_norm_eps": float(file.need(f"{arch}.attention.layer_norm_rms_epsilon")),
        "rope_parameters": {"rope_type": "default", "rope_theta": float(file.get(f"{arch}.rope.freq_base", 10000.0))},
        "hidden_act": "silu",
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "dtype": "float32",
    }
    ids = {"bos_token_id": "bos_token_id", "eos_token_id": "eos_token_id", "pad_token_id": "padding_token_id"}
    return config | {name: file.get(f"tokenizer.ggml.{key}") for name, key in ids.items()}


def _refuse_variants(file: GGUFFile, arch: str) -> None:
    """Refuse what would change the mathematics and is not converted here."""
    scaling = file.get(f"{arch}.rope.scaling.type", "none")
    variants = {
        "experts": int(file.get(f"{arch}.expert_count", 0)) > 0,
        f"rotary scaling ({scaling})": scaling != "none",
        "rotary factors": any(name.startswith("rope_") for name in file.tensors),
        "a sliding window": file.get(f"{arch}.attention.sliding_window") is not None,
    }
    for what, present in variants.items():
        if present:
            fix = "use the model's safetensors folder"
            raise UserError(f"a GGUF file with {what} is not converted", file.get("general.name", arch), str(file.path), fix)


def convert_weights(file: GGUFFile, config: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Every tensor by its transformers name, float32 numpy, in the shape [out, in]. All expected names and no others."""
    import gguf
    import numpy as np

    permuted = FAMILIES[file.need("general.architecture")][2]
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    out: dict[str, np.ndarray] = {}
    for done, (name, tensor) in enumerate(file.tensors.items()):
        progress("dequantising", done, len(file.tensors))
        try:
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        except NotImplementedError:
            raise UserError("the quantisation of each tensor must be known", tensor.tensor_type.name, f"{file.path}, {name}") from None
        values = np.ascontiguousarray(values, dtype=np.float32)
        part = name.split(".")[2] if name.startswith("blk.") else ""
        out[layer_name(name, file)] = unpermute(values, heads[part]) if permuted and part in heads else values
    _check_complete(out, config, file)
    return out


def layer_name(name: str, file: GGUFFile) -> str:
    """`blk.3.attn_q.weight` -> `model.layers.3.self_attn.q_proj.weight`."""
    parts = name.split(".")
    if len(parts) == 4 and parts[0] == "blk" and parts[1].isdigit() and parts[2] in BLOCK_NAMES:
        return f"model.layers.{int(parts[1])}.{BLOCK_NAMES[parts[2]]}.{parts[3]}"
    if len(parts) == 2 and parts[0] in TOP_NAMES:
        return f"{TOP_NAMES[parts[0]]}.{parts[1]}"
    raise UserError("each tensor must belong to the Llama family", repr(name), str(file.path), "use the model's safetensors folder")


def unpermute(values: Any, num_heads: int) -> Any:
    """Undo llama.cpp's row order: within a head, [a0 b0 a1 b1 ...] -> [a0 a1 ... b0 b1 ...]."""
    import numpy as np

    rows = values.shape[0]
    split = values.reshape(num_heads, rows // num_heads // 2, 2, *values.shape[1:])
    return np.ascontiguousarray(split.swapaxes(1, 2).reshape(values.shape))


def _check_complete(out: dict[str, Any], config: dict[str, Any], file: GGUFFile) -> None:
    wanted = dict(_expected(config, file))
    wrong = [
        f"{n}: {list(out[n].shape) if n in out else 'missing'}, wanted {list(s)}"
        for n, s in wanted.items()
        if n not in out or out[n].shape != s
    ]
    wrong += [f"{n}: not part of the model" for n in out if n not in wanted]
    if wrong:
        raise UserError("the tensors must be those of the stated architecture", "; ".join(wrong[:3]), str(file.path))


def _expected(config: dict[str, Any], file: GGUFFile) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of every tensor of the architecture."""
    hidden, inner, dim = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    q, kv = config["num_attention_heads"] * dim, config["num_key_value_heads"] * dim
    biases = FAMILIES[file.need("general.architecture")][3]
    yield "model.embed_tokens.weight", (config["vocab_size"], hidden)
    yield "model.norm.weight", (hidden,)
    if not config["tie_word_embeddings"]:
        yield "lm_head.weight", (config["vocab_size"], hidden)
    for i in range(config["num_hidden_layers"]):
        at = f"model.layers.{i}"
        yield f"{at}.input_layernorm.weight", (hidden,)
        yield f"{at}.post_attention_layernorm.weight", (hidden,)
        for name, rows in (("q", q), ("k", kv), ("v", kv)):
            yield f"{at}.self_attn.{name}_proj.weight", (rows, hidden)
            if biases:
                yield f"{at}.self_attn.{name}_proj.bias", (rows,)
        if config["model_type"] == "qwen3":
            yield f"{at}.self_attn.q_norm.weight", (dim,)
            yield f"{at}.self_attn.k_norm.weight", (dim,)
        yield f"{at}.self_attn.o_proj.weight", (hidden, q)
        yield f"{at}.mlp.gate_proj.weight", (inner, hidden)
        yield f"{at}.mlp.up_proj.weight", (inner, hidden)
        yield f"{at}.mlp.down_proj.weight", (hidden, inner)
