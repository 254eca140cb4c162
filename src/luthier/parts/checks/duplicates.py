"""Rows that say the same as an earlier row.

One decision: one finding tells how many distinct rows there are, for what matters is how much smaller the
data set is than it looks; the first repeats are named.
"""

from __future__ import annotations

from collections.abc import Sequence

from luthier.parts.checks.contract import CorpusCheck, RowFacts
from luthier.parts.sources.rows import WHOLE_FILE, Finding


class Duplicates(CorpusCheck):
    """Reports how many rows are distinct when some are exact copies."""

    def __call__(self, rows: Sequence[RowFacts]) -> list[Finding]:
        first: dict[bytes, str] = {}
        copies = [(row.at, first[row.content]) for row in rows if first.setdefault(row.content, row.at) != row.at]
        if not copies:
            return []
        distinct = len(rows) - len(copies)
        named = ", ".join(f"{at} repeats {of}" for at, of in copies[:3])
        return [
            Finding(
                WHOLE_FILE,
                f"{distinct:,} distinct row{'s' if distinct != 1 else ''} of {len(rows):,}: {named}{', …' if len(copies) > 3 else ''}",
            )
        ]
