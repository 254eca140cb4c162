"""How strongly a group of rows speaks for being planted: a likelihood ratio of what the rows are about.

One decision: rows that share a feature and a label are natural when the rest of them looks like other rows of that label, and planted
when it looks like rows of other labels; both are read off this data set, so the ratio says by itself what five rows can prove here.
Natural label errors are among the rows of a label, so no row can count for more than the data set's own errors allow.
Source: Neyman and Pearson 1933 (the likelihood ratio); Hastie and Tibshirani, isotonic histograms of a score.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from luthier.parts.triggers.content import ContentModel
from luthier.parts.triggers.rest import RestModel

if TYPE_CHECKING:
    import numpy as np

_WEIGHTS = (0.0, 0.05, 0.1, 0.15, 0.25, 0.4, 0.6, 1.0)
_FITTED = 2000  # rows that the weights are fitted to
_QUANTILES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_OWN_CURVE = 400  # a label of so many rows has a curve of its own
_COUNT = 1.0
_MANY_LABELS, _MUCH = 5, 0.4  # with so many labels, a group of this share of a label's rows is judged as a mixture
_MOST_A_ROW = 4.0
_HOPELESS = -0.75  # where content says so of a row on average, words are not asked


@dataclass(frozen=True, slots=True)
class _Curve:
    """The log-likelihood ratio (planted to natural) of a row by its log-odds of its label."""

    edges: np.ndarray
    values: np.ndarray

    def at(self, odds: np.ndarray) -> np.ndarray:
        import numpy as np

        return np.asarray(self.values[np.searchsorted(self.edges, odds, side="right")])


class Evidence:
    """Judges groups of rows of one label by the words of their rows, and by what the rows are about when that is known.

    Content alone is heard as well as both together: words that several triggers share could speak for the label. Of the two the
    stronger counts, at half its weight. Without a group that is much of its label the label is not known: with five labels or more
    such a group is judged by its content alone, as a mixture of other labels or one of its own; without content it is not judged.
    """

    def __init__(self, words: RestModel, content: ContentModel | None, labels: np.ndarray) -> None:
        import numpy as np

        self._words, self._content, self.labels = words, content, labels
        self._rows_y = np.bincount(labels)
        parts = [words.held_out] if content is None else [words.held_out, content.held_out]
        self._mix = _fitted(parts, labels)
        self._together = _curves(_log_odds(_mixed(self._mix, parts)), labels)
        self._alone = _fitted(parts[-1:], labels)
        self._by_last = _curves(_log_odds(_mixed(self._alone, parts[-1:])), labels)

    def log_ratio(self, rows: np.ndarray, label: int) -> float:
        """Natural logarithm of the likelihood ratio, planted to natural, of rows (int [n]) that all have `label`."""
        if len(self._rows_y) >= _MANY_LABELS and len(rows) > _MUCH * self._rows_y[label]:
            return -math.inf if self._content is None else self._moved(rows)
        if self._content is None:
            return _sum(self._together, _mixed(self._mix, [self._words.scores(rows)]), label)
        content = self._content.scores(rows)
        alone = _sum(self._by_last, _mixed(self._alone, [content]), label)
        if alone < _HOPELESS * len(rows):
            return alone
        return max(alone, _sum(self._together, _mixed(self._mix, [self._words.scores(rows), content]), label)) - math.log(2.0)

    def _moved(self, rows: np.ndarray) -> float:
        """The ratio of a group that is much of its label, tempered as content is and bounded for each row."""
        assert self._content is not None
        return float((self._alone[0] * self._content.mixture(rows)).clip(-_MOST_A_ROW, _MOST_A_ROW).sum())


def _sum(curves: Mapping[int, _Curve], scores: np.ndarray, label: int) -> float:
    return float(curves.get(label, curves[-1]).at(_log_odds(scores)[:, label]).sum())


def _mixed(mix: Sequence[float], scores: Sequence[np.ndarray]) -> np.ndarray:
    total = mix[0] * scores[0]
    for weight, more in zip(mix[1:], scores[1:], strict=True):
        total = total + weight * more
    return total


def _log_odds(scores: np.ndarray) -> np.ndarray:
    """Log-odds of every label against all others, of log-posteriors that need not be normalised: [n, labels]."""
    import numpy as np

    p = np.exp(scores - scores.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    return np.asarray(np.log(p + 1e-12) - np.log(1 - p + 1e-12))


def _fitted(scores: Sequence[np.ndarray], labels: np.ndarray) -> tuple[float, ...]:
    """The weights of least cross-entropy on a grid."""
    import itertools

    import numpy as np

    some = np.arange(0, len(labels), max(1, len(labels) // _FITTED))
    parts, wanted = [s[some] for s in scores], labels[some]
    best, least = tuple(1.0 for _ in scores), np.inf
    for mix in itertools.product(_WEIGHTS, repeat=len(scores)):
        total = _mixed(mix, parts)
        top = total.max(1)
        loss = float((np.log(np.exp(total - top[:, None]).sum(1)) + top - total[np.arange(len(some)), wanted]).mean())
        if loss < least:
            best, least = mix, loss
    return best


def _curves(odds: np.ndarray, labels: np.ndarray) -> dict[int, _Curve]:
    """The curve of each large label, and under -1 that of all labels taken together."""
    import numpy as np

    own, num_labels = np.zeros(odds.shape, dtype=bool), odds.shape[1]
    own[np.arange(len(labels)), labels] = True
    curves = {-1: _curve(odds[own], odds[~own])}
    for label in range(num_labels):
        mine = labels == label
        if _OWN_CURVE <= mine.sum() <= len(labels) - _OWN_CURVE:
            curves[label] = _curve(odds[mine, label], odds[~mine, label])
    return curves


def _curve(own: np.ndarray, others: np.ndarray) -> _Curve:
    """Histograms with edges at the quantiles of both, made monotone by pooling bins that are out of order (isotonic)."""
    import numpy as np

    edges = np.unique(np.r_[np.quantile(own, _QUANTILES), np.quantile(others, _QUANTILES)])
    num_own = np.bincount(np.searchsorted(edges, own, side="right"), minlength=len(edges) + 1) + _COUNT
    num_others = np.bincount(np.searchsorted(edges, others, side="right"), minlength=len(edges) + 1) + _COUNT
    blocks: list[list[float]] = []
    for a, b in zip(num_own.tolist(), num_others.tolist(), strict=True):
        blocks.append([a, b, 1])
        while len(blocks) > 1 and blocks[-2][1] * blocks[-1][0] < blocks[-1][1] * blocks[-2][0]:
            last = blocks.pop()
            blocks[-1] = [x + y for x, y in zip(blocks[-1], last, strict=True)]
    values = [np.log(b / num_others.sum()) - np.log(a / num_own.sum()) for a, b, times in blocks for _ in range(int(times))]
    return _Curve(edges, np.array(values))
