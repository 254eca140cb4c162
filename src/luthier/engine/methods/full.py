"""Full fine-tuning: every weight of the model moves.

One decision: tied weights are one parameter and stay tied; the adapter folder then holds a whole model in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from luthier.engine.methods.changed import save_own, train_own
from luthier.engine.methods.contract import Installed


@dataclass(frozen=True, slots=True)
class FullSpec:
    """Every parameter is trained."""

    kind: ClassVar[str] = "full"
    starts_as_base: ClassVar[bool] = True

    @property
    def unmergeable(self) -> str:
        return ""

    def install(self, model: Any, seed: int) -> Installed:
        return train_own(model, [name for name, _ in model.named_parameters()])

    def save(self, folder: Path, weights: Mapping[str, torch.Tensor], modules: tuple[str, ...], base: str) -> None:
        save_own(folder, "LUTHIER_FULL", {}, weights, base)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> FullSpec | None:
        return cls() if config["peft_type"] == "LUTHIER_FULL" else None
