"""Supervised fine-tuning: the weighted negative log-likelihood of the target tokens, with smoothed labels where they are wanted.

One decision: it is linear, so the engine forms its gradient in the chunk that computed the logits.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from luthier.core.config import Config


class SFT(Config):
    """-sum(weight * logprob); the batch's normaliser makes it a mean over the optimiser step.

    With label_smoothing e the wanted distribution is (1 - e) onehot + e / vocabulary (arXiv:1512.00567, section 7), so the
    loss of a target is -(1 - e) logprob - e mean_logprob, as in `torch.nn.functional.cross_entropy(label_smoothing=e)`.
    """

    kind: Literal["sft"] = "sft"
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"logprobs", "mean_logprobs"} if self.label_smoothing else {"logprobs"})

    @property
    def linear(self) -> bool:
        return True

    def coefficients(self, weights_N: Any) -> Any:
        """d(loss)/d(-logprob): the weights, less what is smoothed away. [num_targets]."""
        return weights_N * (1 - self.label_smoothing) if self.label_smoothing else weights_N

    def mean_coefficients(self, weights_N: Any) -> Any:
        """d(loss)/d(-mean_logprob). [num_targets]."""
        return weights_N * self.label_smoothing

    def __call__(self, logprobs_N: Any, weights_N: Any, sequence_N: Any, means_N: Any = None) -> Any:
        """Scalar loss before the normaliser."""
        plain = -(logprobs_N * self.coefficients(weights_N)).sum()
        return plain - (means_N * self.mean_coefficients(weights_N)).sum() if self.label_smoothing else plain
