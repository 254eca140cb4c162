"""What the other words of a row say about its label: naive Bayes that has never seen the rows it judges.

One decision: to judge the rows that share a feature, exactly those rows are taken out of the counts and the words that they share
beyond what is usual for their label are not read, so a trigger can neither teach the model nor be its evidence; counts are
sums, so taking rows out is a subtraction and thousands of features are judged in seconds.
Source: Manning, Raghavan, Schütze, "Introduction to Information Retrieval", chapter 13 (multinomial naive Bayes, here over the
set of words of a row).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_SMOOTHING = 0.3
_SHARED, _SURPRISE = (
    0.6,
    0.01,
)  # words in this share of the judged rows are not read where that is less likely than this among their label's
_FOLDS = 10


class RestModel:
    """Log-posteriors of the labels of rows, from the words of all other rows.

    words: the different tokens of each row. labels: int [rows], 0 to num_labels - 1. Texts are rows in the same order.
    """

    def __init__(self, words: Sequence[Collection[str]], labels: np.ndarray, num_labels: int) -> None:
        import numpy as np

        ids: dict[str, int] = {}
        self._rows = [np.array(sorted({ids.setdefault(w, len(ids)) for w in row}), dtype=np.int64) for row in words]
        self.labels, self.num_labels, self._size = labels, num_labels, max(len(ids), 1)
        self._counts = np.zeros((num_labels, self._size), dtype=np.float32)
        for row, label in zip(self._rows, labels, strict=True):
            self._counts[label, row] += 1
        self._words_y = self._counts.sum(1)
        self._rows_y = np.bincount(labels, minlength=num_labels).astype(np.float64)
        self.held_out = self._folds()

    def scores(self, rows: np.ndarray, shared: bool = True) -> np.ndarray:
        """Log-posteriors of the given rows (int [n]) by all others, not normalised: [n, labels].

        shared: words that most of the rows share beyond what is usual are not read.
        """
        import numpy as np

        mine = [self._rows[r] for r in rows]
        lengths = np.array([len(m) for m in mine])
        used, at = np.unique(np.concatenate(mine) if mine else np.zeros(0, dtype=np.int64), return_inverse=True)
        owner = np.repeat(np.arange(len(rows)), lengths)
        labels = self.labels[rows]
        out = np.zeros((self.num_labels, len(used)), dtype=np.float64)
        np.add.at(out, (labels[owner], at), 1.0)
        words_y = self._words_y - np.bincount(labels, weights=lengths, minlength=self.num_labels)
        rows_y = self._rows_y - np.bincount(labels, minlength=self.num_labels)
        log_word = np.log(self._counts[:, used] - out + _SMOOTHING) - np.log(words_y + _SMOOTHING * self._size)[:, None]
        if shared and len(rows) > 2:
            log_word[:, self._belongs(np.bincount(at, minlength=len(used)), used, out, rows_y, labels)] = 0.0
        scores = np.tile(np.log(rows_y + 1.0), (len(rows), 1))
        np.add.at(scores, owner, log_word.T[at])
        return scores

    def _belongs(self, num: np.ndarray, used: np.ndarray, out: np.ndarray, rows_y: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Which words belong to what the judged rows share: most have them, and far more than the other rows of their commonest label.

        num: int [words used], rows of each; out: [labels, words used], rows taken out. Source: the binomial tail.
        """
        import numpy as np
        from scipy.special import bdtrc

        label = int(np.bincount(labels).argmax())
        many = num >= _SHARED * len(labels)
        usual = (self._counts[label, used[many]] - out[label, many] + 0.5) / (rows_y[label] + 1.0)
        many[many] = bdtrc(num[many] - 1.0, len(labels), usual) < _SURPRISE
        return many

    def _folds(self) -> np.ndarray:
        """[rows, labels]: log-posteriors of every row by the rows of nine other folds of ten."""
        import numpy as np

        n = len(self.labels)
        scores = np.zeros((n, self.num_labels))
        for k in range(_FOLDS):
            fold = np.arange(k, n, _FOLDS)
            if len(fold):
                scores[fold] = self.scores(fold, shared=False)
        return scores
