"""Mean squared error of the answered numbers, in the square of their unit; lower is better, so it decides no verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from luthier.parts.scorers.number import NumberScorer
from luthier.parts.scorers.scorer import Score

if TYPE_CHECKING:
    import numpy as np


class MSE(NumberScorer):
    """mean((given - wanted)^2). For one of `objective.metrics`; the deciding metric must be one where higher is better."""

    higher_is_better: ClassVar[bool] = False

    kind: Literal["mse"] = "mse"

    def counts(self, scores: Sequence[Score]) -> np.ndarray:
        """Squared error and 1 per row [n, 2]."""
        import numpy as np

        wanted, given = self.pairs(scores)
        return np.stack([(given - wanted) ** 2, np.ones_like(wanted)], axis=-1)
