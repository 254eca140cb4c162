"""Confident learning (Northcutt, Jiang and Chuang 2021, JAIR 70:1373): which given labels a classifier surely disagrees with.

One decision: a row is judged only by a classifier that was fitted without it (stratified folds, seeded), and how many labels are
wrong is estimated from the data (cleanlab's confident joint); which ones is the rank of the given label's own probability.
"""

from __future__ import annotations

import numpy as np

from luthier.core.errors import MachineError


def out_of_sample(embeddings: np.ndarray, labels: np.ndarray, folds: int, seed: int, strength: float) -> np.ndarray:
    """float64 [n, k]: the probability of each label for each row, by logistic regressions that were fitted without the row.

    embeddings: float32 [n, hidden]; labels: int64 [n] in 0..k-1, each of them on `folds` rows or more; strength: the inverse of
    the L2 penalty. Raises MachineError without scikit-learn.
    """
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedKFold, cross_val_predict
    except ImportError:
        raise MachineError("finding label errors needs scikit-learn: pip install 'luthier[data]'") from None
    dealt = StratifiedKFold(folds, shuffle=True, random_state=seed)
    model = LogisticRegression(C=strength, max_iter=1000)
    return np.asarray(cross_val_predict(model, embeddings.astype(np.float64), labels, cv=dealt, method="predict_proba"), np.float64)


def likely_errors(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """int64 [m]: the rows whose given label is probably wrong, worst first; their most probable label is another one.

    labels: int64 [n] in 0..k-1; probabilities: float64 [n, k], out of sample, of any positive scale by row.
    Raises MachineError without cleanlab.
    """
    try:
        from cleanlab.filter import find_label_issues
    except ImportError:
        raise MachineError("finding label errors needs cleanlab: pip install 'luthier[data]'") from None
    shares = probabilities / probabilities.sum(axis=1, keepdims=True)
    rule, rank = "low_self_confidence", "self_confidence"
    return np.asarray(find_label_issues(labels, shares, filter_by=rule, return_indices_ranked_by=rank, n_jobs=1), np.int64)
