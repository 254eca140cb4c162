"""Brier score (Brier 1950): the squared distance between the probabilities of all labels and the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from luthier.parts.scorers.calibration import CalibrationScorer
from luthier.parts.scorers.scorer import Score, Unit

if TYPE_CHECKING:
    import numpy as np


class Brier(CalibrationScorer):
    """In [0, 2], lower is better: the mean over rows of the sum over labels of (probability - truth)^2, as Brier wrote it."""

    unit: ClassVar[Unit] = "number"
    bounds: ClassVar[tuple[float, float]] = (0.0, 2.0)

    kind: Literal["brier"] = "brier"

    def own(self, details: dict[str, float]) -> float:
        """1 - half the row's Brier score."""
        return min(1.0, max(0.0, 1.0 - details["brier"] / 2))

    def counts(self, scores: Sequence[Score]) -> np.ndarray:
        """The row's Brier score and 1: [n, 2]."""
        import numpy as np

        return np.array([(s.details["brier"], 1.0) for s in scores], dtype=np.float64).reshape(len(scores), 2)
