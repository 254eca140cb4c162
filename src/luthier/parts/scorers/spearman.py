"""Spearman's rank correlation of the answered and the wanted numbers: are the rows in the right order?

One decision: a row's ranks are those among all rows of the evaluation, equal numbers sharing their mean rank; a resample
keeps them, so its figure is the correlation of these ranks and not of new ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from luthier.parts.scorers.number import Correlation
from luthier.parts.scorers.scorer import Score

if TYPE_CHECKING:
    import numpy as np


class Spearman(Correlation):
    """In [-1, 1]; 0 where all answers are one number."""

    kind: Literal["spearman"] = "spearman"

    def placed(self, scores: Sequence[Score]) -> tuple[np.ndarray, np.ndarray]:
        """Ranks of wanted and given numbers, float64 [n] each."""
        from scipy.stats import rankdata

        wanted, given = self.pairs(scores)
        return rankdata(wanted), rankdata(given)
