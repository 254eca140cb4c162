"""F1 of answers that are several labels at once: a JSON list, in any order.

One decision: labels are compared as they stand; an answer that is no such list names nothing and keeps its reason. A row's
own score is its F1 (1 when nothing was wanted and nothing named). `exact_match` beside it says how many lists were right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from luthier.core.errors import UserError
from luthier.core.records import Example
from luthier.parts.scorers.classification import class_totals
from luthier.parts.scorers.json_answer import NotJson, read_answer
from luthier.parts.scorers.scorer import Measure, Score, Scorer, refuse_unreadable_references

if TYPE_CHECKING:
    import numpy as np


class MultiLabelF1(Scorer):
    """`average: micro` counts every label of every row alike; `macro` is the mean of each label's F1, over the labels wanted."""

    measure: ClassVar[Measure] = "corpus"
    tasks: ClassVar[tuple[str, ...]] = ("multi_label",)

    kind: Literal["multi_label_f1"] = "multi_label_f1"
    average: Literal["micro", "macro"] = "micro"

    @property
    def name(self) -> str:
        return self.kind if self.average == "micro" else "multi_label_macro_f1"

    def __call__(self, example: Example, output: str) -> Score:
        try:
            wanted = _labels(example.reference)
        except NotJson as err:
            must = "a row scored by multi_label_f1 must have a JSON list of labels as its answer"
            raise UserError(must, str(err), str(example.source)) from None
        try:
            given = _labels(output)
        except NotJson as err:
            return Score(0.0, {"wanted": sorted(wanted), "given": [], "reason": f"not a list of labels: {err}"})
        size = len(wanted) + len(given)
        value = 2 * len(wanted & given) / size if size else 1.0
        return Score(value, {"wanted": sorted(wanted), "given": sorted(given)})

    def check(self, examples: Sequence[Example]) -> None:
        refuse_unreadable_references(self, examples)

    def classes(self, scores: Sequence[Score]) -> tuple[str, ...]:
        """The labels that these rows want, sorted."""
        return tuple(sorted({label for s in scores for label in s.details["wanted"]}))

    def counts(self, scores: Sequence[Score]) -> np.ndarray:
        """Per row right, named, wanted of each wanted label, then those of all other labels together: [n, 3 (C + 1)]."""
        import numpy as np

        index = {label: i for i, label in enumerate(self.classes(scores))}
        out = np.zeros((len(scores), 3, len(index) + 1), dtype=np.float64)
        for row, score in zip(out, scores, strict=True):
            for label in score.details["given"]:
                row[1, index.get(label, len(index))] += 1
                row[0, index.get(label, len(index))] += label in score.details["wanted"]
            for label in score.details["wanted"]:
                row[2, index[label]] += 1
        return out.reshape(len(scores), -1)

    def statistic(self, totals: np.ndarray) -> np.ndarray:
        """[..., 3 (C + 1)] -> [...]; micro F1 is 1 where nothing was wanted and nothing named."""
        import numpy as np

        right, named, wanted = class_totals(totals)
        if self.average == "micro":
            right, size = right.sum(axis=-1), (named + wanted).sum(axis=-1)
            return np.where(size > 0, 2 * right / np.where(size > 0, size, 1.0), 1.0)
        size = (named + wanted)[..., :-1]
        f1 = 2 * right[..., :-1] / np.where(size > 0, size, 1.0)
        return f1.sum(axis=-1) / np.maximum((size > 0).sum(axis=-1), 1)


def _labels(text: str) -> set[str]:
    found = read_answer(text, unwrap_fence=True)
    if not isinstance(found, list) or not all(isinstance(label, str) for label in found):
        raise NotJson(f"a list of texts is wanted, got {type(found).__name__}")
    return set(found)
