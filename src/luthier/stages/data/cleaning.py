"""Cleaning one row: its texts repaired, its checks asked, its fate decided. The stage and the verb clean through this.

One decision: the answer of a row whose answer is a label, a list of labels or a number is never touched or judged as a text,
because it is a value; a text that was a JSON document stays one, or the repair is not made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import Field

from luthier.core.config import Config
from luthier.core.ledger import Fate
from luthier.core.records import Example, Message, Preference, Record, Text
from luthier.parts.checks.contract import WHOLE_SET, CorpusCheck, RecordCheck, RecordsCheck, TextCheck, facts_of
from luthier.parts.checks.steps import StepConfig
from luthier.parts.repairs.contract import Repair
from luthier.parts.repairs.loading import STANDARD, RepairConfig, load_repair
from luthier.parts.sources.rows import WHOLE_FILE

Answers = Literal["text", "labels", "number"]
_GONE: dict[str, Fate] = {"set_aside": "set_aside", "drop": "dropped"}
_JSON = re.compile(r"\s{0,100}[\[{]")


class CleanPlan(Config):
    """How rows are cleaned: the repairs of every text in their order, then the checks in theirs, each with the fate of what fails."""

    repairs: tuple[RepairConfig, ...] = Field(
        default=tuple(load_repair(kind) for kind in STANDARD), description="by name, or with options; all of them when not given"
    )
    checks: tuple[StepConfig, ...] = Field(default=(), description="by name, or with `fate`, `roles` and options")

    def each(self) -> list[Any]:
        """The checks that judge one row, in order."""
        return [step for step in self.checks if isinstance(step, (TextCheck, RecordCheck))]

    def together(self) -> list[Any]:
        """The checks that judge all rows, in order; they are asked after the others."""
        return [step for step in self.checks if isinstance(step, (CorpusCheck, RecordsCheck))]


@dataclass(frozen=True, slots=True)
class Edit:
    """One text as it was before one repair and after it; `field` is its place in the row (`messages.0`, `text`)."""

    field: str
    step: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A check that a row did not pass: who says so, why, in which part of the row, and what becomes of the row."""

    check: str
    reason: str
    fate: str
    where: str = ""


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A row after its repairs (its id still the old one), what was edited, and the checks that it failed."""

    record: Record
    edits: tuple[Edit, ...]
    failures: tuple[Failure, ...]

    @property
    def fate(self) -> Fate:
        """Gone when a failure says so, else changed when a text was."""
        for failure in self.failures:
            if failure.fate in _GONE:
                return _GONE[failure.fate]
        return "changed" if self.edits else "kept"

    @property
    def reason(self) -> str:
        """The ledger's words: the failures, then the repairs with their fields."""
        fields: dict[str, list[str]] = {}
        for edit in self.edits:
            fields.setdefault(edit.step, []).append(edit.field)
        gone = [f.reason for f in self.failures if f.fate in _GONE]
        warned = [f"found {f.check}: {f.reason}" for f in self.failures if f.fate not in _GONE]
        return "; ".join([*gone, *(f"{step} in {', '.join(named)}" for step, named in fields.items()), *warned])


def clean_record(record: Record, plan: CleanPlan, answers: Answers = "text") -> Cleaned:
    """Repair and judge one row. Checks after the first one that takes the row away are not asked."""
    record, edits = repaired(record, plan.repairs, answers)
    emptied = next((e for e in edits if e.before.strip() and not e.after.strip()), None)
    if emptied:
        reason = f"nothing is left of {emptied.field} after {emptied.step}"
        return Cleaned(record, edits, (Failure(emptied.step, reason, "set_aside", emptied.field),))
    failures: list[Failure] = []
    for step in plan.each():
        failures += judged(record, step, answers)
        if failures and failures[-1].fate in _GONE:
            break
    return Cleaned(record, edits, tuple(failures))


