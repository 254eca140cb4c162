"""What the classification scorers share: from an answer's text to a class.

One decision: an answer names a class when it equals, after normalisation, either the class's label or the answer text
that the rows of that class have; any other answer is wrong and counts for no class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from luthier.core.errors import UserError
from luthier.core.records import Example
from luthier.parts.scorers.scorer import Measure, Score, Scorer
from luthier.parts.scorers.text import Normal, normalise

if TYPE_CHECKING:
    import numpy as np


class LabelScorer(Scorer):
    """1 when the answer names the row's class. Rows without a `label` use their answer text as the label."""

    measure: ClassVar[Measure] = "binary"
    tasks: ClassVar[tuple[str, ...]] = ("classify", "answer")

    normalise: Normal = "text"

    def __call__(self, example: Example, output: str) -> Score:
        label = example.reference if example.label is None else example.label
        given, answer = normalise(output, self.normalise), normalise(example.reference, self.normalise)
        right = bool(given) and given in (answer, normalise(label, self.normalise))
        return Score(float(right), {"label": label, "answer": answer, "given": given})

    def classes(self, scores: Sequence[Score]) -> tuple[str, ...]:
        """The labels of these rows, sorted."""
        return tuple(sorted({s.details["label"] for s in scores}))

    def confusion(self, scores: Sequence[Score]) -> np.ndarray:
        """Rows by wanted class, columns by named class, last column for answers that name none: int64 [C, C + 1]."""
        import numpy as np

        classes = self.classes(scores)
        named = self.named(scores)
        matrix = np.zeros((len(classes), len(classes) + 1), dtype=np.int64)
        index = {label: i for i, label in enumerate(classes)}
        for score, label in zip(scores, named, strict=True):
            matrix[index[score.details["label"]], len(classes) if label is None else index[label]] += 1
        return matrix

    def named(self, scores: Sequence[Score]) -> list[str | None]:
        """The class that each answer names, or None. Raises UserError when two labels look the same after normalisation."""
        table: dict[str, str] = {}
        for score in scores:
            for text in (score.details["answer"], normalise(score.details["label"], self.normalise)):
                if table.setdefault(text, score.details["label"]) != score.details["label"]:
                    pair = f"`{table[text]}` and `{score.details['label']}`"
                    fix = "set `normalise: spaces` or `none` on the metric"
                    raise UserError("labels must stay different after normalisation", pair, self.kind, fix)
        return [table.get(s.details["given"]) if s.details["given"] else None for s in scores]


class LabelF1(LabelScorer):
    """Base of the F1 figures: per class true positives, named and wanted, as counts of each row."""

    measure: ClassVar[Measure] = "corpus"

    def counts(self, scores: Sequence[Score]) -> np.ndarray:
        """Per row and class of these rows: right, named, wanted: [n, 3 C] (all rights, then all named, then all wanted)."""
        import numpy as np

        classes = self.classes(scores)
        index = {label: i for i, label in enumerate(classes)}
        out = np.zeros((len(scores), 3, len(classes)), dtype=np.float64)
        for i, (score, label) in enumerate(zip(scores, self.named(scores), strict=True)):
            wanted = index[score.details["label"]]
            out[i, 2, wanted] = 1
            if label is not None:
                out[i, 1, index[label]] = 1
                out[i, 0, wanted] = float(label == score.details["label"])
        return out.reshape(len(scores), -1)


def class_totals(totals: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split summed counts [..., 3 C] into right, named and wanted [..., C]."""
    size = totals.shape[-1] // 3
    return totals[..., :size], totals[..., size : 2 * size], totals[..., 2 * size :]
