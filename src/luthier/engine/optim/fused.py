"""Adam and AdamW by torch's fused kernel, called directly.

One decision: `torch.optim` is left out for these two, because its first step imports torch's compiler, which takes longer than many a
run's start. Kernel, moments and their names are the same, and so is every bit of the result.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch


class FusedAdam:
    """Decoupled decay (AdamW, arXiv:1711.05101) or decay added to the gradient (Adam). What `Optimiser` uses of torch's interface.

    param_groups: dicts of `params` (of one dtype), `weight_decay` and `lr`. state: per parameter `step`, `exp_avg`, `exp_avg_sq`.
    """

    def __init__(self, groups: list[dict[str, Any]], betas: tuple[float, float], eps: float, *, decoupled: bool) -> None:
        self.param_groups = [{"lr": 0.0, **group} for group in groups]
        self.state: defaultdict[torch.nn.Parameter, dict[str, Any]] = defaultdict(dict)
        self._betas, self._eps = betas, eps
        self._kernel = torch.ops.aten._fused_adamw_ if decoupled else torch.ops.aten._fused_adam_

    @torch.no_grad()
    def step(self) -> None:
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            states = [self._state_of(p) for p in params]
            steps, means, squares = ([s[name] for s in states] for name in ("step", "exp_avg", "exp_avg_sq"))
            for count in steps:
                count.add_(1)
            self._kernel(
                params, [p.grad for p in params], means, squares, [], steps, amsgrad=False, lr=group["lr"], beta1=self._betas[0],
                beta2=self._betas[1], weight_decay=group["weight_decay"], eps=self._eps, maximize=False, grad_scale=None, found_inf=None,
            )  # fmt: skip

    def _state_of(self, p: torch.nn.Parameter) -> dict[str, Any]:
        state = self.state[p]
        if not state:
            state |= {"step": torch.zeros((), dtype=torch.float32), "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
        return state
