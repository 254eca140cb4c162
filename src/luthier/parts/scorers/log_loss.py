"""Log loss: minus the mean log-probability of the wanted label, in nats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from luthier.parts.scorers.calibration import CalibrationScorer
from luthier.parts.scorers.scorer import Score, Unit

if TYPE_CHECKING:
    import numpy as np

SMALLEST = 1e-15


class LogLoss(CalibrationScorer):
    """At least 0, lower is better; a probability below 1e-15 counts as 1e-15. A row's own score is the probability itself."""

    unit: ClassVar[Unit] = "number"

    kind: Literal["log_loss"] = "log_loss"

    def own(self, details: dict[str, float]) -> float:
        """The probability of the wanted label."""
        return details["wanted"]

    def counts(self, scores: Sequence[Score]) -> np.ndarray:
        """Minus the log-probability of the wanted label and 1: [n, 2]."""
        import numpy as np

        rows = [(-math.log(max(s.details["wanted"], SMALLEST)), 1.0) for s in scores]
        return np.array(rows, dtype=np.float64).reshape(len(scores), 2)
