"""An exponential moving average of the trained weights, kept beside them.

One decision: the decay of update t (from 1) is min(decay, (1 + t) / (10 + t)), as in TensorFlow's ExponentialMovingAverage
with `num_updates`, so that a short run is not an average with its random start.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

PREFIX, COUNT = "ema.", "ema_updates"


class Average:
    """The average of named parameters; equal to them until the first update."""

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], decay: float) -> None:
        self._parameters, self._decay, self._updates = parameters, decay, 0
        self._shadow = {name: p.detach().clone() for name, p in parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the parameters as they are now."""
        self._updates += 1
        keep = min(self._decay, (1 + self._updates) / (10 + self._updates))
        for name, p in self._parameters.items():
            self._shadow[name].lerp_(p, 1.0 - keep)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the parameters with their average; twice is no change."""
        for name, p in self._parameters.items():
            held = p.detach().clone()
            p.copy_(self._shadow[name])
            self._shadow[name].copy_(held)

    def state(self) -> dict[str, Any]:
        """`ema.<parameter>` -> tensor, and the number of updates."""
        return {**{PREFIX + name: t.clone() for name, t in self._shadow.items()}, COUNT: self._updates}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` gave; a state without an average starts one at its weights."""
        self._updates = int(state.get(COUNT, 0))
        for name, p in self._parameters.items():
            self._shadow[name] = state.get(PREFIX + name, p.detach()).clone()
