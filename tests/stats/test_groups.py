"""Groups of candidates that cannot be told apart: against cliques by enumeration, and pair by pair against the verdict."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from luthier.core.errors import UserError
from luthier.stats.groups import compare_all, groups_of
from luthier.stats.intervals import mean_counts, mean_of_counts


def cliques(names: str, different: set[frozenset[str]]) -> set[frozenset[str]]:
    """Every largest subset without a pair that differs, by looking at all subsets."""
    fine = [
        frozenset(c)
        for size in range(1, len(names) + 1)
        for c in itertools.combinations(names, size)
        if not any(frozenset(p) in different for p in itertools.combinations(c, 2))
    ]
    return {g for g in fine if not any(g < h for h in fine)}


@pytest.mark.parametrize("seed", range(40))
def test_groups_are_the_largest_sets_without_a_difference(seed: int) -> None:
    rng, names = np.random.default_rng(seed), "abcdef"
    different = {frozenset(p) for p in itertools.combinations(names, 2) if rng.random() < rng.random()}
    assert {frozenset(g) for g in groups_of(names, different)} == cliques(names, different)


def test_groups_come_from_best_to_worst() -> None:
    assert groups_of("cba", {frozenset("ca")}) == (("c", "b"), ("b", "a"))
    assert groups_of("ab", set()) == (("a", "b"),)
    with pytest.raises(UserError, match="two of the candidates"):
        groups_of("ab", {frozenset("az")})


def test_every_pair_is_mcnemar_adjusted_by_holm() -> None:
    rng = np.random.default_rng(0)
    scores = {name: (rng.random(150) < share).astype(float) for name, share in (("low", 0.4), ("high", 0.8), ("same", 0.78))}
    got = compare_all(scores)
    assert got.ranked[-1] == "low"
    pairs = [(p.first, p.second) for p in got.pairs]
    slow = []
    for a, b in pairs:
        x, y = scores[a], scores[b]
        table = [[(x * y).sum(), (x * (1 - y)).sum()], [((1 - x) * y).sum(), ((1 - x) * (1 - y)).sum()]]
        slow.append(mcnemar(table, exact=True).pvalue)
    assert [p.p for p in got.pairs] == pytest.approx(slow)
    assert [p.adjusted for p in got.pairs] == pytest.approx(multipletests(slow, method="holm")[1])
    assert [set(g) for g in got.groups] == [{"high", "same"}, {"low"}]
    assert got.differ("low", "high")
    assert not got.differ("same", "high")
    best, second = got.ranked[:2]
    assert got.sentences() == [f"{best} is better than low", f"{best} and {second} cannot be told apart on these 150 rows"]


def test_a_statistic_of_counts_and_groups_of_rows() -> None:
    rng = np.random.default_rng(1)
    base = rng.random(40)
    scores = {"a": mean_counts(np.clip(base + 0.2, 0, 1)), "b": mean_counts(base)}
    got = compare_all(scores, mean_of_counts, groups=[i // 2 for i in range(40)])
    assert got.ranked == ("a", "b")
    assert "over groups" in got.pairs[0].test
    assert got.differ("a", "b")


def test_two_candidates_and_the_same_rows_are_needed() -> None:
    with pytest.raises(UserError, match="two candidates"):
        compare_all({"a": np.ones(3)})
    with pytest.raises(UserError, match="same rows"):
        compare_all({"a": np.ones(3), "b": np.ones(2)})
    with pytest.raises(UserError, match="kind"):
        compare_all({"a": np.ones(3), "b": np.ones(3)}, "median")


def test_equal_candidates_are_rarely_called_different() -> None:
    """Five equal candidates, ten pairs: any false difference in at most 5 % of 300 draws (P(more than 24 | 5 %) < 0.8 %)."""
    rng, false = np.random.default_rng(2), 0
    for _ in range(300):
        hard = rng.random(120) < 0.5
        scores = {name: (rng.random(120) < np.where(hard, 0.5, 0.9)).astype(float) for name in "abcde"}
        false += len(compare_all(scores).groups) > 1
    assert false <= 24
