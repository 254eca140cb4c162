"""Expected calibration error (Naeini et al. 2015, Guo et al. 2017): how far sureness and being right lie apart, bin by bin.

One decision: equal-width bins of the chosen label's probability, 15 unless said otherwise. The estimate is biased upwards with few
rows: an ECE of a perfectly calibrated model is not 0 on 100 rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from luthier.parts.scorers.calibration import CalibrationScorer, bin_of
from luthier.parts.scorers.scorer import Score

if TYPE_CHECKING:
    import numpy as np


class Ece(CalibrationScorer):
    """In [0, 1], lower is better: sum over bins of rows' share x |share right - mean confidence|."""

    kind: Literal["ece"] = "ece"
    bins: int = Field(default=15, ge=2, le=100, description="bins of equal width")

    def own(self, details: dict[str, float]) -> float:
        """1 - |right - confidence|."""
        return 1.0 - abs(details["right"] - details["confidence"])

    def counts(self, scores: Sequence[Score]) -> np.ndarray:
        """Per row (right - confidence) in the column of its bin, and 1: [n, bins + 1]."""
        import numpy as np

        out = np.zeros((len(scores), self.bins + 1), dtype=np.float64)
        for row, score in zip(out, scores, strict=True):
            row[bin_of(score.details["confidence"], self.bins)] = score.details["right"] - score.details["confidence"]
            row[-1] = 1.0
        return out

    def statistic(self, totals: np.ndarray) -> np.ndarray:
        """[..., bins + 1] -> [...]."""
        import numpy as np

        return np.abs(totals[..., :-1]).sum(axis=-1) / totals[..., -1]

    def parts(self, scores: Sequence[Score]) -> dict[str, float]:
        """Mean confidence and share right, whose difference says over- or underconfident; the temperature where one was fitted."""
        if not scores:
            return {}
        mean = {name: sum(s.details[name] for s in scores) / len(scores) for name in ("confidence", "right")}
        return {**mean, **super().parts(scores)}
