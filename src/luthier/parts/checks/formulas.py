"""Text that a spreadsheet would run as a formula when it is exported to CSV.

One decision: a leading sign alone is common in plain text; what counts is a call, a reference to a program,
or an address after it.
"""

from __future__ import annotations

import re

from luthier.parts.checks.contract import PASS, TextCheck, Verdict

_FORMULA = re.compile(r"\s{0,20}(?:=\s{0,5}[A-Za-z_.]{1,40}\(|[@+\-=][A-Za-z]{1,40}\(|[@+\-=][^\n]{0,200}\|[^\n]{0,200}!)")


class Formulas(TextCheck):
    """Fails on text that begins like a spreadsheet formula."""

    def __call__(self, text: str) -> Verdict:
        """The span is the beginning of the formula."""
        match = _FORMULA.match(text)
        if not match:
            return PASS
        return Verdict(False, f"a spreadsheet would run this as a formula: {text.strip()[:12]!r}…", (match.span(),))
