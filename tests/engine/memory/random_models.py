"""Random decoders of any size on disk, written without transformers, and the process that measures one cell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROPE = {"rope_type": "default", "rope_theta": 10000.0}


def write_model(folder: Path, shape: dict[str, Any], dtype: str = "float32", family: str = "llama") -> Path:
    """config.json and model.safetensors with small random weights. shape: hidden, intermediate, layers, heads, kv_heads, vocabulary."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    head_dim = shape["hidden"] // shape["heads"]
    config = {
        "model_type": family, "hidden_act": "silu", "rms_norm_eps": 1e-5, "tie_word_embeddings": True,
        "vocab_size": shape["vocabulary"], "hidden_size": shape["hidden"], "intermediate_size": shape["intermediate"],
        "num_hidden_layers": shape["layers"], "num_attention_heads": shape["heads"], "num_key_value_heads": shape["kv_heads"],
        "head_dim": head_dim, "max_position_embeddings": 16384, "architectures": [family.capitalize() + "ForCausalLM"],
    }  # fmt: skip
    gemma = family.startswith("gemma")
    config |= {"pad_token_id": 0, "sliding_window": None, **(_gemmas_own(family, shape["layers"]) if gemma else {})}
    config.setdefault("rope_parameters", ROPE)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    q, kv, hidden, inner = shape["hidden"], shape["kv_heads"] * head_dim, shape["hidden"], shape["intermediate"]
    linears = {
        "self_attn.q_proj": (q, hidden), "self_attn.k_proj": (kv, hidden), "self_attn.v_proj": (kv, hidden),
        "self_attn.o_proj": (hidden, q), "mlp.gate_proj": (inner, hidden), "mlp.up_proj": (inner, hidden), "mlp.down_proj": (hidden, inner),
    }  # fmt: skip
    if family == "phi3":
        linears = {
            "self_attn.qkv_proj": (q + 2 * kv, hidden), "self_attn.o_proj": (hidden, q), "mlp.gate_up_proj": (2 * inner, hidden),
            "mlp.down_proj": (hidden, inner),
        }  # fmt: skip
    norms = ("input_layernorm", "post_attention_layernorm", *(("pre_feedforward_layernorm", "post_feedforward_layernorm") if gemma else ()))
    kind, tensors = getattr(torch, dtype), {}
    tensors["model.embed_tokens.weight"] = torch.randn(shape["vocabulary"], hidden).mul_(0.02).to(kind)
    tensors["model.norm.weight"] = torch.ones(hidden, dtype=kind)
    for i in range(shape["layers"]):
        for name, size in linears.items():
            tensors[f"model.layers.{i}.{name}.weight"] = torch.randn(size).mul_(0.02).to(kind)
        for name in norms:
            tensors[f"model.layers.{i}.{name}.weight"] = torch.ones(hidden, dtype=kind)
        if family == "gemma3_text":
            tensors |= {f"model.layers.{i}.self_attn.{n}_norm.weight": torch.ones(head_dim, dtype=kind) for n in "qk"}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _gemmas_own(family: str, layers: int) -> dict[str, Any]:
    """What transformers fills in for the families with windows and caps, with shorter windows."""
    every = 2 if family == "gemma2" else 6
    kinds = ["full_attention" if (i + 1) % every == 0 else "sliding_attention" for i in range(layers)]
    caps = (50.0, 30.0) if family == "gemma2" else (None, None)
    own: dict[str, Any] = {"hidden_activation": "gelu_pytorch_tanh", "sliding_window": 512, "layer_types": kinds}
    own |= {"query_pre_attn_scalar": 256, "attn_logit_softcapping": caps[0], "final_logit_softcapping": caps[1]}
    if family == "gemma2":
        return own
    return own | {"rope_parameters": {"full_attention": ROPE | {"rope_theta": 1e6}, "sliding_attention": ROPE}}


SHAPES = {
    "small": {"hidden": 256, "intermediate": 768, "layers": 8, "heads": 8, "kv_heads": 4, "vocabulary": 8192},
    "middle": {"hidden": 512, "intermediate": 1408, "layers": 12, "heads": 8, "kv_heads": 8, "vocabulary": 32000},
    "wide": {"hidden": 1024, "intermediate": 2816, "layers": 4, "heads": 16, "kv_heads": 4, "vocabulary": 50000},
}
"""Sizes that matter: from 8 to 100 million parameters, grouped heads or not, a small head or one as large as the rest."""


def measure(folder: Path, cell: dict[str, Any]) -> dict[str, Any]:
    """Predict and measure one cell in a fresh process; see `probe.py`."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "2"}
    given = json.dumps({"rank": 4, "targets": ["all-linear"], "budget": 4096, "work": "train", **cell, "folder": str(folder)})
    command = [sys.executable, str(Path(__file__).with_name("probe.py")), given]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)
