"""Micro F1: one F1 over all rows and classes. It equals accuracy when every answer names a class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from luthier.parts.scorers.classification import LabelF1, class_totals

if TYPE_CHECKING:
    import numpy as np


class MicroF1(LabelF1):
    """2 right / (named + wanted) over all classes; answers that name no class lower the recall only."""

    kind: Literal["micro_f1"] = "micro_f1"

    def statistic(self, totals: np.ndarray) -> np.ndarray:
        """[..., 3 C] -> [...]."""
        import numpy as np

        right, named, wanted = (part.sum(axis=-1) for part in class_totals(totals))
        return 2 * right / np.maximum(named + wanted, 1.0)
