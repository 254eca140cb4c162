"""What BLEU, chrF and TER share: sacrebleu's own counts of each row, and its own figure of the summed counts.

One decision: the figures are sacrebleu's divided by 100, so that every score of Luthier lies on one scale (a BLEU of 0.324 is
the field's 32.4). The corpus figure is not the mean of the rows: counts are summed first, in every resample too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from luthier.core.errors import MachineError
from luthier.core.records import Example
from luthier.parts.scorers.scorer import Measure, Score, Scorer, refuse_empty_references

if TYPE_CHECKING:
    import numpy as np


class SacreScorer(Scorer):
    """Base of the three. A subclass gives `_metric`, sacrebleu's object for a corpus, and `_of_a_row` for one row."""

    measure: ClassVar[Measure] = "corpus"

    def __call__(self, example: Example, output: str) -> Score:
        metric = self._metric()
        stats = metric._extract_corpus_statistics([output], [[example.reference]])[0]
        share = self._of_a_row()._compute_score_from_stats(list(stats)).score / 100
        return Score(self._bounded(share), {"counts": [float(v) for v in stats]})

    def check(self, examples: Sequence[Example]) -> None:
        refuse_empty_references(self, examples)
        self._metric()

    def counts(self, scores: Sequence[Score]) -> np.ndarray:
        """sacrebleu's counts of each row [n, k]."""
        import numpy as np

        return np.array([s.details["counts"] for s in scores], dtype=np.float64)

    def statistic(self, totals: np.ndarray) -> np.ndarray:
        """sacrebleu's corpus figure of summed counts, divided by 100: [..., k] -> [...]."""
        import numpy as np

        metric = self._metric()
        found = np.apply_along_axis(lambda row: metric._compute_score_from_stats(row.tolist()).score / 100, -1, totals)
        return np.minimum(found, 1.0) if self.higher_is_better else found

    def signature(self) -> str:
        """sacrebleu's signature, which a paper must print beside the figure."""
        metric = self._metric()
        metric.num_refs = 1
        return str(metric.get_signature())

    def _metric(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define _metric")

    def _of_a_row(self) -> Any:
        return self._metric()

    def _bounded(self, share: float) -> float:
        return min(1.0, share)


def sacrebleu_metrics() -> Any:
    """The module `sacrebleu.metrics`. Raises MachineError when it is not installed."""
    try:
        from sacrebleu import metrics
    except ImportError:
        raise MachineError("BLEU, chrF and TER need sacrebleu: pip install 'luthier[eval]'") from None
    return metrics
