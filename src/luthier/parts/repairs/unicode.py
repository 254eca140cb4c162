"""One way of writing each character: Unicode normalisation.

One decision: NFC by default, because it changes how a character is stored and never what is read; NFKC also makes
ligatures, full-width letters and superscripts plain (`x²` becomes `x2`), so it must be asked for.
Source: Unicode Standard Annex 15.
"""

from __future__ import annotations

import unicodedata
from typing import ClassVar, Literal

from pydantic import Field

from luthier.parts.repairs.contract import Repair


class Unicode(Repair):
    """The text in one normal form; three characters for one at most under NFC, eighteen under NFKC."""

    growth: ClassVar[int] = 18

    kind: Literal["unicode"] = "unicode"
    form: Literal["NFC", "NFKC"] = Field(default="NFC", description="NFKC also makes ligatures, full-width letters and superscripts plain")

    def __call__(self, text: str) -> str:
        return text if unicodedata.is_normalized(self.form, text) else unicodedata.normalize(self.form, text)
