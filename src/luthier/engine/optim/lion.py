"""Lion (Chen et al. 2023, arXiv:2302.06675, algorithm 2).

One decision: written here because torch has no Lion; held to the paper's formula and to bitsandbytes in the tests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class LionUpdate(torch.optim.Optimizer):
    """w <- w - lr (sign(b1 m + (1 - b1) g) + decay w), then m <- b2 m + (1 - b2) g."""

    def __init__(self, groups: list[dict[str, Any]], betas: tuple[float, float]) -> None:
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.0, "betas": betas})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            b1, b2 = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                m = self.state[p].setdefault("momentum", torch.zeros_like(p))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.sub_(m.mul(b1).add_(p.grad, alpha=1 - b1).sign_(), alpha=group["lr"])
                m.mul_(b2).add_(p.grad, alpha=1 - b2)
