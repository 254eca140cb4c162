"""Bradley-Terry against statsmodels' logistic regression, and the tables that have no answer."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from luthier.core.errors import UserError
from luthier.stats.ranking import bradley_terry


def oracle(wins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Strengths and standard errors by logistic regression on differences of indicators, moved to a mean of 0."""
    k = len(wins)
    pairs = [(i, j) for i in range(k) for j in range(i + 1, k) if wins[i, j] + wins[j, i]]
    design = np.array([np.eye(k)[i] - np.eye(k)[j] for i, j in pairs])[:, 1:]
    fit = sm.GLM(np.array([(wins[i, j], wins[j, i]) for i, j in pairs]), design, family=sm.families.Binomial()).fit(tol=1e-12)
    move = np.vstack([np.zeros(k - 1), np.eye(k - 1)]) - np.ones((k, k - 1)) / k
    values = move @ fit.params
    return values, np.sqrt(np.diag(move @ fit.cov_params() @ move.T))


@pytest.mark.parametrize("k", [2, 3, 6])
def test_strengths_and_errors_equal_statsmodels(k: int) -> None:
    rng = np.random.default_rng(k)
    wins = rng.integers(1, 30, size=(k, k)).astype(float)
    np.fill_diagonal(wins, 0)
    wins[0, 1] += 0.5  # a tie
    wins[1, 0] += 0.5
    names = [f"m{i}" for i in range(k)]
    got = {s.name: s for s in bradley_terry(names, wins)}
    values, errors = oracle(wins)
    assert [got[n].value for n in names] == pytest.approx(values, abs=1e-8)
    assert [(got[n].high - got[n].low) / 2 / 1.959963984540054 for n in names] == pytest.approx(errors, abs=1e-6)
    assert [s.name for s in bradley_terry(names, wins)] == [names[i] for i in np.argsort(-values)]
    assert got["m0"].won == pytest.approx(wins[0].sum() / (wins[0].sum() + wins[:, 0].sum()))


def test_pairs_that_never_met_are_ranked_through_others() -> None:
    wins = np.array([[0, 8, 0], [2, 0, 8], [0, 2, 0]], dtype=float)
    first, second, third = bradley_terry(["a", "b", "c"], wins)
    assert (first.name, second.name, third.name) == ("a", "b", "c")
    assert first.value - second.value == pytest.approx(np.log(4))
    assert first.value == pytest.approx(-third.value)


@pytest.mark.parametrize(
    ("wins", "words"),
    [
        ([[0, 3], [0, 0]], "ever beat it"),
        ([[0, 1, 1], [1, 0, 1], [0, 0, 0]], "a, b ever beat them"),
        ([[0, 1, 0], [1, 0, 0], [0, 0, 0]], "won and lost"),
        ([[1, 1], [1, 0]], "against itself"),
        ([[0, -1], [1, 0]], "counts"),
        ([[0]], "two candidates"),
    ],
)
def test_tables_without_an_answer_are_refused(wins: list[list[float]], words: str) -> None:
    with pytest.raises(UserError, match=words):
        bradley_terry(["a", "b", "c"][: len(wins)], np.array(wins, dtype=float))
