"""Which decoders the fast engine computes exactly, read from a model folder's config.

One decision: everything that would change a number and is not computed here is a refusal with its reason,
never a guess. Supported: Llama, Mistral, Qwen2 and Qwen3 shapes with RMSNorm, rotary halves, GQA and SwiGLU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from luthier.core.errors import EngineRefused, UserError

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")


@dataclass(frozen=True, slots=True)
class Architecture:
    """Shapes of a decoder. `inverse_frequency`: float values [head_dim / 2]; `longest`: positions the model knows."""

    family: str
    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    eps: float
    inverse_frequency: tuple[float, ...]
    tied: bool
    longest: int

    @property
    def qkv_bias(self) -> bool:
        return self.family == "qwen2"

    @property
    def qk_norm(self) -> bool:
        return self.family == "qwen3"

    def linear_shapes(self) -> dict[str, tuple[int, int]]:
        """(out, in) of each linear layer of a block, by its name inside the block, in the order of computation."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "self_attn.q_proj": (q, self.hidden),
            "self_attn.k_proj": (kv, self.hidden),
            "self_attn.v_proj": (kv, self.hidden),
            "self_attn.o_proj": (self.hidden, q),
            "mlp.gate_proj": (self.intermediate, self.hidden),
            "mlp.up_proj": (self.intermediate, self.hidden),
            "mlp.down_proj": (self.hidden, self.intermediate),
        }


def read_architecture(folder: Path) -> Architecture:
    """Read `config.json`. Raises UserError when there is none, EngineRefused when it asks for what is not computed here."""
    if not (folder / "config.json").is_file():
        raise UserError("a model folder must hold config.json", str(folder))
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, KeyError, OSError) as err:
        raise EngineRefused(f"a config that transformers knows is wanted: {str(err).splitlines()[0]}", where=str(folder)) from None
    return from_config(config, str(folder))


def from_config(config: Any, where: str) -> Architecture:
    """The architecture of a transformers config. Raises EngineRefused with the reason."""
    if config.model_type not in FAMILIES:
        raise EngineRefused(f"the fast engine computes {', '.join(FAMILIES)}", config.model_type, where, "use engine=reference")
    _refuse(config.hidden_act != "silu", f"hidden_act={config.hidden_act!r}", where)
    _refuse(bool(getattr(config, "attention_bias", False)), "attention_bias=true", where)
    _refuse(bool(getattr(config, "mlp_bias", False)), "mlp_bias=true", where)
    _refuse(getattr(config, "quantization_config", None) is not None, "quantised weights", where)
    windowed = "sliding_attention" in (getattr(config, "layer_types", None) or ())
    windowed = windowed or (config.model_type == "mistral" and config.sliding_window is not None)
    window = getattr(config, "sliding_window", None) if windowed else None
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return Architecture(
        family=config.model_type,
        vocabulary=config.vocab_size,
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads or config.num_attention_heads,
        head_dim=head_dim,
        eps=config.rms_norm_eps,
        inverse_frequency=_inverse_frequency(dict(config.rope_parameters or {}), head_dim, where),
        tied=bool(config.tie_word_embeddings),
        longest=min(config.max_position_embeddings, window or config.max_position_embeddings),
    )


def _refuse(unsupported: bool, what: str, where: str) -> None:
    if unsupported:
        raise EngineRefused("the fast engine does not compute this model", what, where, "use engine=reference")


def _inverse_frequency(rope: dict[str, Any], head_dim: int, where: str) -> tuple[float, ...]:
    """Rotary frequencies in float32, as transformers computes them for `default`, `linear` and `llama3`."""
    kind = rope.get("rope_type", "default")
    _refuse(kind not in ("default", "linear", "llama3"), f"rope_type={kind!r}", where)
    _refuse(float(rope.get("partial_rotary_factor", 1.0)) != 1.0, "partial_rotary_factor", where)
    exponent = torch.arange(0, head_dim, 2, dtype=torch.int64).float() / head_dim
    inverse = 1.0 / (rope.get("rope_theta", 10000.0) ** exponent)
    if kind == "linear":
        inverse = inverse / rope["factor"]
    if kind == "llama3":
        inverse = _llama3(inverse, rope)
    return tuple(inverse.tolist())


def _llama3(inverse: torch.Tensor, rope: dict[str, Any]) -> torch.Tensor:
    """Llama 3.1's scaling: long waves divided by `factor`, short ones kept, a smooth step between."""
    old, low, high = rope["original_max_position_embeddings"], rope["low_freq_factor"], rope["high_freq_factor"]
    wavelength = 2 * math.pi / inverse
    scaled = torch.where(wavelength > old / low, inverse / rope["factor"], inverse)
    smooth = (old / wavelength - low) / (high - low)
    between = (1 - smooth) * scaled / rope["factor"] + smooth * scaled
    middle = (wavelength >= old / high) & (wavelength <= old / low)
    return torch.where(middle, between, scaled)
