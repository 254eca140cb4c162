"""What the scorers of numbers share: from an answer's text to a number, and a row's own score.

One decision: an answer that is no number counts as 0 in the figure, is counted as unreadable beside it, and its row scores
0; leaving it out would reward a model for not answering.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from luthier.core.errors import UserError
from luthier.core.records import Example
from luthier.parts.scorers.scorer import Measure, Score, Scorer, Unit, refuse_unreadable_references

if TYPE_CHECKING:
    import numpy as np


class NumberScorer(Scorer):
    """A row's own score is 1 / (1 + squared error), in [0, 1]; the figure is a function of all rows together."""

    measure: ClassVar[Measure] = "corpus"
    unit: ClassVar[Unit] = "number"
    tasks: ClassVar[tuple[str, ...]] = ("regression",)

    def __call__(self, example: Example, output: str) -> Score:
        wanted, given = _number(example.reference), _number(output)
        if wanted is None:
            raise UserError(
                f"a row scored by {self.kind} must have a number as its answer", repr(example.reference[:40]), str(example.source)
            )
        if given is None:
            return Score(0.0, {"wanted": wanted, "given": 0.0, "reason": "the answer is no number"})
        return Score(1 / (1 + (given - wanted) ** 2), {"wanted": wanted, "given": given})

    def check(self, examples: Sequence[Example]) -> None:
        refuse_unreadable_references(self, examples)

    def pairs(self, scores: Sequence[Score]) -> tuple[np.ndarray, np.ndarray]:
        """Wanted and given numbers, float64 [n] each."""
        import numpy as np

        wanted, given = (np.array([s.details[name] for s in scores], dtype=np.float64) for name in ("wanted", "given"))
        return wanted, given

    def parts(self, scores: Sequence[Score]) -> dict[str, float]:
        """The share of answers that were no number."""
        return {"unreadable": sum("reason" in s.details for s in scores) / len(scores) if scores else 0.0}


class Correlation(NumberScorer):
    """Base of the correlations: moments of each row, from which the coefficient of any rows is computed."""

    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)

    def placed(self, scores: Sequence[Score]) -> tuple[np.ndarray, np.ndarray]:
        """What is correlated, float64 [n] each."""
        return self.pairs(scores)

    def counts(self, scores: Sequence[Score]) -> np.ndarray:
        """Per row 1, x, y, x^2, y^2, x y, of wanted x and given y less the mean of the wanted: [n, 6]."""
        import numpy as np

        wanted, given = self.placed(scores)
        middle = wanted.mean() if len(wanted) else 0.0
        x, y = wanted - middle, given - middle
        return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=-1)

    def statistic(self, totals: np.ndarray) -> np.ndarray:
        """The coefficient in [-1, 1]; 0 where one side is constant. [..., 6] -> [...]."""
        import numpy as np

        n = np.maximum(totals[..., 0], 1.0)
        x, y, xx, yy, xy = (totals[..., i] / n for i in range(1, 6))
        of_x, of_y = xx - x * x, yy - y * y
        known = (of_x > 1e-12 * np.maximum(xx, 1e-300)) & (of_y > 1e-12 * np.maximum(yy, 1e-300))
        size = np.sqrt(np.where(known, of_x * of_y, 1.0))
        return np.where(known, np.clip((xy - x * y) / size, -1.0, 1.0), 0.0)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) < 1e100 else None
