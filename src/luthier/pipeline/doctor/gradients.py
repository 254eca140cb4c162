"""Gradients of an engine as one vector, and how far apart two of them are.

One decision: an engine is left as it was found: what was accumulated is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luthier.parts.losses.sft import SFT

if TYPE_CHECKING:
    from luthier.engine.contract import Batch, Engine, TokenSequence


class OneGraph(SFT):
    """SFT that an engine may not take apart: the slow twin then builds one graph over the whole batch."""

    @classmethod
    def of(cls, loss: SFT) -> SFT:
        """The same loss; itself when it needs more than log-probabilities, which the twin gives row by row only."""
        return cls.model_validate(loss.model_dump()) if loss.needs == {"logprobs"} else loss

    @property
    def linear(self) -> bool:
        return False


@dataclass(frozen=True, slots=True, eq=False)
class Gradient:
    """loss: summed over the batches; vector: torch float64 [num_trainable]; shared: share of tokens that were not computed again."""

    loss: float
    vector: Any
    shared: float


def gradient(engine: Engine, batches: Iterable[Batch], loss: SFT) -> Gradient:
    """Batches accumulated one after the other."""
    import torch

    steps = [engine.forward_backward(batch, loss) for batch in batches]
    found = engine.gradients()
    vector = torch.cat([found[name].double().flatten() for name in sorted(found)])
    engine.load_state(engine.state())
    shared = 1 - sum(s.unique_tokens for s in steps) / sum(s.as_if_separate_tokens for s in steps)
    return Gradient(sum(s.loss for s in steps), vector, shared)


def trained_weight(sequences: Sequence[TokenSequence]) -> float:
    """Summed weight of the trained tokens: what a mean over them is divided by."""
    return float(sum(float(s.weights.sum()) for s in sequences))


def relative(found: Any, wanted: Any) -> float:
    """|found - wanted| / |wanted| of two vectors; NaN when `wanted` is zero, which keeps no bound."""
    norm = float(wanted.norm())
    return float((found - wanted).norm()) / norm if norm > 0 else float("nan")


def apart(found: float, wanted: float) -> float:
    """|found - wanted| of two losses, relative above one nat: below it, rounding is that of the log-probabilities."""
    return abs(found - wanted) / max(1.0, abs(wanted))
