"""Log-likelihood: the mean log-probability, in nats, of a token of the rows' own answers; perplexity is exp of minus it.

One decision: it is perplexity in the direction in which higher is better, so it can decide a verdict, and its differences are
differences of nats a token; like perplexity it depends on the tokenizer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from luthier.parts.scorers.perplexity import Perplexity
from luthier.parts.scorers.scorer import Score

if TYPE_CHECKING:
    import numpy as np


class LogLikelihood(Perplexity):
    """At most 0, higher is better."""

    higher_is_better: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (-math.log(1e9), 0.0)

    kind: Literal["log_likelihood"] = "log_likelihood"  # type: ignore[assignment]

    def statistic(self, totals: np.ndarray) -> np.ndarray:
        """Nats a token: [..., 2] -> [...]."""
        return -totals[..., 0] / totals[..., 1]

    def parts(self, scores: Sequence[Score]) -> dict[str, float]:
        """Perplexity, and bits for each token."""
        if not scores:
            return {}
        perplexity = float(super().statistic(self.counts(scores).sum(axis=0)))
        return {"perplexity": perplexity, **super().parts(scores)}
