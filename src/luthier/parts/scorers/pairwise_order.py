"""Pairwise order: the share of pairs of items that are in the right order. Kendall's tau is twice it less 1.

One decision: pairs that the row itself leaves open (equal relevance) are not counted; a pair of which the answer names
neither item is in the wrong order, so that naming less is never better than naming all.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Literal

from luthier.parts.scorers.ranking import RankingScorer


class PairwiseOrder(RankingScorer):
    """Pairs in the right order / all pairs of a row with different relevance; the figure is the mean of the rows."""

    kind: Literal["pairwise_order"] = "pairwise_order"

    def value(self, relevance: dict[str, float], order: Sequence[str]) -> float:
        """In [0, 1]."""
        place = {item: i for i, item in enumerate(order)}
        last = len(order)
        pairs = [(a, b) if relevance[a] > relevance[b] else (b, a) for a, b in combinations(relevance, 2) if relevance[a] != relevance[b]]
        return sum(place.get(better, last) < place.get(worse, last) for better, worse in pairs) / len(pairs)
