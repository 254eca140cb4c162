"""Template placeholders that were never filled in: `{{name}}`, `[INSERT NAME HERE]`, `<your name>`.

One decision: only forms that people do not write for their own sake are reported; single braces and plain
square brackets are not.
"""

from __future__ import annotations

import re

from luthier.parts.checks.contract import MAX_SPANS, PASS, TextCheck, Verdict

_HOLE = re.compile(
    r"\{\{\s*[A-Za-z_][\w .-]{0,40}\s*\}\}"
    r"|\[(?:INSERT|YOUR|ENTER|ADD)\b[A-Za-z _'-]{1,40}\]"
    r"|\[(?:[Ii]nsert|[Yy]our|[Ee]nter)\s[A-Za-z _'-]{1,40}\]"
    r"|<(?:INSERT|YOUR|insert|your)[ _][A-Za-z _'-]{1,40}>"
    r"|\$\{[A-Za-z_]\w{0,40}\}"
)


class Placeholders(TextCheck):
    """Fails on a template placeholder left in the text."""

    def __call__(self, text: str) -> Verdict:
        """The reason names each placeholder once."""
        spans = [m.span() for m in _HOLE.finditer(text)]
        if not spans:
            return PASS
        found = list(dict.fromkeys(text[a:b] for a, b in spans))
        return Verdict(False, f"placeholder left: {', '.join(found[:5])}", tuple(spans[:MAX_SPANS]))
