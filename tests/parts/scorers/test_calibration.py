"""MCC, the scorers of label probabilities, and perplexity: scikit-learn and the papers' own sums as oracles."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn import metrics

from luthier.core.errors import UserError
from luthier.core.records import Example, Message, Source
from luthier.parts.scorers import Answer, Score, load
from luthier.parts.scorers.calibration import bin_of, fit_temperature, reliability
from luthier.parts.scorers.summary import estimate, evaluate, judge_scores

LABELS = ["a", "b", "c"]


def example(answer: str) -> Example:
    return Example((Message("user", "q"), Message("assistant", answer)), Source("rows.csv", "row 3"), label=answer)


def case(seed: int, n: int = 80) -> tuple[np.ndarray, np.ndarray, list[Answer]]:
    """Log-probabilities [n, 3] that favour the wanted label a little, the wanted labels, and the answers."""
    rng = np.random.default_rng(seed)
    wanted = rng.integers(0, 3, n)
    logits = 3 * rng.standard_normal((n, 3))
    logits[np.arange(n), wanted] += 1.5
    logprobs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    answers = [Answer(LABELS[int(row.argmax())], tuple(map(float, row)), int(w)) for row, w in zip(logprobs, wanted, strict=True)]
    return logprobs, wanted, answers


def scored(kind: str | dict, wanted: np.ndarray, answers: list[Answer]) -> list[Score]:
    scorer = load(kind)
    return scorer.score_all([example(LABELS[w]) for w in wanted], answers)


@pytest.mark.parametrize("seed", range(10))
def test_mcc_equals_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = [LABELS[i] for i in rng.choice(3, 50, p=[0.6, 0.3, 0.1])]
    named = [t if rng.random() < 0.6 else str(rng.choice([*LABELS, "who knows"])) for t in truth]
    scorer = load("mcc")
    scores = [scorer(example(t), n) for t, n in zip(truth, named, strict=True)]
    assert scorer.aggregate(scores) == pytest.approx(metrics.matthews_corrcoef(truth, named))
    e = estimate(scorer, scores)
    assert e.low <= e.value <= e.high


def test_mcc_of_one_answer_has_an_interval_on_both_sides() -> None:
    rows = [example(label) for label in ("a", "b", "c")] * 4
    found = evaluate([load("mcc")], rows, ["a"] * 12).estimates["mcc"]
    assert (found.value, found.low) == (0.0, -found.high)
    assert 0 < found.high < 1


def test_mcc_of_one_class_is_refused_and_of_one_answer_is_zero() -> None:
    scorer = load("mcc")
    with pytest.raises(UserError, match=r"at least two classes, got 2 rows of a; use accuracy"):
        scorer.check([example("a"), example("a")])
    assert scorer.aggregate([scorer(example(t), "a") for t in ("a", "b", "c")]) == 0.0


@pytest.mark.parametrize("seed", range(6))
def test_brier_and_log_loss_equal_scikit_learn(seed: int) -> None:
    logprobs, wanted, answers = case(seed)
    p = np.exp(logprobs)
    truth = [LABELS[w] for w in wanted]
    assert load("brier").aggregate(scored("brier", wanted, answers)) == pytest.approx(
        metrics.brier_score_loss(truth, p, labels=LABELS, scale_by_half=False)
    )
    assert load("log_loss").aggregate(scored("log_loss", wanted, answers)) == pytest.approx(metrics.log_loss(truth, p, labels=LABELS))


def _ece(logprobs: np.ndarray, wanted: np.ndarray, bins: int) -> float:
    """Equation 3 of Guo et al. 2017: sum over bins ((m - 1) / M, m / M] of |B| / n x |acc(B) - conf(B)|."""
    p = np.exp(logprobs)
    confidence, right = p.max(axis=1), p.argmax(axis=1) == wanted
    total = 0.0
    for m in range(1, bins + 1):
        inside = (confidence > (m - 1) / bins) & (confidence <= m / bins)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


@pytest.mark.parametrize("bins", [2, 10, 15])
@pytest.mark.parametrize("seed", range(4))
def test_ece_is_the_paper_s_sum(seed: int, bins: int) -> None:
    logprobs, wanted, answers = case(seed)
    scorer = load({"kind": "ece", "bins": bins})
    scores = scored({"kind": "ece", "bins": bins}, wanted, answers)
    assert scorer.aggregate(scores) == pytest.approx(_ece(logprobs, wanted, bins))
    e = estimate(scorer, scores)
    assert e.low <= e.value <= e.high
    assert scorer.parts(scores)["right"] == pytest.approx((logprobs.argmax(axis=1) == wanted).mean())


def test_the_points_of_a_reliability_plot_add_up_to_the_ece() -> None:
    _, wanted, answers = case(3, n=300)
    scores = scored("ece", wanted, answers)
    points = reliability(scores, 15)
    assert sum(b.num_rows for b in points) == 300
    assert sum(b.num_rows * abs(b.right - b.confidence) for b in points) / 300 == pytest.approx(load("ece").aggregate(scores))
    assert all(b.low < b.confidence <= b.high + 1e-12 and b.right_low <= b.right <= b.right_high for b in points)
    assert [bin_of(c, 10) for c in (0.0, 0.05, 0.1, 0.1001, 0.3, 1.0)] == [0, 0, 0, 1, 2, 9]


def test_a_temperature_makes_overconfident_answers_honest() -> None:
    truth = 4.0
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((4000, 3))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    wanted = np.array([rng.choice(3, p=row) for row in p])  # labels drawn from what the calm logits say
    loud = truth * logits
    answers = [Answer("", tuple(map(float, row)), int(w)) for row, w in zip(loud, wanted, strict=True)]
    fitted = fit_temperature(answers[:2000])
    assert fitted == pytest.approx(truth, rel=0.1)
    sealed = [Answer(a.text, a.label_logprobs, a.wanted, temperature=fitted) for a in answers[2000:]]
    before = load("ece").aggregate(scored("ece", wanted[2000:], sealed))
    scaled = {"kind": "ece", "scaling": "temperature"}
    after = load(scaled).aggregate(scored(scaled, wanted[2000:], sealed))
    assert before > 0.2
    assert after < 0.04
    assert load(scaled).parts(scored(scaled, wanted[2000:], sealed))["temperature"] == fitted
    grid = [_nll(loud[:2000] / t, wanted[:2000]) for t in (fitted * 0.99, fitted, fitted * 1.01)]
    assert grid[1] <= min(grid)


def _nll(logits: np.ndarray, wanted: np.ndarray) -> float:
    logprobs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return float(-logprobs[np.arange(len(wanted)), wanted].mean())


def test_a_temperature_needs_rows_with_probabilities() -> None:
    with pytest.raises(UserError, match=r"at least 10 validation rows.*got 1 rows"):
        fit_temperature([Answer("a", (-0.1, -2.0), 0), Answer("b")])


@pytest.mark.parametrize("kind", ["ece", "brier", "log_loss"])
def test_an_answer_in_words_has_no_calibration(kind: str) -> None:
    with pytest.raises(UserError, match=rf"{kind} needs the probability of every label, got an answer in words .*kind: labels"):
        load(kind)(example("a"), "a")
    with pytest.raises(UserError, match="probability of every label"):
        load(kind).score_all([example("a")], [Answer("a")])


def test_less_calibrated_is_worse() -> None:
    rng = np.random.default_rng(1)
    logits = rng.standard_normal((300, 3))
    logprobs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    wanted = np.array([rng.choice(3, p=np.exp(row)) for row in logprobs])
    calm = [Answer("", tuple(map(float, row)), int(w)) for row, w in zip(logprobs, wanted, strict=True)]
    loud = [Answer(a.text, tuple(8 * x for x in a.label_logprobs), a.wanted) for a in calm]
    for kind in ("ece", "brier", "log_loss"):
        scorer = load(kind)
        verdict = judge_scores(scorer, scored(kind, wanted, calm), scored(kind, wanted, loud))
        assert verdict.decision == "better", kind


def test_perplexity_by_hand() -> None:
    scorer = load("perplexity")
    rows = [Answer("", reference_logprob=-2.0, reference_tokens=4), Answer("", reference_logprob=-6.0, reference_tokens=4)]
    scores = scorer.score_all([example("a"), example("b")], rows)
    assert [s.value for s in scores] == pytest.approx([math.exp(-0.5), math.exp(-1.5)])
    assert scorer.aggregate(scores) == pytest.approx(math.e)
    assert scorer.parts(scores)["bits_per_token"] == pytest.approx(1 / math.log(2))
    assert not scorer.higher_is_better
    with pytest.raises(UserError, match="own log-probabilities"):
        scorer(example("a"), "a")
    likelihood = load("log_likelihood")
    assert likelihood.higher_is_better
    assert likelihood.aggregate(likelihood.score_all([example("a"), example("b")], rows)) == pytest.approx(-1.0)
    assert likelihood.parts(scores) == {"perplexity": pytest.approx(math.e), **scorer.parts(scores)}
