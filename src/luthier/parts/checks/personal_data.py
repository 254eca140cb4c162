"""Personal data and secrets in a text, counted by kind.

One decision: a value is never shown: the reason names its kind and how many, the spans say where. The rules are
in `parts/privacy`; redaction uses the same ones.
"""

from __future__ import annotations

from collections import Counter

from pydantic import Field

from luthier.parts.checks.contract import MAX_SPANS, PASS, TextCheck, Verdict
from luthier.parts.privacy.find import STRUCTURED, find_values


class PersonalData(TextCheck):
    """Fails on personal data and secrets; kinds are told apart so that one value counts once."""

    names: bool = Field(default=False, description="also names of people, by a heuristic (measured apart)")

    def __call__(self, text: str) -> Verdict:
        """The reason counts each kind and shows no value; the spans say where (the first 100)."""
        found = find_values(text, (*STRUCTURED, "name") if self.names else STRUCTURED)
        if not found:
            return PASS
        counts = Counter(value.kind for value in found)
        parts = [kind if n == 1 else f"{n} of {kind}" for kind, n in counts.items()]
        return Verdict(
            False, "personal data or secret (not shown): " + ", ".join(parts), tuple((v.start, v.end) for v in found[:MAX_SPANS])
        )
