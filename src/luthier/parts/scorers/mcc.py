"""Matthews correlation: do named and wanted classes go together, whatever their sizes? (Gorodkin 2004 for many classes)

One decision: answers that name no class are a class of their own among the named ones, so they lower the figure. Rows of one class
have no correlation at all and are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from luthier.core.errors import UserError
from luthier.core.records import Example
from luthier.parts.scorers.classification import LabelF1, class_totals
from luthier.parts.scorers.scorer import Unit

if TYPE_CHECKING:
    import numpy as np


class Mcc(LabelF1):
    """In [-1, 1]: 1 all right, 0 no better than chance (or every answer the same), below 0 worse than chance."""

    unit: ClassVar[Unit] = "number"
    bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    tasks: ClassVar[tuple[str, ...]] = ("classify",)

    kind: Literal["mcc"] = "mcc"

    def check(self, examples: Sequence[Example]) -> None:
        classes = {e.reference if e.label is None else e.label for e in examples}
        if len(classes) < 2:
            got = f"{len(examples)} rows of {', '.join(sorted(classes)) or 'none'}"
            raise UserError("mcc needs rows of at least two classes", got, fix="use accuracy, or a test set with every class")

    def statistic(self, totals: np.ndarray) -> np.ndarray:
        """(c s - sum p t) / sqrt((s^2 - sum p^2) (s^2 - sum t^2)) of right c, all s, named p, wanted t: [..., 3 C] -> [...]."""
        import numpy as np

        right, named, wanted = class_totals(totals)
        every = wanted.sum(axis=-1)
        none = every - named.sum(axis=-1)
        top = right.sum(axis=-1) * every - (named * wanted).sum(axis=-1)
        spread = (every**2 - (named**2).sum(axis=-1) - none**2) * (every**2 - (wanted**2).sum(axis=-1))
        return np.where(spread > 0, top / np.sqrt(np.where(spread > 0, spread, 1.0)), 0.0)
