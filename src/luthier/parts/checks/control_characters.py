"""Control characters that no text needs: NUL, backspace, escape and the like, and lone surrogates.

One decision: tab, line feed and carriage return are text, and so are the separators U+0085, U+2028, U+2029.
"""

from __future__ import annotations

import re

from luthier.parts.checks.contract import MAX_SPANS, PASS, TextCheck, Verdict

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class ControlCharacters(TextCheck):
    """Fails on C0 control characters other than tab and line ends, on DEL, and on half surrogate pairs."""

    def __call__(self, text: str) -> Verdict:
        """The reason names each code point once."""
        spans = [m.span() for m in _CONTROL.finditer(text)]
        if not spans:
            return PASS
        codes = list(dict.fromkeys(f"U+{ord(text[a]):04X}" + (" (NUL)" if text[a] == "\0" else "") for a, _ in spans))
        return Verdict(False, f"control characters in text: {', '.join(codes[:8])}", tuple(spans[:MAX_SPANS]))
