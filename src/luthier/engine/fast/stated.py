"""The config of a model folder as its `config.json` states it, without transformers, whose import takes longer than reading a small model.

One decision: nothing is filled in or translated here. A file that states every field that is read, each of its type and none in an
older form, is taken as it is; any other is left to transformers, so both roads give the same architecture.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from luthier.engine.memory.dimensions import FAMILIES, GEMMA

_SIZES = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "max_position_embeddings",
)  # fmt: skip
_OLDER = (
    "rope_scaling",
    "rope_theta",
    "partial_rotary_factor",
    "rope_local_base_freq",
    "quantization_config",
    "auto_map",
    "sliding_window_pattern",
)
"""Fields that transformers translates into others, or that make the model another one."""
_OPTIONAL = ("attention_bias", "mlp_bias", "use_bidirectional_attention")
_WINDOWED = ("mistral", "phi3", "qwen2", "qwen3", *GEMMA)
_OWN_HEAD_DIM = ("llama", "mistral", "qwen3", *GEMMA)
_LAYERED = ("qwen2", "qwen3", *GEMMA)


def stated_config(folder: Path) -> SimpleNamespace | None:
    """The fields as attributes; None where transformers must read the file: it is no JSON, states too little, or is of another model."""
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        return None
    return SimpleNamespace(**found) if isinstance(found, dict) and _is_whole(found) else None


def _is_whole(c: dict[str, Any]) -> bool:
    family = c.get("model_type")
    if family not in FAMILIES or any(c.get(name) is not None for name in _OLDER):
        return False
    if not all(type(c.get(name)) is int and c[name] > 0 for name in _SIZES):
        return False
    checks = (
        type(c.get("rms_norm_eps")) is float,
        type(c.get("tie_word_embeddings")) is bool,
        isinstance(c.get("hidden_activation" if family in GEMMA else "hidden_act"), str),
        all(isinstance(c.get(name, False), bool | None) for name in _OPTIONAL),
        family not in _OWN_HEAD_DIM or (type(c.get("head_dim")) is int and c["head_dim"] > 0),
        c["hidden_size"] % c["num_attention_heads"] == 0 == c["num_attention_heads"] % c["num_key_value_heads"],
        family not in _WINDOWED or ("sliding_window" in c and (c["sliding_window"] is None or type(c["sliding_window"]) is int)),
        family not in _LAYERED or _are_kinds(c.get("layer_types"), c["num_hidden_layers"]),
        family not in GEMMA or _has_gemmas_own(c),
        _are_ropes(c),
    )
    return all(checks)


def _are_kinds(kinds: Any, layers: int) -> bool:
    return isinstance(kinds, list) and len(kinds) == layers and all(isinstance(kind, str) for kind in kinds)


def _has_gemmas_own(c: dict[str, Any]) -> bool:
    caps = ("attn_logit_softcapping", "final_logit_softcapping")
    return type(c.get("query_pre_attn_scalar")) in (int, float) and all(name in c and isinstance(c[name], float | None) for name in caps)


def _are_ropes(c: dict[str, Any]) -> bool:
    """One set of rotary parameters, or one for each kind of layer (Gemma 3); schemes that scale them are checked by transformers."""
    given = c.get("rope_parameters")
    if not isinstance(given, dict):
        return False
    sets = [given.get(kind) for kind in c["layer_types"]] if c["model_type"] == "gemma3_text" else [given]
    return all(isinstance(s, dict) and s.get("rope_type") == "default" and isinstance(s.get("rope_theta"), int | float) for s in sets)
