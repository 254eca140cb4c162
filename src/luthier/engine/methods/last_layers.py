"""The last k layers (of an encoder-decoder: of its decoder) and the final norm are trained, everything below is frozen.

One decision: the head of a model that writes stays frozen, since in most small models it is the token embedding, which lies
below every layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from luthier.core.errors import UserError
from luthier.engine.methods.changed import save_own, train_own
from luthier.engine.methods.contract import Installed
from luthier.engine.methods.targets import top_layers


@dataclass(frozen=True, slots=True)
class LastLayersSpec:
    """layers: how many from the top."""

    kind: ClassVar[str] = "last_layers"
    starts_as_base: ClassVar[bool] = True

    layers: int = 2

    def check(self, total: int) -> None:
        """Raises UserError when the model has fewer layers."""
        if self.layers > total:
            raise UserError("`layers` must be at most the model's number of layers", self.layers, "train.method.layers", f"it has {total}")

    @property
    def unmergeable(self) -> str:
        return ""

    def install(self, model: Any, seed: int) -> Installed:
        stack, layers = top_layers(model)
        self.check(len(layers))
        inside = [f"{stack}.{i}." for i in range(len(layers) - self.layers, len(layers))]
        parent = stack.rpartition(".")[0]
        beside = model.get_submodule(parent).named_children()
        final = [name for name, m in beside if "norm" in type(m).__name__.lower() and "embed" not in name]
        norms = [f"{parent}.{name}." if parent else f"{name}." for name in final]
        return train_own(model, [n for n, _ in model.named_parameters() if n.startswith((*inside, *norms))])

    def save(self, folder: Path, weights: Mapping[str, torch.Tensor], modules: tuple[str, ...], base: str) -> None:
        save_own(folder, "LUTHIER_LAST_LAYERS", {"layers": self.layers}, weights, base)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> LastLayersSpec | None:
        return cls(int(config["layers"])) if config["peft_type"] == "LUTHIER_LAST_LAYERS" else None
