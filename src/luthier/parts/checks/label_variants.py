"""Labels that look like spellings of one another: case, spaces, or one letter.

One decision: nothing is merged; each row with the rarer (or later) spelling is named together with all labels,
for only a person knows whether they are one class. One-letter variants count only inside long words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from luthier.parts.checks.contract import CorpusCheck, RowFacts
from luthier.parts.sources.rows import WHOLE_FILE, Finding

_MIN_LETTERS = 6
_MAX_LABELS = 500
_MAX_ROWS = 100


class LabelVariants(CorpusCheck):
    """Reports labels that equal another but for case, surrounding or inner space, or one letter inside the word."""

    def __call__(self, rows: Sequence[RowFacts]) -> list[Finding]:
        counts = Counter(row.label for row in rows if row.label is not None)
        if not 2 <= len(counts) <= _MAX_LABELS:
            return []
        order = sorted(counts, key=lambda label: -counts[label])  # stable: of equals, the first met comes first
        variants: dict[str, str] = {}
        for i, label in enumerate(order):
            for main in order[:i]:
                if main not in variants and (why := variant(main, label)):
                    variants[label] = f"{why} {main!r}"
                    break
        if not variants:
            return []
        listed = ", ".join(repr(label) for label in list(counts)[:20])
        findings = [Finding(WHOLE_FILE, f"{len(counts)} labels, {len(variants)} of them may be spellings of others: {listed}")]
        named = [row for row in rows if row.label in variants]
        return findings + [Finding(row.at, f"label {row.label!r} {variants[row.label or '']}") for row in named[:_MAX_ROWS]]


def variant(main: str, other: str) -> str:
    """How `other` differs from `main` when it may be the same label, else ""."""
    if " ".join(main.split()) == " ".join(other.split()):
        return "differs in white space from"
    a, b = " ".join(main.split()).casefold(), " ".join(other.split()).casefold()
    if a == b:
        return "differs in case from"
    if a.replace("-", "_").replace(" ", "_") == b.replace("-", "_").replace(" ", "_"):
        return "differs in separators from"
    return "is one edit from" if _one_edit(a, b) else ""


def _one_edit(a: str, b: str) -> bool:
    """One letter inserted, deleted, replaced, or two swapped, not at the first or last place of the word."""
    short, long = sorted((a, b), key=len)
    if len(short) < _MIN_LETTERS or len(long) - len(short) > 1 or short[0] != long[0] or short[-1] != long[-1]:
        return False
    start = next((i for i, (x, y) in enumerate(zip(short, long, strict=False)) if x != y), len(short))
    if not long[start].isalpha() or (start < len(short) and not short[start].isalpha()):
        return False
    if len(long) > len(short):
        return short[start:] == long[start + 1 :]
    swapped = long[:start] + long[start : start + 2][::-1] + long[start + 2 :]
    return short[start + 1 :] == long[start + 1 :] or swapped == short
