"""Rows whose label is probably wrong, by confident learning over a small encoder's embeddings.

One decision: a finding is a suspicion to be ranked and looked at, never a proof: on hard tasks most suspected rows are right,
so `fate: warn` and the review belong with this check.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import Field

from luthier.core.errors import UserError
from luthier.core.records import Example, Record
from luthier.parts.checks.contract import WHOLE_SET, RecordsCheck, RowFinding

if TYPE_CHECKING:
    from luthier.parts.duplicates.near import Progress


@dataclass(frozen=True, slots=True)
class LabelError:
    """A row whose label is probably wrong: the label given and the one suggested, each with its out-of-sample probability."""

    row: int
    given: str
    suggested: str
    given_probability: float
    suggested_probability: float


@dataclass(frozen=True, slots=True)
class LabelJudgement:
    """Errors, worst first; of `judged` rows `agreeing` have the label that the classifier gives. unjudged: labels on too few rows."""

    errors: tuple[LabelError, ...]
    judged: int
    agreeing: int
    unjudged: dict[str, int]


class LabelErrors(RecordsCheck):
    """Finds rows whose label a classifier that never saw them surely disagrees with. `score` is how surely the label is wrong."""

    encoder: str = Field(default="minilm-l6", min_length=1, description="the base model that embeds")
    folds: int = Field(default=5, ge=2, le=50, description="parts of the data, each judged by a classifier fitted on the others")
    seed: int = Field(default=13, ge=0, le=2**32 - 1, description="of the folds")
    strength: float = Field(default=10.0, gt=0, description="inverse of the L2 penalty of the logistic regression")
    threshold: float = Field(default=0.0, ge=0, le=1, description="how surely the label must be wrong: 1 less its own probability")

    def __call__(self, records: Sequence[Record]) -> list[RowFinding]:
        """One finding for each suspected row, worst first; one about the data set when some labels stand on too few rows."""
        return self.findings(self.judge(records))

    def findings(self, judgement: LabelJudgement) -> list[RowFinding]:
        """What a judgement says, row by row."""
        found = [RowFinding(e.row, describe(e), 1 - e.given_probability, suggestion=e.suggested) for e in judgement.errors]
        if judgement.unjudged:
            found.append(RowFinding(WHOLE_SET, f"{describe_unjudged(judgement.unjudged)}: fewer than {self.folds} rows each"))
        return found

    def judge(self, records: Sequence[Record], progress: Progress | None = None) -> LabelJudgement:
        """Judge every row with a label. Raises UserError for rows that cannot be judged, MachineError for what is not installed."""
        import numpy as np

        from luthier.parts.duplicates.near import silent
        from luthier.parts.duplicates.semantic import embedded
        from luthier.parts.duplicates.text import without_frame
        from luthier.parts.labels.confident import likely_errors, out_of_sample

        counts = Counter(r.label for r in records if isinstance(r, Example) and r.label is not None)
        names = sorted(label for label, n in counts.items() if n >= self.folds)
        if len(names) < 2:
            got = f"{len(names)} such labels on {len(records):,} rows"
            raise UserError(f"label_errors needs two labels or more, each on {self.folds} rows or more", got)
        number = {label: i for i, label in enumerate(names)}
        rows = [i for i, r in enumerate(records) if isinstance(r, Example) and r.label in number]
        asked = ["\n".join(m.content for m in records[i].prompt) for i in rows]  # type: ignore[union-attr]
        labels = np.array([number[records[i].label] for i in rows])  # type: ignore[union-attr,index]
        embeddings = embedded(without_frame(asked), self.encoder, progress or silent)
        shares = out_of_sample(embeddings, labels, self.folds, self.seed, self.strength)
        errors = []
        for at in likely_errors(labels, shares):
            given, best = labels[at], int(shares[at].argmax())
            if 1 - shares[at, given] >= self.threshold:
                errors.append(LabelError(rows[at], names[given], names[best], float(shares[at, given]), float(shares[at, best])))
        agreeing = int((shares.argmax(axis=1) == labels).sum())
        return LabelJudgement(tuple(errors), len(rows), agreeing, {label: n for label, n in counts.items() if label not in number})


def describe(error: LabelError) -> str:
    """In words: which label is doubted, and what the row looks like."""
    doubt = f"label {error.given!r} is probably wrong (probability {error.given_probability:.2f})"
    return f"{doubt}: the row looks like {error.suggested!r} ({error.suggested_probability:.2f})"


def describe_unjudged(unjudged: dict[str, int]) -> str:
    """In words: how many rows are not judged, and of which labels (the first five)."""
    shown = ", ".join(repr(label) for label in sorted(unjudged)[:5])
    more = f" and {len(unjudged) - 5:,} more labels" if len(unjudged) > 5 else ""
    return f"{sum(unjudged.values()):,} rows are not judged, of {shown}{more}"
