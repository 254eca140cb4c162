"""DoRA: LoRA on the direction of each weight, with a trained magnitude for each output (arXiv:2402.09353).

One decision: the norm that divides is treated as a constant by the gradient (section 4.3 of the paper), as PEFT does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from luthier.engine.methods.lora import LoRASpec, read_lora


@dataclass(frozen=True, slots=True)
class DoRASpec(LoRASpec):
    """W becomes m * (W + scale * B @ A) / |W + scale * B @ A|, row by row, with m [out] starting at |W|."""

    kind: ClassVar[str] = "dora"
    starts_as_base: ClassVar[bool] = True

    def peft_options(self) -> dict[str, Any]:
        return {"use_dora": True}

    @classmethod
    def from_config(cls, config: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> DoRASpec | None:
        if config["peft_type"] != "LORA" or not config.get("use_dora") or "luthier" in config:
            return None
        return cls(*read_lora(config, weights))
