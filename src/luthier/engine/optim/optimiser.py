"""The optimiser of both engines: add L1, clip by global norm, update, clear.

One decision: a library does the update (torch, or bitsandbytes for 8 bits; Lion is ours, torch has none). This file only
fixes which tensors decay, clips, refuses a gradient that is not finite, and gives the state as named tensors, so
that a resume is bit exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from luthier.engine.contract import NonFiniteLoss
from luthier.engine.optim.config import SGD, Adafactor, Adam, AdamW, AdamW8bit, Lion, OptimizerConfig, RMSprop
from luthier.engine.optim.fused import FusedAdam

Groups = list[dict[str, Any]]


class Optimiser:
    """One of `optim.config` over named parameters, each with `.grad` accumulated by the engine."""

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], config: OptimizerConfig) -> None:
        self.config = config
        self._parameters = dict(sorted(parameters.items()))
        groups = [
            {"params": [p for p in self._parameters.values() if p.dim() >= 2], "weight_decay": config.weight_decay},
            {"params": [p for p in self._parameters.values() if p.dim() < 2], "weight_decay": 0.0},
        ]
        self._inner = build(config, [g for g in groups if g["params"]])

    def step(self, learning_rate: float) -> float:
        """Apply and clear the gradients; returns their global norm before clipping. Raises NonFiniteLoss, having applied nothing."""
        if self.config.l1:
            for p in self._parameters.values():
                if p.grad is not None:
                    p.grad.add_(p.detach().sign(), alpha=self.config.l1)
        grads = [p.grad for p in self._parameters.values() if p.grad is not None]
        norm = float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in grads]))) if grads else 0.0
        if norm != norm or norm == float("inf"):
            self.clear()
            raise NonFiniteLoss("the gradient norm")
        limit = self.config.clip_norm
        if limit is not None and norm > limit:
            for g in grads:
                g.mul_(limit / (norm + 1e-6))
        for group in self._inner.param_groups:
            group["lr"] = learning_rate
        self._inner.step()
        self.clear()
        return norm

    def clear(self) -> None:
        """Set the accumulated gradients to zero."""
        for p in self._parameters.values():
            if p.grad is not None:
                p.grad.zero_()

    def state(self) -> dict[str, Any]:
        """`<kind>.<moment>.<parameter>` -> tensor or number, for parameters that have stepped."""
        return {
            f"{self.config.kind}.{key}.{name}": value.detach().clone() if isinstance(value, torch.Tensor) else value
            for name, p in self._parameters.items()
            for key, value in self._inner.state.get(p, {}).items()
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` gave; parameters without moments start afresh."""
        moments: dict[str, dict[str, Any]] = {}
        for key, value in state.items():
            kind, _, rest = key.partition(".")
            moment, _, name = rest.partition(".")
            if kind == self.config.kind:
                moments.setdefault(name, {})[moment] = value.detach().clone() if isinstance(value, torch.Tensor) else value
        for name, p in self._parameters.items():
            if name in moments:
                self._inner.state[p] = moments[name]
            else:
                self._inner.state.pop(p, None)


def build(config: OptimizerConfig, groups: Groups) -> torch.optim.Optimizer | FusedAdam:
    """The library's optimiser, or its kernel. The rate is set at each step; 0 until then."""
    match config:
        case AdamW():
            return FusedAdam(groups, config.betas, config.eps, decoupled=True)
        case AdamW8bit():
            return _eight_bit(config, groups)
        case Adam():
            return FusedAdam(groups, config.betas, config.eps, decoupled=False)
        case SGD():
            return torch.optim.SGD(groups, lr=0.0, momentum=config.momentum, nesterov=config.nesterov)
        case RMSprop():
            return torch.optim.RMSprop(groups, lr=0.0, alpha=config.alpha, momentum=config.momentum, eps=config.eps)
        case Adafactor():
            return torch.optim.Adafactor(groups, lr=0.0, beta2_decay=config.beta2_decay)
        case Lion():
            from luthier.engine.optim.lion import LionUpdate

            return LionUpdate(groups, config.betas)


def _eight_bit(config: AdamW8bit, groups: Groups) -> torch.optim.Optimizer:
    from luthier.core.errors import UserError

    try:
        from bitsandbytes.optim.adamw import AdamW8bit as Update
    except ImportError:
        raise UserError("adamw_8bit needs bitsandbytes", None, "train.optimizer.kind", "pip install 'luthier[qlora]'") from None
    return Update(groups, lr=0.0, betas=config.betas, eps=config.eps)
