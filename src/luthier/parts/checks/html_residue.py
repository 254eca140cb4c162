"""HTML left in a text: tags of known names and character references.

One decision: a bare `<` or `>` is never a finding; only a known tag name in a complete tag, or a character
reference, is.
"""

from __future__ import annotations

import re

from luthier.parts.checks.contract import MAX_SPANS, PASS, TextCheck, Verdict

_NAMES = (
    "a|b|body|br|button|code|div|em|font|form|h[1-6]|head|hr|html|i|iframe|img|input|li|link|meta|ol|p|pre|script|span|strong|style"
    "|sub|sup|table|tbody|td|th|tr|u|ul"
)
_HTML = re.compile(
    rf"</?(?:{_NAMES})(?:\s[^<>]{{0,300}}=[^<>]{{0,300}})?\s?/?>|&(?:nbsp|amp|lt|gt|quot|apos|mdash|ndash|hellip|#\d{{1,6}}|#x[0-9a-f]{{1,5}});",
    re.IGNORECASE,
)


class HtmlResidue(TextCheck):
    """Fails on HTML tags and character references."""

    def __call__(self, text: str) -> Verdict:
        """The reason names each tag or reference once."""
        spans = [m.span() for m in _HTML.finditer(text)] if "<" in text or "&" in text else []
        if not spans:
            return PASS
        found = list(dict.fromkeys(text[a:b][:20] for a, b in spans))
        return Verdict(False, f"HTML in text: {' '.join(found[:5])}", tuple(spans[:MAX_SPANS]))
