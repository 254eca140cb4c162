"""Text in another language than the wanted ones.

One decision: a text fails only when the identifier is sure of another language, and a short one is never judged, for
three words are in several languages; so a set that is kept too large is likelier than one that is cut by mistake.
Source: M. Lui and T. Baldwin, langid.py (ACL 2012), https://aclanthology.org/P12-3005, in the form of py3langid.
"""

from __future__ import annotations

import functools
from typing import Any, ClassVar

from pydantic import Field

from luthier.core.errors import MachineError, UserError, did_you_mean
from luthier.parts.checks.contract import PASS, TextCheck, Verdict

_MAX_JUDGED = 10_000
_NO_LANGUAGE = "zxx"


class Language(TextCheck):
    """Fails on a text that is surely in none of `languages` (ISO 639 codes); the first 10,000 characters are judged.

    Raises UserError for a code that the identifier does not know, MachineError without py3langid.
    """

    standing: ClassVar[bool] = False

    languages: tuple[str, ...] = Field(default=("en",), min_length=1, description="ISO 639 codes, such as en and de")
    sure: float = Field(default=0.5, ge=0, le=1, description="the least probability at which another language is believed")
    min_letters: int = Field(default=20, ge=0, description="shorter texts pass; a letter counts its UTF-8 bytes, so an ideograph is three")

    def __call__(self, text: str) -> Verdict:
        """The reason names the language; the span is what was judged."""
        part = text[:_MAX_JUDGED]
        identifier = _identifier()
        self._check_codes(identifier.labels)
        if not _enough(part, self.min_letters):
            return PASS
        found, probability = identifier.classify(part)
        if found in (*self.languages, _NO_LANGUAGE) or probability < self.sure:
            return PASS
        return Verdict(False, f"language: {found}, wanted {', '.join(self.languages)}", ((0, len(part)),))

    def _check_codes(self, known: list[str]) -> None:
        for code in self.languages:
            if code not in known:
                raise UserError("languages must be codes that the identifier knows", repr(code), "languages", did_you_mean(code, known))


def language_of(text: str, sure: float = 0.8, min_letters: int = 20) -> str | None:
    """The language of a text as an ISO 639 code; None for one of few letters, of no language, or that could be several.

    Raises MachineError without py3langid.
    """
    part = text[:_MAX_JUDGED]
    if not _enough(part, min_letters):
        return None
    found, probability = _identifier().classify(part)
    return None if found == _NO_LANGUAGE or probability < sure else str(found)


def _enough(text: str, min_letters: int) -> bool:
    """Whether a text has enough letters, counted by their UTF-8 bytes, to be judged."""
    return len("".join(c for c in text if c.isalpha()).encode("utf-8", "surrogatepass")) >= min_letters


@functools.cache
def _identifier() -> Any:
    """The identifier, read once in a process (half a second)."""
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        raise MachineError("telling languages apart needs py3langid: pip install 'luthier[data]'") from None
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