def repaired(record: Record, repairs: Sequence[Repair], answers: Answers = "text") -> tuple[Record, tuple[Edit, ...]]:
    """The record with every text repaired, and each edit in the order in which it was made."""
    edits: list[Edit] = []

    def mend(field: str, text: str) -> str:
        for repair in repairs:
            after = repair(text)
            if after != text and keeps_json(text, after):
                edits.append(Edit(field, repair.kind, text, after))  # type: ignore[attr-defined]
                text = after
        return text

    left = value_field(record, answers)
    changes: dict[str, Any] = {}
    if isinstance(record, Text):
        changes["text"] = mend("text", record.text)
    for name, messages in groups_of(record):
        fields = [f"{name}.{i}" for i in range(len(messages))]
        mended = [m.content if f == left or not m.content else mend(f, m.content) for f, m in zip(fields, messages, strict=True)]
        changes[name] = tuple(m if m.content == t else replace(m, content=t) for m, t in zip(messages, mended, strict=True))
    return (replace(record, **changes) if edits else record), tuple(edits)


def groups_of(record: Record) -> tuple[tuple[str, tuple[Message, ...]], ...]:
    """(field, messages) of each conversation in a record; none for raw text."""
    if isinstance(record, Text):
        return ()
    if isinstance(record, Example):
        return (("messages", record.messages),)
    if isinstance(record, Preference):
        return (("prompt", record.prompt), ("chosen", record.chosen), ("rejected", record.rejected))
    return (("prompt", record.prompt), ("completion", record.completion))


def value_field(record: Record, answers: Answers) -> str:
    """The field of an answer that is a value and no text; empty when there is none."""
    valued = isinstance(record, Example) and (record.label is not None or answers != "text")
    return f"messages.{len(record.messages) - 1}" if valued else ""  # type: ignore[union-attr]


def keeps_json(before: str, after: str) -> bool:
    """False when `before` is a JSON object or list and `after` is none."""
    return not (_JSON.match(before) and _is_json(before)) or _is_json(after)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def judged(record: Record, step: Any, answers: Answers = "text") -> Iterator[Failure]:
    """How a record fails one check of rows: each text of the speakers it is for, or the whole."""
    if isinstance(step, RecordCheck):
        verdict = step(record)
        if not verdict.passed:
            yield Failure(step.kind, verdict.reason, step.fate)  # type: ignore[attr-defined]
        return
    left = value_field(record, answers)
    texts = [("text", "text", record.text)] if isinstance(record, Text) else []
    texts += [(f"{name}.{i}", m.role, m.content) for name, messages in groups_of(record) for i, m in enumerate(messages)]
    for field, speaker, text in texts:
        if text and field != left and (not step.roles or speaker in step.roles):
            verdict = step(text)
            if not verdict.passed:
                yield Failure(step.kind, verdict.reason, step.fate, field)


def failures_of(records: Sequence[Record], step: Any) -> Iterator[tuple[int | None, Failure]]:
    """(row, failure) of a check of any kind; row None is about the data set."""
    if isinstance(step, (CorpusCheck, RecordsCheck)):
        yield from judged_together(records, step)
        return
    for row, record in enumerate(records):
        for failure in judged(record, step):
            yield row, failure


def judged_together(records: Sequence[Record], step: Any) -> Iterator[tuple[int | None, Failure]]:
    """(row, failure) of a check of all rows; row None is about the data set."""
    if isinstance(step, RecordsCheck):
        for found in step(records):
            whole = found.row == WHOLE_SET
            yield None if whole else found.row, Failure(step.kind, found.reason, "warn" if whole else step.fate)  # type: ignore[attr-defined]
        return
    places: dict[str, list[int]] = {}
    for i, record in enumerate(records):
        places.setdefault(str(record.source), []).append(i)
    for found in step([facts_of(record, str(record.source)) for record in records]):
        if found.at == WHOLE_FILE:
            yield None, Failure(step.kind, found.reason, "warn")
        for i in places.get(found.at, ()):
            yield i, Failure(step.kind, found.reason, step.fate)


def undone(record: Record, edits: Sequence[Edit]) -> Record:
    """The record as it was before `edits` (given in the order in which they were made)."""
    texts = {edit.field: edit.before for edit in reversed(edits)}
    if isinstance(record, Text):
        return replace(record, text=texts.get("text", record.text))
    changes = {}
    for name, messages in groups_of(record):
        changes[name] = tuple(replace(m, content=texts.get(f"{name}.{i}", m.content)) for i, m in enumerate(messages))
    return replace(record, **changes)
