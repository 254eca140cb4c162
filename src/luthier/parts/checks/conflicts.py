"""Rows with the same text and different labels.

One decision: every row of a conflict is named, for it is not known which of them is right.
"""

from __future__ import annotations

from collections.abc import Sequence

from luthier.parts.checks.contract import CorpusCheck, RowFacts
from luthier.parts.checks.facts import repeated
from luthier.parts.sources.rows import Finding


class Conflicts(CorpusCheck):
    """Reports each row whose text stands elsewhere with another label (or another rating)."""

    def __call__(self, rows: Sequence[RowFacts]) -> list[Finding]:
        findings: list[Finding] = []
        for group in repeated(rows, "prompt"):
            same = [row for row in group if row.verdict is not None]
            first = same[0] if same else None
            second = next((row for row in same if first and row.verdict != first.verdict), None)
            for row in same if second else ():
                other = first if first and row.verdict != first.verdict else second
                if other:
                    findings.append(
                        Finding(row.at, f"conflict with {other.at}: same text, label {row.verdict!r} here and {other.verdict!r} there")
                    )
        return findings
