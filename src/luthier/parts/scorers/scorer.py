"""What a scorer is: a frozen config that is called with a row and an answer, and knows how its scores add up.

One decision: a corpus figure (micro or macro F1) is a function of summed per-row counts, so the same scorer gives the
figure, its interval and the paired verdict. `measure` says which statistics fit: right or wrong (`binary`), a mean of
per-row scores (`mean`), or a function of counts (`corpus`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from luthier.core.config import Config
from luthier.core.records import Example

if TYPE_CHECKING:
    import numpy as np

Measure = Literal["binary", "mean", "corpus"]


@dataclass(frozen=True, slots=True)
class Score:
    """One row's score in [0, 1] and what it was made of (plain JSON values)."""

    value: float
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0.0 <= self.value <= 1.0:
            raise ValueError(f"a score must lie in [0, 1], got {self.value}")


class Scorer(Config):
    """Base of every scorer. A subclass gives `kind: Literal[...]` with its name as default, `measure` and `__call__`."""

    measure: ClassVar[Measure] = "mean"
    higher_is_better: ClassVar[bool] = True
    version: ClassVar[int] = 1

    kind: str

    @property
    def name(self) -> str:
        """What the figure is called in tables and reports."""
        return self.kind

    def __call__(self, example: Example, output: str) -> Score:
        """Score one answer. Raises UserError when the example itself cannot be scored."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__")

    def counts(self, scores: Sequence[Score]) -> np.ndarray:
        """Per-row sufficient counts [n, k], the same columns for any answers to the same rows."""
        import numpy as np

        return np.array([(s.value, 1.0) for s in scores], dtype=np.float64).reshape(len(scores), 2)

    def statistic(self, totals: np.ndarray) -> np.ndarray:
        """The figure from summed counts: [..., k] -> [...]."""
        return totals[..., 0] / totals[..., 1]

    def aggregate(self, scores: Sequence[Score]) -> float:
        """The figure of these rows. Raises UserError when there are none."""
        from luthier.core.errors import UserError

        if not scores:
            raise UserError("at least one row is needed for a score", "0 rows")
        return float(self.statistic(self.counts(scores).sum(axis=0)))
