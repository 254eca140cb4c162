"""The optimiser of both engines: clip by global norm, AdamW, clear.

One decision: torch's own AdamW does the update; this file only fixes which tensors decay, clips, refuses a
gradient that is not finite, and gives the state as named tensors so that a resume is bit exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from luthier.engine.contract import NonFiniteLoss
from luthier.engine.optim.config import AdamW


class Optimiser:
    """AdamW over named parameters, each with `.grad` accumulated by the engine."""

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], config: AdamW) -> None:
        self.config = config
        self._parameters = dict(sorted(parameters.items()))
        groups = [
            {"params": [p for p in self._parameters.values() if p.dim() >= 2], "weight_decay": config.weight_decay},
            {"params": [p for p in self._parameters.values() if p.dim() < 2], "weight_decay": 0.0},
        ]
        self._torch = torch.optim.AdamW([g for g in groups if g["params"]], lr=0.0, betas=config.betas, eps=config.eps, fused=True)

    def step(self, learning_rate: float) -> float:
        """Apply and clear the gradients; returns their global norm before clipping. Raises NonFiniteLoss, having applied nothing."""
        grads = [p.grad for p in self._parameters.values() if p.grad is not None]
        norm = float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in grads]))) if grads else 0.0
        if norm != norm or norm == float("inf"):
            self.clear()
            raise NonFiniteLoss("the gradient norm")
        limit = self.config.clip_norm
        if limit is not None and norm > limit:
            for g in grads:
                g.mul_(limit / (norm + 1e-6))
        for group in self._torch.param_groups:
            group["lr"] = learning_rate
        self._torch.step()
        self.clear()
        return norm

    def clear(self) -> None:
        """Set the accumulated gradients to zero."""
        for p in self._parameters.values():
            if p.grad is not None:
                p.grad.zero_()

    def state(self) -> dict[str, Any]:
        """`adamw.<moment>.<parameter>` -> tensor, for parameters that have stepped."""
        return {
            f"adamw.{key}.{name}": value.detach().clone()
            for name, p in self._parameters.items()
            for key, value in self._torch.state.get(p, {}).items()
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` gave; parameters without moments start afresh."""
        for name, p in self._parameters.items():
            found = {k: state[f"adamw.{k}.{name}"] for k in ("step", "exp_avg", "exp_avg_sq") if f"adamw.{k}.{name}" in state}
            if found:
                self._torch.state[p] = {k: v.detach().clone() for k, v in found.items()}
            else:
                self._torch.state.pop(p, None)
