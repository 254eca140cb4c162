"""BitFit: only biases are trained (arXiv:2106.10199), those of norms included.

One decision: a model without biases is refused unless `create` asks for new ones, zero at the start, on its linear layers;
those cannot be written into the plain weights of such a model, so they are not merged.
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
from luthier.engine.methods.targets import layers_of


@dataclass(frozen=True, slots=True)
class BitFitSpec:
    """create: give every linear layer of the stack that has no bias one, of zeros."""

    kind: ClassVar[str] = "bitfit"
    starts_as_base: ClassVar[bool] = True

    create: bool = False

    @property
    def unmergeable(self) -> str:
        return "the architecture has no place for the biases that were added" if self.create else ""

    def install(self, model: Any, seed: int) -> Installed:
        if self.create:
            for name in layers_of(model).linear:
                linear = model.get_submodule(name)
                if linear.bias is None:
                    linear.bias = torch.nn.Parameter(linear.weight.new_zeros(linear.weight.shape[0]), requires_grad=False)
        names = [name for name, _ in model.named_parameters() if name.endswith(".bias")]
        if not names:
            raise no_biases(model.config.model_type)
        return train_own(model, names)

    def save(self, folder: Path, weights: Mapping[str, torch.Tensor], modules: tuple[str, ...], base: str) -> None:
        save_own(folder, "LUTHIER_BITFIT", {"create": self.create}, weights, base)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> BitFitSpec | None:
        return cls(bool(config["create"])) if config["peft_type"] == "LUTHIER_BITFIT" else None


def no_biases(family: str) -> UserError:
    """The refusal of a model of `family`, which has nothing to train."""
    fix = "`create: true` gives its linear layers biases of zero"
    return UserError("the model must have biases", f"{family}, which has none", "train.method.kind", fix)
