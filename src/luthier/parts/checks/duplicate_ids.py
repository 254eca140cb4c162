"""Ids that stand on more than one row.

One decision: the id of the data is only a name here (rows are told apart by content), so a repeated id is
reported on the later row and nothing is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence

from luthier.parts.checks.contract import CorpusCheck, RowFacts
from luthier.parts.checks.facts import repeated
from luthier.parts.sources.rows import Finding


class DuplicateIds(CorpusCheck):
    """Reports each row whose given id was on an earlier row."""

    def __call__(self, rows: Sequence[RowFacts]) -> list[Finding]:
        return [
            Finding(row.at, f"id {str(row.given_id)[:60]!r} again, first on {first.at}")
            for first, *others in repeated(rows, "given_id")
            for row in others
            if row.at != first.at
        ]
