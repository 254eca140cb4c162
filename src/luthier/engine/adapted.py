"""The verbs of `engine.contract.Engine` that concern the trainable weights alone, the same for every engine.

One decision: they are inherited, not written in each engine; an engine that keeps something made from the weights
(merged copies) brings it up to date in `weights_moved`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from luthier.engine.adapter import AdapterSet
from luthier.engine.contract import NO_NOISE, Keeping, NoiseRates
from luthier.engine.optim.config import OptimizerConfig

if TYPE_CHECKING:
    from luthier.engine.memory.forecast import Forecast


class Adapted:
    """An engine's trainable weights. micro_batch_tokens: tokens computed at once, where the engine has such a bound."""

    longest: int | None = None

    def __init__(self, adapters: AdapterSet, micro_batch_tokens: int | None = None) -> None:
        self._adapters = adapters
        self.num_trainable = adapters.num_trainable
        self.refusal: str | None = None
        self.recomputed_layers = 0
        self.micro_batch_tokens = micro_batch_tokens

    def weights_moved(self) -> None:
        """Called after every change of the weights."""

    def use_optimiser(self, config: OptimizerConfig, ema: float | None = None) -> None:
        self._adapters.use_optimiser(config, ema)

    @torch.no_grad()
    def swap_average(self) -> None:
        if self._adapters.swap_average():
            self.weights_moved()

    def optim_step(self, learning_rate: float) -> float:
        norm = self._adapters.step(learning_rate)
        self.weights_moved()
        return norm

    def gradients(self) -> dict[str, Any]:
        return self._adapters.gradients()

    def replace_gradients(self, gradients: dict[str, Any] | None) -> None:
        self._adapters.replace_gradients(gradients)

    def forecast(self, sequences: Any, steps: Any, noise: NoiseRates = NO_NOISE) -> Forecast | None:
        """None: an engine has no memory model unless it says otherwise."""
        return None

    def keep_activations(self, keeping: Keeping, sequences: Any, steps: Any) -> str:
        """Nothing is kept unless an engine says otherwise."""
        return ""

    def state(self) -> dict[str, Any]:
        return self._adapters.state()

    def load_state(self, state: dict[str, Any]) -> None:
        self._adapters.load_state(state)
        self.weights_moved()

    def save_adapter(self, folder: Path, base: str | None = None) -> None:
        self._adapters.save(folder, base)
