"""The length report: how long the rows are in tokens, what padding would waste, and which limit fits them.

One decision: lengths are those of the whole rows, before anything is cut, so the report says what the data are and
not what a limit made of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

PERCENTILES = (1, 5, 25, 50, 75, 90, 95, 99, 100)
BINS = 24
COVER = 0.995
ROUND_TO = 16


def describe_lengths(lengths: Sequence[int], trained: Sequence[int], context: int) -> dict[str, Any]:
    """Figures of one split. lengths and trained: tokens and trained tokens of each whole row [n]; context: the model's limit."""
    import numpy as np

    if not len(lengths):
        return {"num_rows": 0, "num_tokens": 0, "trained_share": None, "percentiles": {}, "histogram": []}
    rows = np.asarray(lengths, dtype=np.int64)
    fits = recommended_length(lengths, context)
    return {
        "num_rows": len(rows),
        "num_tokens": int(rows.sum()),
        "mean": round(float(rows.mean()), 2),
        "trained_share": round(float(np.sum(trained) / rows.sum()), 6),
        "percentiles": {str(p): int(np.percentile(rows, p, method="higher")) for p in PERCENTILES},
        "histogram": histogram(lengths),
        "efficiency": {f"padded_batches_of_{b}": round(padding_efficiency(lengths, b), 4) for b in (8, 16, 32)} | {"packed": 1.0},
        "recommended_max_length": fits,
        "share_that_fits": round(float((rows <= fits).mean()), 6),
    }


def histogram(lengths: Sequence[int]) -> list[dict[str, int]]:
    """Bins of one width, `low <= tokens < high`, at most BINS of them, that hold every row."""
    import numpy as np

    low, high = min(lengths), max(lengths) + 1
    width = max(1, -(-(high - low) // BINS))
    edges = list(range(low, high + width, width))
    counts, _ = np.histogram(np.asarray(lengths), bins=np.asarray(edges) - 0.5)
    return [{"low": a, "high": b, "num_rows": int(n)} for a, b, n in zip(edges, edges[1:], counts, strict=False)]


def padding_efficiency(lengths: Sequence[int], batch: int, seed: int = 0) -> float:
    """Real tokens / computed tokens when rows in random order are padded to the longest of each batch, in (0, 1]."""
    import numpy as np

    rows = np.random.default_rng(seed).permutation(np.asarray(lengths, dtype=np.int64))
    computed = sum(int(rows[i : i + batch].max()) * len(rows[i : i + batch]) for i in range(0, len(rows), batch))
    return float(rows.sum() / computed)


def recommended_length(lengths: Sequence[int], context: int) -> int:
    """The smallest multiple of 16 that 99.5 % of the rows fit in, and no more than the model's context."""
    import numpy as np

    wanted = int(np.percentile(np.asarray(lengths), 100 * COVER, method="higher"))
    return min(context, -(-wanted // ROUND_TO) * ROUND_TO)
