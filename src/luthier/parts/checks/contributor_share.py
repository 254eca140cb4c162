"""How much of a data set one contributor wrote.

One decision: a contributor is whatever column says so (user, source, account); rows beyond the share are named in their order,
the contributor is not, for a name in a report is personal data too. Poisoning is an absolute count of rows: a share keeps any
one account far below it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pydantic import Field

from luthier.core.records import Record
from luthier.parts.checks.contract import RecordsCheck, RowFinding


class ContributorShare(RecordsCheck):
    """Finds each row by which a contributor exceeds `max_share` of all rows (and `min_rows`); rows without one are not counted to anybody.

    column: the column that names the contributor, kept in `meta`; None takes the record's `group`.
    """

    column: str | None = Field(default=None, description="the column that names the contributor; null: the group")
    max_share: float = Field(default=0.05, gt=0, le=1, description="the largest share of all rows of one contributor")
    min_rows: int = Field(default=50, ge=1, description="rows that any contributor may have")

    def __call__(self, records: Sequence[Record]) -> list[RowFinding]:
        """One finding for each row over the limit; `score` is the contributor's share of all rows."""
        names = [self._name(record) for record in records]
        counts = Counter(name for name in names if name is not None)
        limit = max(self.min_rows, int(self.max_share * len(records)))
        numbers = {name: i for i, name in enumerate(counts, 1)}
        seen: Counter[str] = Counter()
        found: list[RowFinding] = []
        for row, name in enumerate(names):
            if name is None:
                continue
            seen[name] += 1
            if seen[name] > limit:
                share = counts[name] / len(records)
                reason = f"contributor {numbers[name]} wrote {counts[name]:,} of {len(records):,} rows ({share:.1%}); {limit:,} are allowed"
                found.append(RowFinding(row, reason, share))
        return found

    def _name(self, record: Record) -> str | None:
        value = record.group if self.column is None else record.meta.get(self.column)
        return None if value is None or value == "" else str(value)
