"""Text that attacks: insults, threats, hate of a group, obscenity, as a small classifier that ships with the package sees it.

One decision: it is a filter that puts English texts before a person, no judge: it knows comments of 2017, misses what is said politely, and
takes words for groups of people as a sign of hate, so `identity hate` is asked for only where a check names it.
"""

from __future__ import annotations

import itertools
from typing import ClassVar, Literal

from pydantic import Field

from luthier.core.errors import MachineError
from luthier.parts.checks.contract import MAX_SPANS, PASS, TextCheck, Verdict
from luthier.parts.checks.profanity import pieces

Kind = Literal["toxic", "severely toxic", "obscene", "threat", "insult", "identity hate"]
PIECE, _MOST_PIECES = 600, 50
"""Characters that the classifier reads at once, and most pieces of a text of data."""


class Toxicity(TextCheck):
    """Fails on a text a piece of which has one of `kinds` at a probability of at least `at_least`.

    Pieces have 600 characters; of a text of more than 50 of them the first 50 are judged.
    """

    standing: ClassVar[bool] = False
    kinds: tuple[Kind, ...] = Field(
        default=("toxic", "severely toxic", "obscene", "threat", "insult"), min_length=1, description="what fails a text"
    )
    at_least: float = Field(default=0.5, gt=0, le=1, description="the least probability of a kind that fails a text")

    def __call__(self, text: str) -> Verdict:
        """The reason names the kinds with their highest probabilities; the spans are the pieces."""
        from luthier.parts.toxicity.model import KINDS, probabilities

        places = list(itertools.islice(pieces(text, PIECE), _MOST_PIECES))
        try:
            found = probabilities([text[start:end] for start, end in places])
        except ImportError as err:
            raise MachineError(f"checking text for toxicity needs {err.name}: pip install 'luthier[data]'") from None
        if not places:
            return PASS
        best = {kind: float(found[:, KINDS.index(kind)].max()) for kind in self.kinds}
        said = sorted(((p, kind) for kind, p in best.items() if p >= self.at_least), reverse=True)
        if not said:
            return PASS
        columns = [KINDS.index(kind) for kind in self.kinds]
        spans = tuple(place for place, row in zip(places, found, strict=True) if row[columns].max() >= self.at_least)
        return Verdict(False, "toxic language: " + ", ".join(f"{kind} {p:.2f}" for p, kind in said), spans[:MAX_SPANS])
