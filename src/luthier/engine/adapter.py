"""The trainable weights of an engine by their saved names, their gradients and their optimiser.

One decision: both engines hold their adapters in this one object, so a state written by one loads in the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from luthier.core.errors import UserError
from luthier.engine.methods.contract import MethodSpec
from luthier.engine.optim.config import AdamW, OptimizerConfig
from luthier.engine.optim.ema import Average
from luthier.engine.optim.optimiser import Optimiser


@dataclass(frozen=True, slots=True)
class AdapterSource:
    """What an adapter was made from. modules: what was adapted, as the saved config names it; base: name of the model it belongs to."""

    spec: MethodSpec | None
    modules: tuple[str, ...]
    base: str


class AdapterSet:
    """Parameters by saved name (`base_model.model.<module>.lora_A.weight`); empty for a bare base model."""

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], source: AdapterSource) -> None:
        self.parameters = dict(sorted(parameters.items()))
        self.source = source
        self.num_trainable = sum(p.numel() for p in self.parameters.values())
        self._optimiser: Optimiser | None = None
        self._average: Average | None = None

    def use_optimiser(self, config: OptimizerConfig, ema: float | None = None) -> None:
        """ema: decay of the average of the weights that is kept beside them; None for none."""
        self._trainable("an optimiser")
        self._optimiser = Optimiser(self.parameters, config)
        self._average = None if ema is None else Average(self.parameters, ema)

    def ensure_gradients(self) -> None:
        """Give every parameter a gradient to add to. Raises UserError when there is nothing to train."""
        self._trainable("training")
        for p in self.parameters.values():
            if p.grad is None:
                p.grad = torch.zeros_like(p)

    def clear_gradients(self) -> None:
        for p in self.parameters.values():
            p.grad = None

    def gradients(self) -> dict[str, torch.Tensor]:
        """Copies of the accumulated gradients, by saved name."""
        return {name: p.grad.clone() if p.grad is not None else torch.zeros_like(p) for name, p in self.parameters.items()}

    def replace_gradients(self, gradients: Mapping[str, torch.Tensor] | None) -> None:
        """Put `gradients`, by saved name, in the place of the accumulated ones; None drops those."""
        if gradients is None:
            return self.clear_gradients()
        for name, p in self.parameters.items():
            p.grad = gradients[name]
        return None

    def step(self, learning_rate: float) -> float:
        norm = self._ready().step(learning_rate)
        if self._average is not None:
            self._average.update()
        return norm

    def swap_average(self) -> bool:
        """Exchange the weights with their average; False when none is kept."""
        if self._average is None:
            return False
        self._average.swap()
        return True

    def state(self) -> dict[str, Any]:
        weights = {f"adapter.{name}": p.detach().clone() for name, p in self.parameters.items()}
        moments = self._optimiser.state() if self._optimiser else {}
        return {**weights, **moments, **(self._average.state() if self._average else {})}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` gave. Raises UserError when it is of another method or model."""
        expected = {f"adapter.{name}": tuple(p.shape) for name, p in self.parameters.items()}
        given = {k: tuple(v.shape) for k, v in state.items() if k.startswith("adapter.")}
        if expected != given:
            raise UserError(
                "a state must be of the same method and model as the engine", f"{len(given)} adapter tensors, not these {len(expected)}"
            )
        with torch.no_grad():
            for name, p in self.parameters.items():
                p.copy_(state[f"adapter.{name}"])
        self.clear_gradients()
        if self.parameters:
            self._ready().load_state(state)
        if self._average is not None:
            self._average.load_state(state)

    def save(self, folder: Path, base: str | None = None) -> None:
        self._trainable("an adapter to save")
        assert self.source.spec is not None
        weights = {name: p.detach().to(torch.float32) for name, p in self.parameters.items()}
        self.source.spec.save(folder, weights, self.source.modules, base or self.source.base)

    def _ready(self) -> Optimiser:
        if self._optimiser is None:
            self.use_optimiser(AdamW())
        assert self._optimiser is not None
        return self._optimiser

    def _trainable(self, what: str) -> None:
        if not self.parameters:
            raise UserError(f"{what} needs trainable weights", "an engine without a method", fix="load it with a method such as lora")
