"""Macro F1: the mean over classes of each class's F1, so that rare classes count as much as common ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from luthier.parts.scorers.classification import LabelF1, class_totals

if TYPE_CHECKING:
    import numpy as np


class MacroF1(LabelF1):
    """Mean F1 of the classes that the rows have. In a resample, classes neither wanted nor named are left out of the mean."""

    kind: Literal["macro_f1"] = "macro_f1"

    def statistic(self, totals: np.ndarray) -> np.ndarray:
        """Mean over classes of 2 right / (named + wanted): [..., 3 C] -> [...]."""
        import numpy as np

        right, named, wanted = class_totals(totals)
        size = named + wanted
        f1 = 2 * right / np.where(size > 0, size, 1.0)
        return f1.sum(axis=-1) / np.maximum((size > 0).sum(axis=-1), 1)
