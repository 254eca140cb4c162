"""Classes that are missing or rare: one class only, or one far more common than another.

One decision: the finding carries the class counts, so that a person can judge; nothing is resampled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pydantic import Field

from luthier.parts.checks.contract import CorpusCheck, RowFacts
from luthier.parts.sources.rows import WHOLE_FILE, Finding


class ClassBalance(CorpusCheck):
    """Reports one class only, and a ratio of the largest to the smallest class above `max_ratio`."""

    max_ratio: float = Field(default=20.0, gt=1, description="the largest class to the smallest")

    def __call__(self, rows: Sequence[RowFacts]) -> list[Finding]:
        counts = Counter(row.label for row in rows if row.label is not None)
        if not counts:
            return []
        ordered = counts.most_common()
        if len(ordered) == 1:
            label, n = ordered[0]
            return [Finding(WHOLE_FILE, f"only one class: {label!r} on all {n:,} rows")] if n > 1 else []
        (most, n_most), (least, n_least) = ordered[0], ordered[-1]
        if n_most <= self.max_ratio * n_least:
            return []
        shown = ", ".join(f"{label!r} {n:,}" for label, n in (ordered if len(ordered) <= 12 else [*ordered[:6], *ordered[-6:]]))
        return [
            Finding(WHOLE_FILE, f"class imbalance: {most!r} is {n_most / n_least:.0f} times as common as {least!r}; class counts: {shown}")
        ]
