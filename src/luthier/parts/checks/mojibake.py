"""Text that was decoded with the wrong encoding once too often, and characters that were lost on the way.

One decision: ftfy judges (it knows which sequences no language has), and only its encoding step is asked, so
odd but valid Unicode is left alone.
"""

from __future__ import annotations

from luthier.core.errors import MachineError
from luthier.parts.checks.contract import MAX_SPANS, PASS, TextCheck, Verdict

_MAX_JUDGED = 100_000
_LOST = "\ufffd"


class Mojibake(TextCheck):
    """Fails on mojibake (the first 100,000 characters are judged) and on U+FFFD."""

    def __call__(self, text: str) -> Verdict:
        """The reason shows the first words and how they would read."""
        if text.isascii():
            return PASS
        if _LOST in text:
            places = [i for i, c in enumerate(text) if c == _LOST]
            return Verdict(
                False, f"{len(places)} characters lost (U+FFFD): decoded with errors earlier", tuple((i, i + 1) for i in places[:MAX_SPANS])
            )
        try:
            import ftfy
            import ftfy.badness
        except ImportError:
            raise MachineError("checking text for mojibake needs ftfy: pip install 'luthier[data]'") from None
        part = text[:_MAX_JUDGED].replace("\x85", "\n")  # the separator U+0085 is valid text; ftfy takes it for Windows-1252
        if not ftfy.badness.is_bad(part):
            return PASS
        fixed = ftfy.fix_encoding(part)
        if fixed == part:
            return PASS
        start = next((i for i, (a, b) in enumerate(zip(part, fixed, strict=False)) if a != b), 0)
        shown, read = part[start : start + 12], fixed[start : start + 8]
        return Verdict(False, f"mojibake: {shown!r} would read {read!r}", ((start, min(len(text), start + 12)),))
