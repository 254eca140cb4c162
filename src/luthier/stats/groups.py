"""Many candidates on the same rows: every pair tested, and the groups that cannot be told apart.

One decision: the p-values of all pairs are adjusted together (Holm), so the chance of calling any two equal candidates
different is at most alpha; a group is a largest set of candidates of which no two differ (Piepho 2004), and groups may overlap.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from luthier.core.errors import UserError
from luthier.stats.intervals import Resampling, Statistic, cluster_totals, mean_counts, mean_of_counts
from luthier.stats.multiple import holm
from luthier.stats.paired import mcnemar_exact, paired_bootstrap, paired_table, permutation, tango


@dataclass(frozen=True, slots=True)
class Pair:
    """`first` against `second` on the same rows: effect = first - second with its own interval; p adjusted over all pairs."""

    first: str
    second: str
    effect: float
    low: float
    high: float
    p: float
    adjusted: float
    test: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Candidates from best to worst, every pair, and the groups (each from best to worst) that cannot be told apart."""

    ranked: tuple[str, ...]
    values: dict[str, float]
    pairs: tuple[Pair, ...]
    groups: tuple[tuple[str, ...], ...]
    alpha: float
    num_rows: int

    def differ(self, a: str, b: str) -> bool:
        """Whether the two can be told apart."""
        return any({p.first, p.second} == {a, b} and p.adjusted < self.alpha for p in self.pairs)

    def sentences(self) -> list[str]:
        """The groups in words, then what the best is better than."""
        out = [f"{_listed(group)} cannot be told apart on these {self.num_rows:,} rows" for group in self.groups if len(group) > 1]
        best = self.ranked[0]
        below = [name for name in self.ranked[1:] if self.differ(best, name)]
        if below:
            out.insert(0, f"{best} is better than {_listed(below)}")
        return out


def compare_all(
    scores: Mapping[str, np.ndarray],
    kind: str | Statistic = "binary",
    alpha: float = 0.05,
    groups: Sequence[Hashable | None] | None = None,
    seed: int = 0,
) -> Comparison:
    """Test every pair of candidates. Right or wrong scores: exact McNemar, Tango's interval; otherwise the paired permutation test.

    scores: by candidate, in the same order of rows: [n] for `binary` and `mean`, counts [n, k] for a statistic; higher is better.
    groups: related rows, which are swapped and resampled together. Raises UserError for fewer than two candidates or unequal rows.
    """
    if len(scores) < 2:
        raise UserError("at least two candidates are needed", f"{len(scores)}")
    counts = {name: _counts(array, kind) for name, array in scores.items()}
    if len({c.shape for c in counts.values()}) != 1:
        raise UserError("every candidate must have answered the same rows", {n: len(c) for n, c in counts.items()})
    statistic = kind if callable(kind) else mean_of_counts
    values = {name: float(statistic(c.sum(axis=0))) for name, c in counts.items()}
    ranked = sorted(values, key=lambda name: -values[name])  # stable: the first given wins a tie
    num_rows = len(next(iter(counts.values())))
    grouped = groups is not None and len(cluster_totals(counts[ranked[0]], groups)) < num_rows
    exact = kind == "binary" and not grouped
    found = []
    for i, a in enumerate(ranked):
        for b in ranked[i + 1 :]:
            found.append(_exact(scores, a, b, alpha) if exact else _resampled(counts, (a, b), statistic, groups, alpha, seed))
    adjusted = holm([p.p for p in found])
    pairs = tuple(Pair(p.first, p.second, p.effect, p.low, p.high, p.p, float(q), p.test) for p, q in zip(found, adjusted, strict=True))
    different = {frozenset((p.first, p.second)) for p in pairs if p.adjusted < alpha}
    return Comparison(tuple(ranked), values, pairs, groups_of(ranked, different), alpha, num_rows)


def groups_of(ranked: Sequence[str], different: set[frozenset[str]]) -> tuple[tuple[str, ...], ...]:
    """Insert and absorb (Piepho 2004): start with one group of all; each pair that differs splits every group that holds both."""
    groups = [frozenset(ranked)]
    for pair in sorted(different, key=sorted):
        if len(pair) != 2 or not pair <= set(ranked):
            raise UserError("a pair must be two of the candidates", sorted(pair))
        split = [part for g in groups for part in ((g - {name} for name in sorted(pair)) if pair <= g else (g,))]
        groups = [g for g in dict.fromkeys(split) if not any(g < other for other in split)]
    place = {name: i for i, name in enumerate(ranked)}
    return tuple(sorted((tuple(sorted(g, key=place.__getitem__)) for g in groups), key=lambda g: [place[n] for n in g]))


def _counts(scores: np.ndarray, kind: str | Statistic) -> np.ndarray:
    array = np.asarray(scores, dtype=np.float64)
    if callable(kind):
        return array
    if kind not in ("binary", "mean") or array.ndim != 1:
        raise UserError("`kind` must be binary, mean or a statistic, with one score a row", (kind, array.shape))
    return mean_counts(array)


def _exact(scores: Mapping[str, np.ndarray], a: str, b: str, alpha: float) -> Pair:
    table = paired_table(scores[a], scores[b])
    gap, test = tango(table, alpha), mcnemar_exact(table)
    return Pair(a, b, gap.value, gap.low, gap.high, test.p, test.p, test.test)


def _resampled(
    counts: Mapping[str, np.ndarray],
    names: tuple[str, str],
    statistic: Statistic,
    groups: Sequence[Hashable | None] | None,
    alpha: float,
    seed: int,
) -> Pair:
    one, two = (counts[name] for name in names)
    gap = paired_bootstrap(one, two, statistic, groups, Resampling(alpha, 5000, seed))
    test = permutation(one, two, statistic, groups, Resampling(alpha, 20_000, seed))
    return Pair(*names, gap.value, gap.low, gap.high, test.p, test.p, test.test)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
