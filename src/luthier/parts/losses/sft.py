"""Supervised fine-tuning: the weighted negative log-likelihood of the target tokens.

One decision: it is linear, so the engine forms its gradient in the chunk that computed the logits.
"""

from __future__ import annotations

from typing import Any, Literal

from luthier.core.config import Config


class SFT(Config):
    """-sum(weight * logprob); the batch's normaliser makes it a mean over the optimiser step."""

    kind: Literal["sft"] = "sft"

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"logprobs"})

    @property
    def linear(self) -> bool:
        return True

    def coefficients(self, weights_N: Any) -> Any:
        """d(loss)/d(-logprob): the weights themselves. [num_targets]."""
        return weights_N

    def __call__(self, logprobs_N: Any, weights_N: Any, sequence_N: Any) -> Any:
        """Scalar loss before the normaliser."""
        return -(logprobs_N * weights_N).sum()
