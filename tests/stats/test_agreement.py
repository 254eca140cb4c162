"""Agreement against statsmodels, scikit-learn, the krippendorff package and Krippendorff's own example."""

from __future__ import annotations

from typing import Any

import krippendorff
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import cohens_kappa

from luthier.core.errors import UserError
from luthier.stats import agreement
from luthier.stats.agreement import cohen_kappa, krippendorff_alpha, strength
from luthier.stats.intervals import Resampling, jackknife

QUICK = Resampling(resamples=200)
# Krippendorff (2011), Computing Krippendorff's Alpha-Reliability: four observers, twelve units, missing ratings.
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]
ITEMS = list(zip(*OBSERVERS, strict=True))


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_reproduces_the_published_example(level: str, published: float) -> None:
    got = krippendorff_alpha(ITEMS, level, options=QUICK)  # type: ignore[arg-type]
    assert got.value == pytest.approx(published, abs=6e-4)
    assert got.n == 11  # the twelfth unit has one rating
    assert got.low < got.value < got.high


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
@pytest.mark.parametrize("seed", range(5))
def test_alpha_equals_the_krippendorff_package(level: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(1, 6, size=40)
    table = np.clip(truth[:, None] + rng.integers(-1, 2, size=(40, 4)), 1, 5).astype(float)
    table[rng.random(table.shape) < 0.3] = np.nan
    items = [[None if np.isnan(x) else float(x) for x in row] for row in table]
    want = krippendorff.alpha(table.T, level_of_measurement=level)
    assert krippendorff_alpha(items, level, options=QUICK).value == pytest.approx(want, abs=1e-12)  # type: ignore[arg-type]


@pytest.mark.parametrize("weights", ["none", "linear", "quadratic"])
@pytest.mark.parametrize("seed", range(5))
def test_kappa_equals_statsmodels_and_scikit_learn(weights: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 4, 60)
    second = np.where(rng.random(60) < 0.6, first, rng.integers(0, 4, 60))
    got = cohen_kappa(first.tolist(), second.tolist(), weights, order=[0, 1, 2, 3], options=QUICK)  # type: ignore[arg-type]
    assert got.value == pytest.approx(cohen_kappa_score(first, second, weights=None if weights == "none" else weights), abs=1e-12)
    table = np.zeros((4, 4))
    np.add.at(table, (first, second), 1)
    kind = {"none": None, "linear": "linear", "quadratic": "quadratic"}[weights]
    assert got.value == pytest.approx(cohens_kappa(table, wt=kind).kappa, abs=1e-12)


def test_labels_of_any_type_and_an_unused_one() -> None:
    got = cohen_kappa(["yes", "no", "yes", "no"], ["yes", "no", "no", "no"], order=["no", "maybe", "yes"], options=QUICK)
    assert got.value == pytest.approx(0.5)
    assert got == cohen_kappa([1, 0, 1, 0], [1, 0, 0, 0], order=[0, 5, 1], options=QUICK)


def test_the_interval_leaves_out_items(monkeypatch: pytest.MonkeyPatch) -> None:
    """The jackknife inside the BCa interval equals a loop that leaves out an item at a time."""
    seen: dict[str, Any] = {}
    monkeypatch.setattr(agreement, "bca", lambda counts, statistic, *_: seen.update(counts=counts, statistic=statistic))
    krippendorff_alpha(ITEMS, "ordinal")
    table = np.array([[np.nan if r is None else r for r in item] for item in ITEMS[:11]])
    slow = [krippendorff.alpha(np.delete(table, i, axis=0).T, level_of_measurement="ordinal") for i in range(11)]
    assert jackknife(seen["counts"], seen["statistic"]) == pytest.approx(slow, abs=1e-12)


def test_perfect_agreement_is_one_with_an_honest_interval() -> None:
    got = cohen_kappa("abababab", "abababab")
    assert got.value == 1
    assert got.low < 1
    assert "no spread" in got.method


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [([], [], "at least one"), ("ab", "a", "same items"), (["a", None], ["a", "b"], "Krippendorff"), ("aaa", "aaa", "two different")],
)
def test_kappa_refuses(first, second, words: str) -> None:
    with pytest.raises(UserError, match=words):
        cohen_kappa(first, second)


def test_weights_need_the_scale() -> None:
    with pytest.raises(UserError, match="scale"):
        cohen_kappa("ab", "ba", "linear")
    with pytest.raises(UserError, match="must be in `order`"):
        cohen_kappa("ab", "ba", "linear", order="ac")
    with pytest.raises(UserError, match="each rating once"):
        cohen_kappa("ab", "ba", "linear", order="aab")


def test_alpha_refuses() -> None:
    with pytest.raises(UserError, match="two ratings"):
        krippendorff_alpha([["a", None], [None, "b"]])
    with pytest.raises(UserError, match="two different"):
        krippendorff_alpha([["a", "a"], ["a", "a"]])
    with pytest.raises(UserError, match="numbers"):
        krippendorff_alpha([["good", "bad"]], "interval")
    with pytest.raises(UserError, match="numbers"):
        krippendorff_alpha([["good", "bad"]], "ordinal")
    assert krippendorff_alpha([["good", "bad"], ["bad", "bad"]], "ordinal", order=["bad", "good"], options=QUICK).n == 2
    with pytest.raises(UserError, match="at most 30"):
        krippendorff_alpha([[i, i + 1] for i in range(40)], "ordinal")


@pytest.mark.parametrize(("value", "word"), [(-0.1, "poor"), (0.2, "slight"), (0.8, "substantial"), (0.81, "almost perfect")])
def test_words(value: float, word: str) -> None:
    assert strength(value) == word


@pytest.mark.parametrize("measure", ["kappa", "alpha"])
def test_the_interval_covers(measure: str) -> None:
    """Three labels; the second rater copies the first with chance 0.6 and else draws anew: kappa is 0.6."""
    rng = np.random.default_rng(11)
    hits = 0
    for i in range(400):
        first = rng.choice(3, size=100, p=(0.5, 0.3, 0.2))
        second = np.where(rng.random(100) < 0.6, first, rng.choice(3, size=100, p=(0.5, 0.3, 0.2)))
        options = Resampling(resamples=800, seed=i)
        pairs = list(zip(first.tolist(), second.tolist(), strict=True))
        got = cohen_kappa(*zip(*pairs, strict=True), options=options) if measure == "kappa" else krippendorff_alpha(pairs, options=options)
        hits += got.low <= 0.6 <= got.high
    assert 0.93 <= hits / 400 <= 0.97
