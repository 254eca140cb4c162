"""Weights of the model itself as trainable parameters, and the adapter folder that holds what became of them.

One decision: PEFT has no form for this, so the folder says so (`peft_type` LUTHIER_...) and holds each trained tensor whole,
under the model's own name with PEFT's prefix; loading it is copying tensors, and nothing is left to merge.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from luthier.engine.methods.contract import Installed
from luthier.engine.methods.folder import write_folder
from luthier.engine.methods.wrapping import PREFIX

OWN_FORMS = ("LUTHIER_FULL", "LUTHIER_LAST_LAYERS", "LUTHIER_BITFIT")
"""The forms whose tensors replace the model's own."""


def train_own(model: Any, names: Iterable[str]) -> Installed:
    """Make the named parameters of the model trainable."""
    wanted = set(names)
    found = {PREFIX + name: p.requires_grad_(True) for name, p in model.named_parameters() if name in wanted}
    return Installed(found)


def save_own(folder: Path, form: str, settings: Mapping[str, Any], weights: Mapping[str, torch.Tensor], base: str) -> None:
    """Write the folder. settings: what `from_config` needs."""
    write_folder(folder, {"peft_type": form, "base_model_name_or_path": base, **settings}, weights)
