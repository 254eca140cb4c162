"""From per-target log-probabilities to a loss and its coefficients, for both engines.

One decision: losses are computed in float64 from the engine's log-probabilities, divided by the batch's
normaliser, and checked to be finite before any gradient is formed.
"""

from __future__ import annotations

import numpy as np
import torch

from luthier.core.errors import EngineRefused
from luthier.engine.contract import Loss, NonFiniteLoss

KNOWN_NEEDS = frozenset({"logprobs"})


def check_needs(loss: Loss) -> None:
    """Raise EngineRefused when a loss needs an output that the engines do not give."""
    unknown = loss.needs - KNOWN_NEEDS
    if unknown:
        raise EngineRefused("a loss may need " + ", ".join(sorted(KNOWN_NEEDS)), ", ".join(sorted(unknown)), "loss.needs")


def check_finite(value: torch.Tensor, logprobs: torch.Tensor, sequence: np.ndarray) -> None:
    """Raise NonFiniteLoss naming the sequences (positions in the batch) whose log-probabilities are not finite."""
    if bool(torch.isfinite(value)):
        return
    bad = ~torch.isfinite(logprobs).numpy()
    raise NonFiniteLoss("the loss", tuple(int(i) for i in np.unique(sequence[bad])))


def linear_coefficients(loss: Loss, weight: np.ndarray, normaliser: float) -> torch.Tensor:
    """d(loss)/d(-logprob) per target, float64 [M]."""
    return torch.as_tensor(loss.coefficients(torch.from_numpy(weight)), dtype=torch.float64) / normaliser


def differentiate(
    loss: Loss, logprobs: torch.Tensor, weight: np.ndarray, sequence: np.ndarray, normaliser: float
) -> tuple[float, torch.Tensor]:
    """Value and d(loss)/d(-logprob) per target, float64 [M], of any loss, by autograd on the small vector."""
    with torch.enable_grad():
        leaf = logprobs.detach().to(torch.float64).requires_grad_()
        value = loss(leaf, torch.from_numpy(weight), torch.from_numpy(sequence)) / normaliser
        check_finite(value.detach(), leaf.detach(), sequence)
        (gradient,) = torch.autograd.grad(value, leaf)
    return float(value.detach()), -gradient
