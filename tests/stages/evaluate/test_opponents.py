"""The linear opponents of an encoder are scikit-learn's models, and the constant one is what it says."""

from __future__ import annotations

import numpy as np
import pytest

from luthier.engine.text.answers import Answers
from luthier.stages.evaluate.opponents import _constant, _probe

RNG = np.random.default_rng(3)
FEATURES = RNG.normal(size=(60, 5))
WEIGHTS = RNG.uniform(0.5, 2.0, 60)


def _softmax(values: np.ndarray) -> np.ndarray:
    e = np.exp(values - values.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("num_classes", [2, 4])
def test_a_probe_of_one_label_is_logistic_regression(num_classes: int) -> None:
    from sklearn.linear_model import LogisticRegression

    classes = RNG.integers(0, num_classes, 60)
    answers = Answers(kind="label", labels=tuple("abcd"[:num_classes]))
    linear = _probe(FEATURES, np.eye(num_classes)[classes], WEIGHTS, answers, 10.0)
    wanted = LogisticRegression(C=10.0, max_iter=2000).fit(FEATURES, classes, WEIGHTS).predict_proba(FEATURES)
    assert _softmax(FEATURES @ linear.weight.T + linear.bias) == pytest.approx(wanted, abs=1e-10)


def test_a_class_without_training_rows_is_never_named() -> None:
    classes = RNG.integers(0, 2, 60) * 2  # classes 0 and 2 of 3
    linear = _probe(FEATURES, np.eye(3)[classes], WEIGHTS, Answers(kind="label", labels=("a", "b", "c")), 1.0)
    assert set((FEATURES @ linear.weight.T + linear.bias).argmax(axis=1)) == {0, 2}


def test_a_probe_of_several_labels_is_one_logistic_regression_each() -> None:
    from sklearn.linear_model import LogisticRegression

    wanted = (RNG.uniform(size=(60, 3)) < [0.5, 0.2, 0.0]).astype(float)  # the third label is never wanted
    linear = _probe(FEATURES, wanted, WEIGHTS, Answers(kind="labels", labels=("a", "b", "c")), 1.0)
    values = FEATURES @ linear.weight.T + linear.bias
    for k in (0, 1):
        own = LogisticRegression(C=1.0, max_iter=2000).fit(FEATURES, wanted[:, k], WEIGHTS).decision_function(FEATURES)
        assert values[:, k] == pytest.approx(own, abs=1e-10)
    assert (values[:, 2] < -20).all()


def test_a_probe_of_numbers_is_ridge_regression() -> None:
    from sklearn.linear_model import Ridge

    numbers = RNG.normal(size=(60, 1))
    linear = _probe(FEATURES, numbers, WEIGHTS, Answers(kind="number"), 10.0)
    wanted = Ridge(alpha=0.1).fit(FEATURES, numbers[:, 0], WEIGHTS).predict(FEATURES)
    assert (FEATURES @ linear.weight.T + linear.bias)[:, 0] == pytest.approx(wanted)


def test_the_constant_answer_is_the_most_common_one_or_the_mean() -> None:
    label = Answers(kind="label", labels=("a", "b"))
    constant = _constant(np.eye(2)[[0, 1, 1]], np.ones(3), label, 5)
    assert np.exp(constant.bias) == pytest.approx([1 / 3, 2 / 3])
    assert not constant.weight.any()
    weighted = _constant(np.eye(2)[[0, 1, 1]], np.array([5.0, 1.0, 1.0]), label, 5)
    assert label.text(weighted.bias) == "a"
    several = Answers(kind="labels", labels=("a", "b"))
    assert several.text(_constant(np.array([[1.0, 0], [1, 1], [1, 0]]), np.ones(3), several, 5).bias) == '["a"]'
    assert _constant(np.array([[1.0], [4.0]]), np.array([3.0, 1.0]), Answers(kind="number"), 5).bias == pytest.approx([1.75])
