"""From per-target log-probabilities to a loss and its coefficients, for both engines.

One decision: losses are computed in float64 from the engine's log-probabilities, divided by the batch's
normaliser, and checked to be finite before any gradient is formed.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch

from luthier.core.errors import EngineRefused
from luthier.engine.contract import Loss, LossOfMeans, NonFiniteLoss, NonFiniteOutput, TargetScores

KNOWN_NEEDS = frozenset({"logprobs", "mean_logprobs"})


def check_needs(loss: Loss) -> None:
    """Raise EngineRefused when a loss needs an output that the engines do not give."""
    unknown = loss.needs - KNOWN_NEEDS
    if unknown:
        raise EngineRefused("a loss may need " + ", ".join(sorted(KNOWN_NEEDS)), ", ".join(sorted(unknown)), "loss.needs")
    if "mean_logprobs" in loss.needs and not loss.linear:
        raise EngineRefused("a loss that needs mean_logprobs must be linear in them", type(loss).__name__, "loss.needs")


def of_means(loss: Loss) -> LossOfMeans | None:
    """The loss, where it needs `mean_logprobs`; else None."""
    return cast(LossOfMeans, loss) if "mean_logprobs" in loss.needs else None


def check_finite(value: torch.Tensor, logprobs: torch.Tensor, sequence: np.ndarray) -> None:
    """Raise NonFiniteLoss naming the sequences (positions in the batch) whose log-probabilities are not finite."""
    if bool(torch.isfinite(value)):
        return
    bad = ~torch.isfinite(logprobs).numpy()
    raise NonFiniteLoss("the loss", tuple(int(i) for i in np.unique(sequence[bad])))


def finite(scores: list[TargetScores]) -> list[TargetScores]:
    """The same scores. Raises NonFiniteOutput naming the sequences with a log-probability that is not finite."""
    bad = tuple(i for i, s in enumerate(scores) if not np.isfinite(s.logprobs).all())
    if bad:
        raise NonFiniteOutput("log-probabilities", bad)
    return scores


def linear_coefficients(loss: Loss, weight: np.ndarray, normaliser: float) -> tuple[torch.Tensor, torch.Tensor | None]:
    """d(loss)/d(-logprob) per target, and d(loss)/d(-mean_logprob) where the loss needs the means; float64 [M]."""
    w = torch.from_numpy(weight)
    of_logprob = torch.as_tensor(loss.coefficients(w), dtype=torch.float64) / normaliser
    smooth = of_means(loss)
    return of_logprob, None if smooth is None else torch.as_tensor(smooth.mean_coefficients(w), dtype=torch.float64) / normaliser


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
