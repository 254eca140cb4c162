"""Prefix tuning: learned keys and values before every sequence, in every layer (arXiv:2101.00190).

One decision: they start as the keys and values of tokens drawn from the vocabulary, so an untrained prefix is the model with
those tokens before the text; it is a root of the prefix tree and adds to no weight, so it cannot be merged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from luthier.engine.methods.contract import Installed, KeyValue
from luthier.engine.methods.folder import write_folder
from luthier.engine.methods.prompt import check_room, install_root, start_tokens


@dataclass(frozen=True, slots=True)
class PrefixRoot:
    """See `contract.Root`. wrapped: PEFT's model, which holds the learned keys and values."""

    num_tokens: int
    wrapped: Any

    def embeddings(self) -> torch.Tensor | None:
        return None

    def keys_values(self) -> list[KeyValue] | None:
        return [(layer.keys[0], layer.values[0]) for layer in self.wrapped.get_prompt(batch_size=1).layers]


@dataclass(frozen=True, slots=True)
class PrefixSpec:
    """tokens: how many are learned."""

    kind: ClassVar[str] = "prefix"
    starts_as_base: ClassVar[bool] = False

    tokens: int = 20

    @property
    def unmergeable(self) -> str:
        return "it adds tokens, not weights"

    def install(self, model: Any, seed: int) -> Installed:
        from peft import PrefixTuningConfig

        check_room(int(model.config.max_position_embeddings), self.tokens)
        start = _keys_values_of(model, start_tokens(model, self.tokens, seed))
        wrapped, learned = install_root(model, PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=self.tokens), start)
        return Installed(learned, (), PrefixRoot(self.tokens, wrapped))

    def save(self, folder: Path, weights: Mapping[str, torch.Tensor], modules: tuple[str, ...], base: str) -> None:
        """See `contract.MethodSpec`."""
        config = {
            "peft_type": "PREFIX_TUNING",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base,
            "num_virtual_tokens": self.tokens,
            "prefix_projection": False,
            "inference_mode": True,
        }
        write_folder(folder, config, weights)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> PrefixSpec | None:
        """A prefix that was projected by PEFT is saved as the keys and values that came out, and is trained on as such."""
        return cls(int(config["num_virtual_tokens"])) if config["peft_type"] == "PREFIX_TUNING" else None


@torch.no_grad()
def _keys_values_of(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Keys and values of a short text as PEFT lays them out, [num_tokens, layers x 2 x kv_heads x head_dim]."""
    attention = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        cache = model.get_decoder()(input_ids=tokens[None], use_cache=True).past_key_values
    finally:
        model.set_attn_implementation(attention)
    layers = [t[0] for layer in cache.layers for t in (layer.keys, layer.values)]
    return torch.stack(layers).permute(2, 0, 1, 3).reshape(len(tokens), -1)
