"""Rows that say the same as an earlier row.

One decision: one finding tells how many distinct rows there are, for what matters is how much smaller the
data set is than it looks; the first repeats are named.
"""

from __future__ import annotations

from collections.abc import Sequence

from luthier.parts.checks.contract import CorpusCheck, RowFacts
from luthier.parts.checks.facts import repeated
from luthier.parts.sources.rows import WHOLE_FILE, Finding

_NAMED = 3


class Duplicates(CorpusCheck):
    """Reports how many rows are distinct when some are exact copies."""

    def __call__(self, rows: Sequence[RowFacts]) -> list[Finding]:
        num_copies, named = 0, []
        for first, *others in repeated(rows, "content"):
            copies = [row.at for row in others if row.at != first.at]
            num_copies += len(copies)
            named += [f"{at} repeats {first.at}" for at in copies[: _NAMED - len(named)]]
        if not num_copies:
            return []
        distinct = len(rows) - num_copies
        plural, more = "s" if distinct != 1 else "", ", …" if num_copies > _NAMED else ""
        return [Finding(WHOLE_FILE, f"{distinct:,} distinct row{plural} of {len(rows):,}: {', '.join(named)}{more}")]
