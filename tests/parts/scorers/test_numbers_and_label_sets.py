"""Figures of numbers and of label sets, held to scipy and scikit-learn."""

from __future__ import annotations

import json

import numpy as np
import pytest

from luthier.core.errors import UserError
from luthier.core.records import Example, Message, Source
from luthier.parts.scorers import load
from luthier.parts.scorers.summary import estimate, evaluate, judge_scores

RNG = np.random.default_rng(4)


def _rows(answers: list[str]) -> list[Example]:
    return [Example((Message("user", "q"), Message("assistant", a)), Source("rows.csv", f"row {i}")) for i, a in enumerate(answers)]


WANTED = RNG.normal(5, 2, 40).round(2)
GIVEN = (WANTED + RNG.normal(0, 1.5, 40)).round(1)
NUMBERS, ANSWERS = _rows([str(x) for x in WANTED]), [str(x) for x in GIVEN]


@pytest.mark.parametrize("kind", ["pearson", "spearman"])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_a_correlation_is_that_of_scipy(kind: str, offset: float) -> None:
    import scipy.stats

    scorer = load(kind)
    rows = _rows([repr(float(x + offset)) for x in WANTED])
    found = scorer.aggregate([scorer(r, repr(float(y + offset))) for r, y in zip(rows, GIVEN, strict=True)])
    oracle = {"pearson": scipy.stats.pearsonr, "spearman": scipy.stats.spearmanr}[kind]
    assert found == pytest.approx(oracle(WANTED + offset, GIVEN + offset).statistic, abs=1e-9)


def test_mean_squared_error_and_its_interval() -> None:
    scorer = load("mse")
    scores = [scorer(r, a) for r, a in zip(NUMBERS, ANSWERS, strict=True)]
    error = (WANTED - GIVEN) ** 2
    e = estimate(scorer, scores)
    assert e.value == pytest.approx(error.mean())
    assert e.low < e.value < e.high
    assert scorer.aggregate([scorer(r, r.reference) for r in NUMBERS]) == 0.0
    perfect = judge_scores(scorer, [scorer(r, r.reference) for r in NUMBERS], scores)
    assert (perfect.decision, perfect.tuned) == ("better", 0.0)
    assert perfect.baseline == pytest.approx(error.mean())
    assert perfect.effect == pytest.approx(error.mean())
    assert judge_scores(scorer, scores, [scorer(r, r.reference) for r in NUMBERS]).decision == "worse"


@pytest.mark.parametrize("kind", ["pearson", "spearman"])
def test_a_constant_answer_correlates_with_nothing(kind: str) -> None:
    scorer = load(kind)
    assert scorer.aggregate([scorer(r, "3.25") for r in NUMBERS]) == 0.0


def test_a_better_regression_is_told_from_a_worse_one() -> None:
    scorer = load("pearson")
    noise = [str(x) for x in RNG.normal(5, 2, 40)]
    good, bad = ([scorer(r, a) for r, a in zip(NUMBERS, answers, strict=True)] for answers in (ANSWERS, noise))
    assert judge_scores(scorer, good, bad).decision == "better"


def test_an_answer_that_is_no_number_counts_as_zero_and_is_said() -> None:
    summary = evaluate((load("pearson"), load("mse")), NUMBERS, ["about 5", *ANSWERS[1:]])
    assert summary.rows[0] == {"pearson": 0.0, "mse": 0.0}
    assert summary.parts["mse"]["unreadable"] == pytest.approx(1 / 40)
    error = (np.concatenate([[0.0], GIVEN[1:]]) - WANTED) ** 2
    assert summary.estimates["mse"].value == pytest.approx(error.mean())


def test_a_row_without_a_number_cannot_be_scored() -> None:
    with pytest.raises(UserError, match=r"must have a number as its answer, got 'high' \(rows.csv row 0\)"):
        load("pearson")(_rows(["high"])[0], "3")


LABELS = ("late", "lost", "refund", "rude")


@pytest.mark.parametrize("average", ["micro", "macro"])
def test_label_set_f1_is_that_of_scikit_learn(average: str) -> None:
    from sklearn.metrics import f1_score

    wanted, given = (RNG.uniform(size=(50, 4)) < 0.4 for _ in range(2))
    texts = [[json.dumps([label for label, on in zip(LABELS, row, strict=True) if on]) for row in side] for side in (wanted, given)]
    scorer = load({"kind": "multi_label_f1", "average": average})
    found = scorer.aggregate([scorer(r, o) for r, o in zip(_rows(texts[0]), texts[1], strict=True)])
    assert found == pytest.approx(float(f1_score(wanted, given, average=average)))  # type: ignore[arg-type]


def test_a_label_that_no_row_wants_lowers_micro_f1() -> None:
    micro, macro = load("multi_label_f1"), load({"kind": "multi_label_f1", "average": "macro"})
    row = _rows(['["late"]'])
    assert micro.aggregate([micro(row[0], '["late", "odd"]')]) == pytest.approx(2 / 3)
    assert macro.aggregate([macro(row[0], '["late", "odd"]')]) == 1.0
    assert (micro.name, macro.name) == ("multi_label_f1", "multi_label_macro_f1")


@pytest.mark.parametrize("answer", ["late", '{"a": 1}', "[1]", ""])
def test_an_answer_that_is_no_list_names_nothing(answer: str) -> None:
    score = load("multi_label_f1")(_rows(['["late"]'])[0], answer)
    assert score.value == 0.0
    assert score.details["reason"].startswith("not a list of labels")
