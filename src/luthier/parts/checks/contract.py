"""What a check is: text -> Verdict, record -> Verdict, or all rows, or all records, -> findings.

One decision: a check is pure and bounded and never changes a row; it says what it saw and where, and what is
done about it is the caller's business. The same object cleans data, guards serving and watches traffic.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from luthier.core.config import Config
from luthier.core.records import Example, Message, Preference, Rating, Record, Text
from luthier.parts.sources.rows import Finding


@dataclass(frozen=True, slots=True)
class Verdict:
    """`passed`, or why not; `spans` are (start, end) inside the text that was checked."""

    passed: bool
    reason: str = ""
    spans: tuple[tuple[int, int], ...] = ()


PASS = Verdict(True)
MAX_SPANS = 100


class Check(Config):
    """What every check is. `standing`: it looks at every file that is read; otherwise only where a cleaning names it."""

    standing: ClassVar[bool] = True


class TextCheck(Check):
    """Judges one text."""

    def __call__(self, text: str) -> Verdict:
        raise NotImplementedError


class RecordCheck(Check):
    """Judges one record as a whole."""

    def __call__(self, record: Record) -> Verdict:
        raise NotImplementedError


class CorpusCheck(Check):
    """Judges all rows of a data set together, from their facts alone (never holding their texts)."""

    def __call__(self, rows: Sequence[RowFacts]) -> list[Finding]:
        raise NotImplementedError


WHOLE_SET = -1
"""The row of a finding that is about all records together."""


@dataclass(frozen=True, slots=True)
class RowFinding:
    """Something about the record at position `row`: why, how surely (0 to 1), the positions of the others it is about, a better label."""

    row: int
    reason: str
    score: float = 1.0
    others: tuple[int, ...] = ()
    suggestion: str | None = None


class RecordsCheck(Check):
    """Judges all records of a data set together, texts included: near duplicates, planted triggers. Never standing: it holds every row."""

    standing: ClassVar[bool] = False

    def __call__(self, records: Sequence[Record]) -> list[RowFinding]:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class RowFacts:
    """What a corpus check needs of a row: place, given id, hashes of its prompt and of all of it, label."""

    at: str
    given_id: str | None
    content: bytes
    prompt: bytes
    label: str | None
    verdict: str | None = None


def facts_of(record: Record, at: str) -> RowFacts:
    """The facts of one record; hashes are 16 bytes. `verdict` is what two equal prompts may conflict about."""
    given = record.meta.get("id")
    if isinstance(record, Example):
        prompt = [m.content for m in record.prompt]
        label = record.label
        return RowFacts(at, _id(given), _digest([*prompt, record.reference]), _digest(prompt), label, label)
    if isinstance(record, Rating):
        asked = [m.content for m in (*record.prompt, *record.completion)]
        return RowFacts(at, _id(given), _digest([*asked, str(record.good)]), _digest(asked), None, "good" if record.good else "bad")
    texts = [text for _, text in texts_of(record)]
    return RowFacts(at, _id(given), _digest(texts), _digest(texts), None)


def _id(value: object) -> str | None:
    return None if value is None else str(value)


def _digest(texts: Sequence[str]) -> bytes:
    h = hashlib.blake2b(digest_size=16)
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        h.update(len(data).to_bytes(8, "little") + data)
    return h.digest()


def texts_of(record: Record) -> Iterator[tuple[str, str]]:
    """(where, text) of every text in a record."""
    if isinstance(record, Text):
        yield "text", record.text
        return
    groups: list[tuple[str, tuple[Message, ...]]]
    if isinstance(record, Example):
        groups = [("messages", record.messages)]
    elif isinstance(record, Preference):
        groups = [("prompt", record.prompt), ("chosen", record.chosen), ("rejected", record.rejected)]
    else:
        groups = [("prompt", record.prompt), ("completion", record.completion)]
    for name, messages in groups:
        for i, message in enumerate(messages):
            if message.content:
                yield f"{name}.{i} ({message.role})", message.content


def answers_of(record: Record) -> tuple[str, ...]:
    """The answers of a record that a model would learn as text: none of a row with a label, both of a preference."""
    if isinstance(record, Example):
        return (record.reference,) if record.label is None and record.messages[-1].role == "assistant" else ()
    if isinstance(record, Preference):
        return (record.chosen[-1].content, record.rejected[-1].content)
    return (record.completion[-1].content,) if isinstance(record, Rating) else ()
