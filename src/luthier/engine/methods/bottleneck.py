"""Bottleneck adapter layers: a small network behind attention and MLP of every layer (arXiv:1902.00751).

One decision: it sits on the output of the last linear layer of each, before the residual sum; its second matrix starts at
zero, so the model starts as it was. It is not linear and cannot be merged; PEFT has no such method.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F

from luthier.core.errors import UserError
from luthier.engine.methods.contract import Installed
from luthier.engine.methods.folder import write_folder
from luthier.engine.methods.start import uniform
from luthier.engine.methods.targets import layers_of, saved_modules, select
from luthier.engine.methods.wrapping import PREFIX

ATTENTION_OUT = ("o_proj", "out_proj", "attn.c_proj", "attention.dense", "self_attention.dense", "attention.output.dense", "out_lin", "o")
MLP_OUT = ("down_proj", "fc2", "mlp.c_proj", "dense_4h_to_h", "lin2", "wo", "output.dense")
_ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu, "silu": F.silu}


class Bottleneck(torch.nn.Module):
    """base(x) + up(act(down(base(x)))). down: [size, out] with bias; up: [out, size] with bias, zero at the start."""

    def __init__(self, base: torch.nn.Module, width: int, spec: BottleneckSpec, name: str, seed: int) -> None:
        super().__init__()
        dtype = next(base.parameters()).dtype
        self.base_layer = base
        bound = 1.0 / math.sqrt(width)
        self.adapter_down = torch.nn.Linear(width, spec.size, dtype=dtype)
        self.adapter_up = torch.nn.Linear(spec.size, width, dtype=dtype)
        self._act = _ACTIVATIONS[spec.activation]
        with torch.no_grad():
            self.adapter_down.weight.copy_(uniform((spec.size, width), bound, seed, name))
            for zero in (self.adapter_down.bias, self.adapter_up.weight, self.adapter_up.bias):
                zero.zero_()

    @property
    def weight(self) -> torch.Tensor:
        """The base layer's: T5 asks its layers for their precision."""
        found = self.base_layer.weight
        assert isinstance(found, torch.Tensor)
        return found

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.base_layer(x)
        return y + self.adapter_up(self._act(self.adapter_down(y)))


@dataclass(frozen=True, slots=True)
class BottleneckSpec:
    """size: the inner width; targets: the layers whose output is adapted, found by name when empty."""

    kind: ClassVar[str] = "bottleneck"
    starts_as_base: ClassVar[bool] = True

    size: int = 32
    activation: str = "relu"
    targets: tuple[str, ...] = ()

    @property
    def unmergeable(self) -> str:
        return "its layers are not linear"

    def install(self, model: Any, seed: int) -> Installed:
        layers = layers_of(model)
        names = select(self.targets or _usual(tuple(layers.linear)), layers)
        parameters: dict[str, torch.nn.Parameter] = {}
        for name in names:
            width = layers.linear[name][0] if name in layers.linear else 0
            if self.size > width:
                raise UserError(f"`size` must be at most {width}, the width of {name}", self.size, "train.method.size")
            parent, _, last = name.rpartition(".")
            with torch.random.fork_rng(devices=[]):
                module = Bottleneck(model.get_submodule(name), width, self, name, seed)
            setattr(model.get_submodule(parent), last, module.eval())
            parameters |= {f"{PREFIX}{name}.{n}": p for n, p in module.named_parameters() if not n.startswith("base_layer.")}
        return Installed(parameters, saved_modules(names, layers))

    def save(self, folder: Path, weights: Mapping[str, torch.Tensor], modules: tuple[str, ...], base: str) -> None:
        """See `contract.MethodSpec`."""
        settings = {"size": self.size, "activation": self.activation, "target_modules": sorted(modules)}
        write_folder(folder, {"peft_type": "LUTHIER_BOTTLENECK", "base_model_name_or_path": base, **settings}, weights)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> BottleneckSpec | None:
        if config["peft_type"] != "LUTHIER_BOTTLENECK":
            return None
        if config["activation"] not in _ACTIVATIONS:
            raise UserError(f"`activation` must be one of {', '.join(_ACTIVATIONS)}", config["activation"])
        return cls(int(config["size"]), config["activation"], tuple(config["target_modules"]))


def _usual(names: tuple[str, ...]) -> tuple[str, ...]:
    """Last layer of attention and of the MLP, by the names that they have in transformers. Raises UserError for other names."""
    found = []
    for what, candidates in (("attention", ATTENTION_OUT), ("MLP", MLP_OUT)):
        fitting = [c for c in candidates if any(n.endswith("." + c) for n in names)]
        if not fitting:
            known = ", ".join(dict.fromkeys(n.rsplit(".", 1)[-1] for n in names))
            must = f"the last layer of the {what} must be named for this architecture"
            raise UserError(must, "none known", "train.method.targets", f"its layers: {known}")
        found.append(fitting[0])
    return tuple(found)
