"""Which decoders the fast engine computes exactly, read from a model folder's config.

One decision: everything that would change a number and is not computed here is a refusal with its reason, never a guess.
Supported: Llama, Mistral, Qwen2, Qwen3, Gemma 2, Gemma 3 (text) and Phi-3 shapes: RMSNorm, rotary halves, GQA, gated MLP.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.core.errors import EngineRefused, UserError
from luthier.core.execution import OTHER_ENGINES
from luthier.engine.fast.rotary import amplitude, frequencies, reach
from luthier.engine.fast.stated import stated_config
from luthier.engine.kernels.activation import ACTIVATIONS, Activation
from luthier.engine.kernels.dense import Rule
from luthier.engine.memory.dimensions import FAMILIES, shape_of, stored_parts


@dataclass(frozen=True, slots=True)
class Layer:
    """What may differ between layers. inverse_frequency: float values [rotated / 2]; rule: how scores are formed and cut."""

    inverse_frequency: tuple[float, ...]
    rule: Rule


@dataclass(frozen=True, slots=True)
class Scales:
    """rotary: of cos and sin. embedding: of the embedded tokens. logits_cap: logits become cap * tanh(logits / cap)."""

    rotary: float = 1.0
    embedding: float = 1.0
    logits_cap: float | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """The rows `first..last` of a stored linear layer, by its name inside the block."""

    module: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Architecture:
    """Shapes of a decoder. per_layer: one `Layer` each; `longest`: positions the model knows."""

    family: str
    vocabulary: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    eps: float
    tied: bool
    longest: int
    activation: Activation
    per_layer: tuple[Layer, ...]
    scales: Scales

    @property
    def layers(self) -> int:
        return len(self.per_layer)

    @property
    def windows(self) -> tuple[int | None, ...]:
        return tuple(layer.rule.window for layer in self.per_layer)

    @property
    def qkv_bias(self) -> bool:
        return self.family == "qwen2"

    @property
    def qk_norm(self) -> bool:
        return self.family in ("qwen3", "gemma3_text")

    @property
    def gemma(self) -> bool:
        """Norms multiply by 1 + weight, and stand before and after both attention and MLP."""
        return self.family in ("gemma2", "gemma3_text")

    def linear_shapes(self) -> dict[str, tuple[int, int]]:
        """(out, in) of each stored linear layer of a block, by its name inside the block, in the order of computation."""
        inside = {part: "mlp" if part.startswith(("gate", "up", "down")) else "self_attn" for part in stored_parts(self.family)}
        return {f"{module}.{part}": shape_of(self, part) for part, module in inside.items()}

    def groups(self) -> dict[str, tuple[Part, ...]]:
        """Linear layers that read the same input are one product, their outputs side by side."""
        whole = {module: Part(module, 0, out) for module, (out, _) in self.linear_shapes().items()}
        same = {"o": (whole["self_attn.o_proj"],), "down": (whole["mlp.down_proj"],)}
        if self.family == "phi3":
            q, fused = self.heads * self.head_dim, whole["self_attn.qkv_proj"]
            return {
                "q": (Part(fused.module, 0, q),),
                "kv": (Part(fused.module, q, fused.last),),
                "gate_up": (whole["mlp.gate_up_proj"],),
                **same,
            }
        kv, gate_up = ("self_attn.k_proj", "self_attn.v_proj"), ("mlp.gate_proj", "mlp.up_proj")
        return {
            "q": (whole["self_attn.q_proj"],),
            "kv": tuple(whole[m] for m in kv),
            "gate_up": tuple(whole[m] for m in gate_up),
            **same,
        }


def read_architecture(folder: Path) -> Architecture:
    """Read `config.json`. Raises UserError when there is none, EngineRefused when it asks for what is not computed here."""
    if not (folder / "config.json").is_file():
        raise UserError("a model folder must hold config.json", str(folder))
    if (stated := stated_config(folder)) is not None:
        return from_config(stated, str(folder))
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, KeyError, OSError) as err:
        raise EngineRefused(f"a config that transformers knows is wanted: {str(err).splitlines()[0]}", where=str(folder)) from None
    return from_config(config, str(folder))


def from_config(config: Any, where: str) -> Architecture:
    """The architecture of a transformers config, or of one that states as much. Raises EngineRefused with the reason."""
    if config.model_type not in FAMILIES:
        raise EngineRefused(f"the fast engine computes {', '.join(FAMILIES)}", config.model_type, where, OTHER_ENGINES)
    gemma = config.model_type in ("gemma2", "gemma3_text")
    activation = config.hidden_activation if gemma else config.hidden_act
    _refuse(activation not in ACTIVATIONS, f"hidden_act={activation!r}", where)
    _refuse(bool(getattr(config, "attention_bias", False)), "attention_bias=true", where)
    _refuse(bool(getattr(config, "mlp_bias", False)), "mlp_bias=true", where)
    _refuse(bool(getattr(config, "use_bidirectional_attention", False)), "use_bidirectional_attention=true", where)
    _refuse(getattr(config, "quantization_config", None) is not None, "quantised weights", where)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    ropes = _ropes(config)
    per_layer = tuple(
        Layer(frequencies(rope, head_dim, where), _rule(config, head_dim, window))
        for rope, window in zip(ropes, _windows(config, where), strict=True)
    )
    return Architecture(
        family=config.model_type,
        vocabulary=config.vocab_size,
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads or config.num_attention_heads,
        head_dim=head_dim,
        eps=config.rms_norm_eps,
        tied=bool(config.tie_word_embeddings),
        longest=min(reach(rope, config.max_position_embeddings) for rope in ropes),
        activation=ACTIVATIONS[activation],
        per_layer=per_layer,
        scales=_scales(config, gemma, ropes[0]),
    )


def _refuse(unsupported: bool, what: str, where: str) -> None:
    if unsupported:
        raise EngineRefused("the fast engine does not compute this model", what, where, OTHER_ENGINES)


def _windows(config: Any, where: str) -> tuple[int | None, ...]:
    """Per layer, how many tokens it sees (itself included); None for all."""
    window, kinds = getattr(config, "sliding_window", None), getattr(config, "layer_types", None)
    if config.model_type in ("mistral", "phi3") or kinds is None:
        return (window if config.model_type in ("mistral", "phi3") else None,) * config.num_hidden_layers
    _refuse(bool(set(kinds) - {"full_attention", "sliding_attention"}), f"layer_types={sorted(set(kinds))}", where)
    return tuple(window if kind == "sliding_attention" else None for kind in kinds)


def _ropes(config: Any) -> list[dict[str, Any]]:
    """Per layer, its rotary parameters (Gemma 3 has one set for local and one for global layers)."""
    given = dict(config.rope_parameters or {})
    if config.model_type == "gemma3_text":
        return [dict(given[kind]) for kind in config.layer_types]
    return [given] * config.num_hidden_layers


def _rule(config: Any, head_dim: int, window: int | None) -> Rule:
    """Gemma 3 does not cap its scores, whatever its config says (transformers' Gemma3Attention)."""
    scale = getattr(config, "query_pre_attn_scalar", head_dim) ** -0.5
    return Rule(scale, config.attn_logit_softcapping if config.model_type == "gemma2" else None, window)


def _scales(config: Any, gemma: bool, rope: dict[str, Any]) -> Scales:
    rotary = amplitude(rope, config.max_position_embeddings)
    if not gemma:
        return Scales(rotary)
    return Scales(rotary, config.hidden_size**0.5, config.final_logit_softcapping)
