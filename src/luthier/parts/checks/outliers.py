"""Rows that are about something else than the others, as a small encoder sees it.

One decision: a row's distance is that to its nearest neighbours and not to a centre, because a data set of several subjects has no
centre; so a planted bunch of alike rows is no outlier here, and is what the duplicate checks are for.
Source: S. Ramaswamy et al., Efficient Algorithms for Mining Outliers (SIGMOD 2000), https://doi.org/10.1145/342009.335437
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from luthier.core.records import Record
from luthier.parts.checks.contract import RecordsCheck, RowFinding
from luthier.parts.checks.perplexity import Of, text_of

if TYPE_CHECKING:
    import numpy as np

_CELLS = 1 << 25  # similarities held at once: 128 MiB


class Outliers(RecordsCheck):
    """Finds rows whose mean cosine distance to their nearest neighbours has a modified z-score above `above`."""

    encoder: str = Field(default="minilm-l6", min_length=1, description="the base model that embeds")
    of: Of = Field(default="row", description="what is embedded: system turns and answers that are labels never are")
    neighbours: int = Field(default=5, ge=1, le=100, description="how many of the nearest rows count")
    above: float = Field(default=3.5, gt=0, description="modified z-score of the distance")

    def __call__(self, records: Sequence[Record]) -> list[RowFinding]:
        """One finding for each row, in order; none in a set of no more rows than neighbours. Costs n * n dot products."""
        from luthier.parts.duplicates.semantic import embedded
        from luthier.stats.outlying import modified_z

        if len(records) <= self.neighbours:
            return []
        distances = neighbour_distances(embedded([text_of(r, self.of) for r in records], self.encoder), self.neighbours)
        return [
            RowFinding(
                row, f"unlike the other rows: cosine distance {distances[row]:.2f} to its nearest, {score:.1f} deviations above the median"
            )
            for row, score in enumerate(modified_z(distances).tolist())
            if score > self.above
        ]


def neighbour_distances(embeddings: np.ndarray, neighbours: int) -> np.ndarray:
    """float64 [n]: mean cosine distance of each row to its nearest others.

    embeddings: float32 [n, hidden] of unit length, n > neighbours.
    """
    import numpy as np

    return 1 - nearest_cosines(embeddings, neighbours).mean(axis=1, dtype=np.float64)


def nearest_cosines(embeddings: np.ndarray, neighbours: int) -> np.ndarray:
    """float32 [n, neighbours]: the cosines of each row with its nearest others, in no order; as `neighbour_distances`."""
    import numpy as np

    num = len(embeddings)
    out, block = np.empty((num, neighbours), np.float32), max(1, _CELLS // num)
    for top in range(0, num, block):
        rows = np.arange(top, min(top + block, num))
        cosine = embeddings[rows] @ embeddings.T
        cosine[np.arange(len(rows)), rows] = -np.inf
        out[rows] = np.partition(cosine, num - neighbours, axis=1)[:, num - neighbours :]
    return out
