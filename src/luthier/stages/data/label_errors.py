"""`luthier data labels`: the rows of one file whose label is probably wrong, worst first.

One decision: the document says how often the classifier agrees with the labels at all, with its interval, for a suspicion is
worth no more than the classifier that raises it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pydantic

from luthier.core.errors import UserError
from luthier.parts.checks.label_errors import LabelErrors
from luthier.parts.duplicates.text import messages_of
from luthier.parts.sources.mapping import Mapping, shown_mapping
from luthier.stages.data.check_rows import proposed
from luthier.stages.data.duplicates import Say, read_all
from luthier.stats.intervals import wilson

SHOWN_CHARACTERS = 2000


class _Document(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class LikelyError(_Document):
    """A row whose label is probably wrong; probabilities are out of sample. text: its beginning."""

    at: str
    given: str
    suggested: str
    given_probability: float
    suggested_probability: float
    text: str


class DataLabels(_Document):
    """`luthier data labels --json`. agreement: how often classifier and label agree, with its Wilson interval.

    unjudged: rows of each label that stands on too few rows; unlabelled: rows that have no label; set_aside: rows that cannot be read.
    """

    kind: Literal["data_labels"] = "data_labels"
    version: Literal[1] = 1
    file: str
    mapping: dict[str, Any]
    settings: dict[str, Any]
    rows: int
    judged: int
    unjudged: dict[str, int]
    unlabelled: int
    set_aside: int
    agreement: dict[str, float]
    num_errors: int
    errors: tuple[LikelyError, ...]


def find_label_errors(path: Path, mapping: Mapping | None, check: LabelErrors, say: Say) -> DataLabels:
    """Every suspected label of a file; without `mapping` the proposed one is used and shown. Raises UserError or MachineError."""
    mapping = mapping or proposed(path)
    records, set_aside = read_all(path, mapping, say)
    if not any(getattr(record, "label", None) is not None for record in records):
        fix = "name the columns: --map classification:text=COLUMN,label=COLUMN"
        raise UserError("rows with one label each are wanted", f"{len(records):,} rows without", path.name, fix)
    found = check.judge(records, say)
    agreement = wilson(found.agreeing, found.judged)
    return DataLabels(
        file=path.name,
        mapping=shown_mapping(mapping),
        settings=check.model_dump(mode="json"),
        rows=len(records),
        judged=found.judged,
        unjudged=found.unjudged,
        unlabelled=len(records) - found.judged - sum(found.unjudged.values()),
        set_aside=set_aside,
        agreement={"value": agreement.value, "low": agreement.low, "high": agreement.high},
        num_errors=len(found.errors),
        errors=tuple(
            LikelyError(
                at=records[e.row].source.at,
                given=e.given,
                suggested=e.suggested,
                given_probability=e.given_probability,
                suggested_probability=e.suggested_probability,
                text="\n".join(m.content for m in messages_of(records[e.row], "prompt"))[:SHOWN_CHARACTERS],
            )
            for e in found.errors
        ),
    )
