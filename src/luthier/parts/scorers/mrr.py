"""MRR: how far down is the best item? The mean of 1 / its place (Voorhees 1999)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from luthier.parts.scorers.ranking import RankingScorer


class MRR(RankingScorer):
    """1 / place of the first item of the greatest relevance in the answer; 0 where the answer names none."""

    kind: Literal["mrr"] = "mrr"

    def value(self, relevance: dict[str, float], order: Sequence[str]) -> float:
        """In [0, 1]."""
        most = max(relevance.values())
        return next((1 / place for place, item in enumerate(order, 1) if relevance.get(item) == most), 0.0)
