"""NDCG: is what matters most near the top? Discounted cumulative gain against that of the best order.

One decision: gains are linear (Järvelin and Kekäläinen 2002), as in scikit-learn; in a wanted list of n items the first is
worth n and the last 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from luthier.parts.scorers.ranking import RankingScorer


class NDCG(RankingScorer):
    """sum(relevance / log2(place + 1)) over the first `k` places, divided by its greatest value."""

    kind: Literal["ndcg"] = "ndcg"
    k: int | None = Field(default=None, ge=1, description="only the first k places count; all when not given")

    @property
    def name(self) -> str:
        return self.kind if self.k is None else f"ndcg_at_{self.k}"

    def value(self, relevance: dict[str, float], order: Sequence[str]) -> float:
        """In [0, 1]."""
        best = self._gain(sorted(relevance.values(), reverse=True))
        return min(1.0, self._gain([relevance.get(item, 0.0) for item in order]) / best)

    def _gain(self, gains: Sequence[float]) -> float:
        return math.fsum(gain / math.log2(place + 2) for place, gain in enumerate(gains[: self.k]))
