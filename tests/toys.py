"""Toy decoders without a tokenizer: random weights, two layers, one folder per family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from luthier.core.execution import Execution
from luthier.engine.contract import TokenSequence
from luthier.engine.methods.lora import LoRASpec
from luthier.engine.select import load_engine

VOCABULARY = 61
FAMILIES = (
    "llama", "llama-tied", "llama-rope3", "llama-linear", "mistral", "mistral-window", "qwen2", "qwen2-window", "qwen3",
    "gemma2", "gemma3", "phi3", "phi3-partial", "phi3-long",
)  # fmt: skip
OTHERS = ("gpt2", "gpt_neox", "opt", "opt-350m", "falcon", "falcon-new", "starcoder2", "gemma2", "granite", "olmo2")
"""Decoders of the generic engine: absolute, rotary and partly rotary positions, fused and transposed layers, windows, scaled logits."""
ROPE3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}


def toy_config(family: str) -> Any:
    """A transformers config of a family at toy size: grouped heads, an odd intermediate size, a short context."""
    from transformers import Gemma2Config, Gemma3TextConfig, LlamaConfig, MistralConfig, Phi3Config, Qwen2Config, Qwen3Config

    shape: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 48,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "tie_word_embeddings": family == "llama-tied",
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    if family == "llama-rope3":
        return LlamaConfig(**shape, rope_parameters=ROPE3)
    if family == "llama-linear":
        return LlamaConfig(**shape, rope_parameters={"rope_type": "linear", "rope_theta": 1000.0, "factor": 2.0})
    if family.startswith("mistral"):
        return MistralConfig(**shape, sliding_window=25 if family == "mistral-window" else None, head_dim=8)
    if family == "qwen2":
        return Qwen2Config(**shape)
    if family == "qwen2-window":
        return Qwen2Config(**shape, use_sliding_window=True, sliding_window=17, max_window_layers=1)
    if family == "gemma2":
        return Gemma2Config(
            **(shape | {"tie_word_embeddings": True}), head_dim=16, query_pre_attn_scalar=10, sliding_window=21, attn_logit_softcapping=4.0,
            final_logit_softcapping=6.0, pad_token_id=0,
        )  # fmt: skip
    if family == "gemma3":
        return Gemma3TextConfig(
            **(shape | {"tie_word_embeddings": True}), head_dim=16, query_pre_attn_scalar=20, sliding_window=30, pad_token_id=0,
            layer_types=["sliding_attention", "full_attention"],
        )  # fmt: skip
    if family.startswith("phi3"):
        return _phi3(Phi3Config, family, shape)
    if family == "qwen3":
        return Qwen3Config(**shape, head_dim=16)
    return LlamaConfig(**shape)


def other_config(family: str) -> Any:
    """A transformers config of one of `OTHERS` at toy size."""
    import transformers as hf

    heads = {"n_embd": 48, "n_layer": 2, "n_head": 6, "n_positions": 256}
    ends = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    shape = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 6, "max_position_embeddings": 256, **ends}
    wide = {**shape, "intermediate_size": 40, "num_key_value_heads": 2}
    made = {
        "gpt2": lambda: hf.GPT2Config(**heads, **ends, scale_attn_by_inverse_layer_idx=True),
        "gpt_neox": lambda: hf.GPTNeoXConfig(**shape, intermediate_size=40, rotary_pct=0.5, use_parallel_residual=True),
        "opt": lambda: hf.OPTConfig(**shape, ffn_dim=40, word_embed_proj_dim=48),
        "opt-350m": lambda: hf.OPTConfig(**shape, ffn_dim=40, word_embed_proj_dim=32, do_layer_norm_before=False),
        "falcon": lambda: hf.FalconConfig(**shape, multi_query=True, parallel_attn=True),
        "falcon-new": lambda: hf.FalconConfig(**shape, new_decoder_architecture=True, num_kv_heads=2, bias=True),
        "starcoder2": lambda: hf.Starcoder2Config(**wide, sliding_window=25),
        "granite": lambda: hf.GraniteConfig(**wide, logits_scaling=3.0, embedding_multiplier=2.0, attention_multiplier=0.3),
        "olmo2": lambda: hf.Olmo2Config(**wide),
    }
    return made[family]() if family in made else toy_config(family)


def _phi3(config: Any, family: str, shape: dict[str, Any]) -> Any:
    shape = {**shape, "pad_token_id": 0}
    if family == "phi3-partial":
        return config(
            **shape, rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}, sliding_window=40
        )
    if family == "phi3-long":
        rope = {"rope_type": "longrope", "short_factor": [1.0, 1.1, 1.3, 2.0], "long_factor": [2.0, 3.0, 5.0, 8.0]}
        rope |= {"rope_theta": 10000.0, "original_max_position_embeddings": 256}
        return config(**(shape | {"max_position_embeddings": 1024}), original_max_position_embeddings=256, rope_parameters=rope)
    return config(**shape)


def save_toy(folder: Path, family: str, dtype: torch.dtype = torch.float32) -> Path:
    """Write a random model of a family: every weight (norms and biases too) away from its trivial value."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(11)
    model = AutoModelForCausalLM.from_config(other_config(family), dtype=torch.float32)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.randn_like(p) * 0.3 + (1.0 if "norm" in name else 0.0))
    model.to(dtype).save_pretrained(folder)
    return folder


def toy_engine(folder: Path, kind: Any, spec: LoRASpec | None, dtype: Any = "float64", budget: int = 4096) -> Any:
    """An engine on a toy folder, with a B away from zero so that every gradient is."""
    engine = load_engine(folder, spec, Execution(engine=kind, micro_batch_tokens=budget), 3, None, dtype)
    if spec is not None:
        generator = torch.Generator().manual_seed(5)
        state = engine.state()
        for name in sorted(state):
            if "lora_B" in name:
                state[name] = (torch.randn(state[name].shape, generator=generator) * 0.2).to(state[name].dtype)
        engine.load_state(state)
    return engine


def sequence(tokens: list[int], targets: list[int], weights: list[float] | None = None) -> TokenSequence:
    """A sequence whose tokens at positions `targets` are targets."""
    w = np.zeros(len(tokens), np.float32)
    w[targets] = 1.0 if weights is None else np.array(weights, np.float32)
    return TokenSequence(np.array(tokens, np.int32), w)


def random_tokens(rng: np.random.Generator, n: int) -> list[int]:
    return [int(t) for t in rng.integers(3, VOCABULARY, n)]


def relative_errors(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> dict[str, float]:
    """|found - wanted| / |wanted| (Frobenius) per name; the names must be the same, and no wanted tensor zero."""
    assert set(found) == set(wanted)
    norms = {name: float(torch.linalg.vector_norm(tensor)) for name, tensor in wanted.items()}
    assert all(norm > 0 for norm in norms.values())
    return {name: float(torch.linalg.vector_norm(found[name] - wanted[name])) / norms[name] for name in wanted}
