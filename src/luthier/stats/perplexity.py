"""Perplexity from summed counts: exp of the mean surprise of a token, for the scorer, the general probe and the fit of a base's language.

One decision: it is cut off at the largest float64, so that a resample of hopeless rows has a figure and no warning.
"""

from __future__ import annotations

import numpy as np

BOUNDS = (1.0, 1e9)
"""Of a perplexity, for intervals without spread: below 1 there is none, above 1e9 nothing is told apart."""
_MOST = 700.0
"""Nats a token whose exp is still a float64."""


def perplexity(totals: np.ndarray) -> np.ndarray:
    """[..., k] -> [...]: the first two columns are nats of surprise and tokens, each summed over rows."""
    return np.exp(np.minimum(totals[..., 0] / totals[..., 1], _MOST))
