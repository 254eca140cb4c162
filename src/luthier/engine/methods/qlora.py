"""QLoRA: LoRA on a base whose linear layers stay quantised (arXiv:2305.14314).

One decision: how the base is stored belongs to the adapter. It is written beside PEFT's config, so a model that was tuned on
rounded weights is evaluated, chatted with and merged on the same rounded weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from luthier.core.errors import UserError
from luthier.core.keys import file_sha256
from luthier.engine.methods.contract import Installed
from luthier.engine.methods.folder import OWN, write_folder
from luthier.engine.methods.lora import LoRASpec, read_lora
from luthier.engine.methods.stored import FORMS, WHERE, QuantLinear, StoredWeight, quantised, read_blocks
from luthier.engine.methods.targets import layers_of


@dataclass(frozen=True, slots=True)
class QLoRASpec(LoRASpec):
    """stored: one of `stored.FORMS`, or the path of the .gguf file that the base was made from, whose blocks are kept as they are."""

    kind: ClassVar[str] = "qlora"
    starts_as_base: ClassVar[bool] = False

    stored: str = "nf4"

    def install(self, model: Any, seed: int) -> Installed:
        names = tuple(layers_of(model).linear)
        installed = LoRASpec.install(self, model, seed)
        self.store(model, names)
        return installed

    def store(self, model: Any, names: tuple[str, ...]) -> None:
        """Replace the named linear layers of a model by stored ones, below the LoRA layers that stand on them."""
        weight_of = self._weight_of()
        for name in names:
            owner, attribute, linear = _place(model, name)
            if not isinstance(linear, torch.nn.Linear):
                raise UserError("linear layers must be torch's to be stored quantised", f"{type(linear).__name__} ({name})", WHERE)
            stored = weight_of(name, linear.weight.detach())
            setattr(owner, attribute, QuantLinear(stored, (linear.out_features, linear.in_features), linear.bias))

    def round(self, model: Any) -> None:
        """Give the linear layers of a plain model the values that they have when stored."""
        weight_of = self._weight_of()
        with torch.no_grad():
            for name in layers_of(model).linear:
                weight = model.get_submodule(name).weight
                weight.copy_(weight_of(name, weight.detach()).dequantise(weight.dtype))

    def _weight_of(self) -> Callable[[str, torch.Tensor], StoredWeight]:
        if self.stored in FORMS:
            return lambda name, weight: quantised(weight, self.stored, name)
        blocks = read_blocks(Path(self.stored))

        def kept(name: str, weight: torch.Tensor) -> StoredWeight:
            if name not in blocks or not torch.equal(blocks[name].dequantise(weight.dtype), weight):
                must = "the base must be the one that was made from the .gguf file"
                raise UserError(must, f"other weights in {name}", f"{WHERE}: {self.stored}")
            return blocks[name]

        return kept

    def save(self, folder: Path, weights: Mapping[str, torch.Tensor], modules: tuple[str, ...], base: str) -> None:
        """See `contract.MethodSpec`."""
        own: dict[str, Any] = {"kind": self.kind, "stored": self.stored}
        if self.stored not in FORMS:
            own = {"kind": self.kind, "stored": str(Path(self.stored).absolute()), "sha256": file_sha256(Path(self.stored))}
        config = {"peft_type": "LORA", "base_model_name_or_path": base, **self._config(modules)}
        write_folder(folder, config, weights, own)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> QLoRASpec | None:
        own = config.get("luthier", {})
        if config["peft_type"] != "LORA" or own.get("kind") != "qlora":
            return None
        stored = str(own["stored"])
        if stored not in FORMS and file_sha256(Path(stored)) != own["sha256"]:
            raise UserError("the .gguf file must be the one that the adapter was trained on", stored, OWN)
        return cls(*read_lora(config, weights), stored)


def _place(model: Any, name: str) -> tuple[Any, str, Any]:
    """Where a linear layer hangs: (its parent, the attribute, the layer); below PEFT's layer where there is one."""
    parent, _, last = name.rpartition(".")
    owner = model.get_submodule(parent)
    module = getattr(owner, last)
    return (module, "base_layer", module.base_layer) if hasattr(module, "base_layer") else (owner, last, module)
