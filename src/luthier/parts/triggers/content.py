"""What a row is about says about its label: one Gaussian for each label in the space of a small encoder, all of one covariance.

One decision: a label is only a mean and the covariance is shared, so planted rows among the rows of a label, even when they are most
of them, shift its mean and can teach the model nothing else; each row is judged by the means without it.
Source: linear discriminant analysis (Hastie, Tibshirani, Friedman, "The Elements of Statistical Learning", section 4.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_SHRINK = 1.0  # of the mean variance, added to every variance
_ROWS_A_DIMENSION = 20
_PRIOR_ROWS = 2.0  # rows at the centre of all rows that every label's mean holds besides its own


class ContentModel:
    """Log-posteriors of the labels of rows from their embeddings, none of them normalised.

    vectors: float32 [rows, hidden]. labels: int [rows], 0 to num_labels - 1. `held_out`: [rows, labels], each row by all others.
    """

    def __init__(self, vectors: np.ndarray, labels: np.ndarray, num_labels: int) -> None:
        import numpy as np

        self.labels = labels
        self._rows_y = np.bincount(labels, minlength=num_labels).astype(np.float64)
        self._points = _whitened(np.asarray(vectors, dtype=np.float64), labels, num_labels)
        self._sums = np.zeros((num_labels, self._points.shape[1]))
        np.add.at(self._sums, labels, self._points)
        self._means = self._sums / (self._rows_y + _PRIOR_ROWS)[:, None]
        self.held_out = self._points @ self._means.T - (self._means**2).sum(1) / 2 + np.log(self._rows_y + 1.0)
        left = self._rows_y[labels] - 1.0
        own = (self._sums[labels] - self._points) / (left + _PRIOR_ROWS)[:, None]
        self.held_out[np.arange(len(labels)), labels] = (self._points * own).sum(1) - (own**2).sum(1) / 2 + np.log(left + 1.0)

    def scores(self, rows: np.ndarray) -> np.ndarray:
        """[n, labels] of the given rows (int [n]), which all have one label, by all others."""
        import numpy as np

        label, points = int(self.labels[rows[0]]), self._points[rows]
        left = self._rows_y[label] - len(rows)
        mean = (self._sums[label] - points.sum(0)) / (left + _PRIOR_ROWS)
        out = self.held_out[rows].copy()
        out[:, label] = points @ mean - mean @ mean / 2 + np.log(left + 1.0)
        return out

    def mixture(self, rows: np.ndarray) -> np.ndarray:
        """Log-ratio of each row of a group of one label: a mixture of the other labels' rows, all moved alike, to one Gaussian: [n].

        For a group that is much of its label, so that without it the label is not known. What the rows share is granted to both sides
        as the move; with two labels nothing is left to tell them apart, and the ratio is near 0.
        """
        import numpy as np
        from scipy.special import logsumexp

        label, points, n = int(self.labels[rows[0]]), self._points[rows], len(rows)
        others = np.delete(np.arange(len(self._rows_y)), label)
        share = self._rows_y[others] / self._rows_y[others].sum()
        centred = points - points.mean(0)
        means = self._means[others] - share @ self._means[others]
        near = centred @ means.T - (means**2).sum(1) / 2 + np.log(share)
        square = (centred**2).sum(1)
        return np.asarray(logsumexp(near, axis=1) - square / 2 + square * (n / (n - 1)) ** 2 / 2)


def _whitened(vectors: np.ndarray, labels: np.ndarray, num_labels: int) -> np.ndarray:
    """Centred vectors in which the rows of a label have about the identity as their covariance: [rows, dimensions]."""
    import numpy as np

    points = vectors - vectors.mean(0)
    size = max(1, min(points.shape[1], len(points) // _ROWS_A_DIMENSION))
    if size < points.shape[1]:
        _, axes = np.linalg.eigh(points.T @ points)
        points = points @ axes[:, -size:]
    sums = np.zeros((num_labels, size))
    np.add.at(sums, labels, points)
    within = points - (sums / np.maximum(np.bincount(labels, minlength=num_labels), 1)[:, None])[labels]
    variance, axes = np.linalg.eigh(within.T @ within / len(points))
    return np.asarray(points @ axes / np.sqrt(np.maximum(variance, 0.0) + _SHRINK * variance.mean() + 1e-12))
