"""The verdict's rules, its sentence, and every degenerate input."""

from __future__ import annotations

import numpy as np
import pytest

from luthier.core.errors import UserError
from luthier.stats.intervals import mean_counts
from luthier.stats.paired import mcnemar_exact, paired_table, tango
from luthier.stats.verdict import judge


def _rows(both: int, tuned_only: int, base_only: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    tuned = np.array([1] * both + [1] * tuned_only + [0] * base_only + [0] * neither, dtype=float)
    base = np.array([1] * both + [0] * tuned_only + [1] * base_only + [0] * neither, dtype=float)
    return tuned, base


def test_binary_uses_mcnemar_and_tango() -> None:
    tuned, base = _rows(40, 140, 2, 58)
    got = judge(tuned, base)
    table = paired_table(tuned, base)
    assert got.decision == "better"
    assert got.p == mcnemar_exact(table).p < 0.01
    assert got.interval == (tango(table).low, tango(table).high)
    assert (got.tuned, got.baseline, got.effect) == pytest.approx((0.75, 0.175, 0.575))
    assert got.num_rows == 240
    assert got.test == "exact McNemar"
    for part in ("Better:", "75.0 %", "17.5 %", "240 paired rows", "57.5 points", "McNemar", "p = "):
        assert part in got.sentence
    assert "accuracy" in got.describe("accuracy", "the few-shot base")


def test_the_mirror_is_worse() -> None:
    tuned, base = _rows(40, 2, 140, 58)
    got = judge(tuned, base)
    assert got.decision == "worse"
    assert "a loss of 57.5 points" in got.sentence


def test_both_conditions_are_needed() -> None:
    # Tango's interval is above zero here while the exact p is 0.0625: not proven.
    tuned, base = _rows(20, 5, 0, 5)
    got = judge(tuned, base)
    assert got.interval[0] > 0
    assert got.p == pytest.approx(0.0625)
    assert got.decision == "not proven"


def test_not_proven_says_what_could_have_been_shown() -> None:
    tuned, base = _rows(20, 4, 2, 14)
    got = judge(tuned, base)
    assert got.decision == "not proven"
    assert 0 < got.minimum_detectable_effect < 1
    assert f"{100 * got.minimum_detectable_effect:.1f} points" in got.sentence
    assert "80 %" in got.sentence


@pytest.mark.parametrize("kind", ["binary", "mean"])
def test_identical_models_are_not_proven_with_an_honest_interval(kind: str) -> None:
    scores = np.array([1.0, 0.0] * 30)
    got = judge(scores, scores, kind)  # type: ignore[arg-type]
    assert (got.decision, got.p, got.effect) == ("not proven", 1.0, 0.0)
    assert got.interval[0] < 0 < got.interval[1]
    assert 0 < got.minimum_detectable_effect < 0.2


@pytest.mark.parametrize("kind", ["binary", "mean"])
def test_one_row_proves_nothing(kind: str) -> None:
    got = judge(np.array([1.0]), np.array([0.0]), kind)  # type: ignore[arg-type]
    assert got.decision == "not proven"
    assert not got.detectable
    assert got.minimum_detectable_effect == 1.0
    assert "cannot show any gain: this test needs at least 6." in got.sentence
    assert "1 paired row:" in got.sentence


@pytest.mark.parametrize("num_rows", [2, 5, 6])
def test_the_number_of_rows_that_a_test_needs_is_the_fewest_that_can_prove_anything(num_rows: int) -> None:
    got = judge(np.ones(num_rows), np.zeros(num_rows))
    assert (got.decision == "better") == (num_rows >= 6)
    assert ("needs at least 6" in got.sentence) == (num_rows < 6)


def test_means_use_the_bootstrap_and_permutation() -> None:
    rng = np.random.default_rng(0)
    base = rng.random(120) * 0.7
    got = judge(base + 0.1 + 0.1 * rng.random(120), base, "mean")
    assert got.decision == "better"
    assert got.test == "permutation"
    assert "BCa" in got.interval_method
    assert got.effect == pytest.approx(0.15, abs=0.02)


def test_a_constant_gain_on_enough_rows_is_better() -> None:
    base = np.full(12, 0.2)
    got = judge(base + 0.5, base, "mean")
    assert got.decision == "better"
    assert got.p == pytest.approx(2 / 2**12)
    assert 0 < got.interval[0] < 0.5 < got.interval[1] < 1


def test_a_corpus_statistic_compares_the_statistic_not_the_mean_of_rows() -> None:
    # Micro F1 from (true positives, found, wanted): one long row outweighs many short ones.
    def micro_f1(totals: np.ndarray) -> np.ndarray:
        return 2 * totals[..., 0] / np.maximum(totals[..., 1] + totals[..., 2], 1e-300)

    rng = np.random.default_rng(0)
    wanted = rng.integers(1, 6, 150).astype(float)
    found = np.stack([np.minimum(wanted, rng.integers(1, 6, 150)), wanted, wanted], axis=1)
    worse = found.copy()
    worse[:, 0] = np.maximum(found[:, 0] - (rng.random(150) < 0.5), 0)
    got = judge(found, worse, micro_f1)
    assert got.tuned == pytest.approx(2 * found[:, 0].sum() / (found[:, 1] + found[:, 2]).sum())
    assert got.decision == "better"
    assert judge(worse, found, micro_f1).decision == "worse"
    assert judge(found, found, micro_f1).decision == "not proven"


def test_groups_judge_right_and_wrong_by_group() -> None:
    tuned, base = np.repeat([1.0, 1.0, 1.0, 1.0, 0.0], 20), np.repeat([0.0, 0.0, 0.0, 0.0, 0.0], 20)
    groups = [i // 20 for i in range(100)]
    assert judge(tuned, base).decision == "better"
    grouped = judge(tuned, base, groups=groups)
    assert grouped.decision == "not proven"
    assert "over groups" in grouped.test
    assert judge(tuned, base, groups=list(range(100))) == judge(tuned, base)


def test_the_same_call_gives_the_same_result() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(50), rng.random(50)
    assert judge(a, b, "mean", seed=3) == judge(a, b, "mean", seed=3)


@pytest.mark.parametrize(
    ("tuned", "base", "kind", "word"),
    [
        ([], [], "binary", "at least one"),
        ([], [], "mean", "at least one"),
        ([1.0, 0.0], [1.0], "binary", "same rows"),
        ([0.5], [1.0], "binary", "0 or 1"),
        ([1.5], [1.0], "mean", r"\[0, 1\]"),
        ([float("nan")], [1.0], "mean", "finite"),
        ([1.0], [1.0], "ternary", "kind"),
        ([[1.0]], [[1.0]], "mean", "one number per row"),
    ],
)
def test_bad_input_is_the_users_error(tuned: list[float], base: list[float], kind: str, word: str) -> None:
    with pytest.raises(UserError, match=word):
        judge(np.array(tuned), np.array(base), kind)  # type: ignore[arg-type]


def test_bad_alpha_is_refused() -> None:
    with pytest.raises(UserError, match="alpha"):
        judge(np.ones(3), np.ones(3), alpha=1.5)


def test_scores_need_not_be_floats() -> None:
    assert judge(np.array([True] * 9 + [False]), np.array([False] * 10)).decision == "better"
    assert mean_counts(np.array([1, 0])).tolist() == [[1, 1], [0, 1]]
