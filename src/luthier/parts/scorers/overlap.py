"""The figure of scorers that count what was right, what was found and what was wanted: micro F1.

One decision: the three counts of every row are added up before F1 is formed, so that long rows count for more than short ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from luthier.parts.scorers.scorer import Measure, Score, Scorer

if TYPE_CHECKING:
    import numpy as np


class Overlap(Scorer):
    """A scorer whose rows carry `right`, `found` and `wanted` in their details."""

    measure: ClassVar[Measure] = "corpus"

    def counts(self, scores: Sequence[Score]) -> np.ndarray:
        """(right, found, wanted) per row [n, 3]."""
        import numpy as np

        rows = [(s.details["right"], s.details["found"], s.details["wanted"]) for s in scores]
        return np.array(rows, dtype=np.float64).reshape(len(scores), 3)

    def statistic(self, totals: np.ndarray) -> np.ndarray:
        """Micro F1 = 2 right / (found + wanted); 1 where nothing was wanted and nothing found."""
        import numpy as np

        size = totals[..., 1] + totals[..., 2]
        return np.where(size > 0, 2 * totals[..., 0] / np.where(size > 0, size, 1.0), 1.0)
