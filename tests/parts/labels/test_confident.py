"""Confident learning: each row judged by a classifier that never saw it, and planted flips ranked first."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from luthier.parts.labels.confident import likely_errors, out_of_sample


def clouds(num: int, classes: int, spread: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, num)
    return (rng.normal(size=(classes, 8))[labels] * 3 + spread * rng.normal(size=(num, 8))).astype(np.float32), labels


def test_each_row_is_judged_by_a_classifier_that_never_saw_it() -> None:
    points, labels = clouds(120, 3, 2.0, 0)
    found = out_of_sample(points, labels, 4, 7, 2.0)
    for fit, judged in StratifiedKFold(4, shuffle=True, random_state=7).split(points, labels):
        model = LogisticRegression(C=2.0, max_iter=1000).fit(points[fit].astype(np.float64), labels[fit])
        np.testing.assert_allclose(found[judged], model.predict_proba(points[judged].astype(np.float64)), atol=1e-12)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)


@pytest.mark.parametrize("classes", [2, 12])
def test_planted_flips_are_found_and_ranked_first(classes: int) -> None:
    points, labels = clouds(600, classes, 0.8, 1)
    rng = np.random.default_rng(2)
    wrong = rng.choice(600, 30, replace=False)
    given = labels.copy()
    given[wrong] = (given[wrong] + rng.integers(1, classes, 30)) % classes
    shares = out_of_sample(points, given, 5, 13, 10.0)
    found = likely_errors(given, shares)
    hits = len(set(found.tolist()) & set(wrong.tolist()))
    assert hits >= 24
    assert hits >= 0.9 * len(found)
    assert set(found[:15].tolist()) <= set(wrong.tolist())
    assert (np.diff(shares[found, given[found]]) >= 0).all()
    assert (shares[found].argmax(axis=1) != given[found]).all()
    assert likely_errors(given, shares * rng.uniform(0.5, 2, (600, 1))).tolist() == found.tolist()


def test_rows_that_a_classifier_agrees_with_are_left_alone() -> None:
    points, labels = clouds(300, 4, 0.3, 3)
    assert likely_errors(labels, out_of_sample(points, labels, 5, 13, 10.0)).tolist() == []
