"""(IA)^3: one trained factor for each key, value and inner MLP channel (arXiv:2205.05638).

One decision: with no targets given they are found by the names that attention and MLP layers have in transformers; a model
with other names needs `targets`, because scaling the wrong layers would train and mean nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from luthier.core.errors import UserError
from luthier.engine.methods.contract import Installed
from luthier.engine.methods.folder import write_folder
from luthier.engine.methods.targets import Layers, layers_of, saved_modules, select
from luthier.engine.methods.wrapping import PREFIX, wrap

_ATTENTION = (("k_proj", "v_proj"), ("query_key_value",), ("c_attn",), ("key", "value"), ("k_lin", "v_lin"), ("k", "v"))
_MLP = ("down_proj", "dense_4h_to_h", "fc2", "mlp.c_proj", "lin2", "wo", "output.dense")


@dataclass(frozen=True, slots=True)
class IA3Spec:
    """Outputs of `targets` and inputs of `feedforward` are multiplied by a trained vector that starts at one. Empty: found by name."""

    kind: ClassVar[str] = "ia3"
    starts_as_base: ClassVar[bool] = True

    targets: tuple[str, ...] = ()
    feedforward: tuple[str, ...] = ()

    @property
    def unmergeable(self) -> str:
        return ""

    def install(self, model: Any, seed: int) -> Installed:
        """PEFT's IA3 layers in place; nothing is drawn."""
        from peft import IA3Config

        layers = layers_of(model)
        outer, inner = self.modules(layers)
        config = IA3Config(
            target_modules=[*outer, *inner],
            feedforward_modules=list(inner),
            fan_in_fan_out=any(type(m).__name__ == "Conv1D" for m in model.modules()),
        )
        return Installed(wrap(model, config)[1], named(outer, inner))

    def choose(self, layers: Layers) -> dict[str, bool]:
        """Full names of the scaled layers, in the model's order; True where the input is scaled, not the output."""
        names = tuple(layers.linear)
        scaled = self.targets or _first(names, _ATTENTION)
        inner = self.feedforward or (() if self.targets else _last_of_mlp(names))
        inner_names = select(inner, layers, "train.method.feedforward")
        chosen = {*select(scaled, layers), *inner_names}
        return {n: n in inner_names for n in names if n in chosen}

    def modules(self, layers: Layers) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The selection as PEFT's `target_modules`: those whose output is scaled, and those whose input is."""
        chosen = self.choose(layers)
        modules = saved_modules(tuple(chosen), layers)
        last = {n.rsplit(".", 1)[-1] for n, inner in chosen.items() if inner}
        inner = tuple(m for m in modules if chosen.get(m) or m in last)
        return tuple(m for m in modules if m not in inner), inner

    def save(self, folder: Path, weights: Mapping[str, torch.Tensor], modules: tuple[str, ...], base: str) -> None:
        """See `contract.MethodSpec`."""
        inner = sorted(m.removeprefix("feedforward:") for m in modules if m.startswith("feedforward:"))
        config = {
            "peft_type": "IA3",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base,
            "target_modules": sorted(m.removeprefix("feedforward:") for m in modules),
            "feedforward_modules": inner,
            "fan_in_fan_out": False,
            "inference_mode": True,
        }
        write_folder(folder, config, weights)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> IA3Spec | None:
        if config["peft_type"] != "IA3":
            return None
        targets, inner = config["target_modules"], config["feedforward_modules"]
        if isinstance(targets, str) or isinstance(inner, str):
            raise UserError("target_modules and feedforward_modules must be lists of names", f"{targets!r}, {inner!r}")
        return cls(tuple(sorted(t for t in targets if t not in inner)), tuple(sorted(inner)))


def named(outer: tuple[str, ...], inner: tuple[str, ...]) -> tuple[str, ...]:
    """Both kinds of modules in one tuple, as `save` takes them."""
    return (*outer, *(f"feedforward:{m}" for m in inner))


def vector_name(module: str) -> str:
    """The saved name of a layer's vector."""
    return f"{PREFIX}{module}.ia3_l"


def _last_of_mlp(names: tuple[str, ...]) -> tuple[str, ...]:
    """Full names of the last layers of the MLPs; BERT's attention ends with a layer of the same last names."""
    (last,) = _first(names, tuple((n,) for n in _MLP))
    return tuple(n for n in names if n.endswith("." + last) and ".attention." not in n)


def _first(names: tuple[str, ...], wanted: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    """The first entry of `wanted` of which every name is the end of a layer's name."""
    for entry in wanted:
        if all(any(n.endswith("." + e) for n in names) for e in entry):
            return entry
    known = ", ".join(dict.fromkeys(n.rsplit(".", 1)[-1] for n in names))
    raise UserError("the layers to scale must be named for this architecture", "none known", "train.method.targets", f"its layers: {known}")
