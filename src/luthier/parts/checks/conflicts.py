"""Rows with the same text and different labels.

One decision: every row of a conflict is named, for it is not known which of them is right.
"""

from __future__ import annotations

from collections.abc import Sequence

from luthier.parts.checks.contract import CorpusCheck, RowFacts
from luthier.parts.sources.rows import Finding


class Conflicts(CorpusCheck):
    """Reports each row whose text stands elsewhere with another label (or another rating)."""

    def __call__(self, rows: Sequence[RowFacts]) -> list[Finding]:
        by_prompt: dict[bytes, list[RowFacts]] = {}
        for row in rows:
            if row.verdict is not None:
                by_prompt.setdefault(row.prompt, []).append(row)
        findings: list[Finding] = []
        for same in by_prompt.values():
            for row in same:
                other = next((o for o in same if o.verdict != row.verdict), None)
                if other:
                    findings.append(
                        Finding(row.at, f"conflict with {other.at}: same text, label {row.verdict!r} here and {other.verdict!r} there")
                    )
        return findings
