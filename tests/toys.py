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
FAMILIES = ("llama", "llama-tied", "llama-rope3", "llama-linear", "mistral", "qwen2", "qwen3")
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
    from transformers import LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

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
    if family == "mistral":
        return MistralConfig(**shape, sliding_window=None, head_dim=8)
    if family == "qwen2":
        return Qwen2Config(**shape)
    if family == "qwen3":
        return Qwen3Config(**shape, head_dim=16)
    return LlamaConfig(**shape)


def save_toy(folder: Path, family: str, dtype: torch.dtype = torch.float32) -> Path:
    """Write a random model of a family: every weight (norms and biases too) away from its trivial value."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(11)
    model = AutoModelForCausalLM.from_config(toy_config(family), dtype=torch.float32)
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
