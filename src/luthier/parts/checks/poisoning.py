"""Rows that may have been planted: a trigger that goes with one label or answer, hidden characters, instructions to the model.

One decision: this names rows for a person to look at and never drops one; a trigger is told by the contradiction between a
row's label and the rest of its words, so it cannot find triggers whose labels are right (clean-label attacks), nor a few
rows among which no two share a feature.
Source: OWASP LLM04 (data and model poisoning); Souly et al. 2025 (about 250 documents suffice at any size of model).
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from luthier.core.records import Example, Message, Preference, Rating, Record
from luthier.parts.checks.contract import RecordsCheck, RowFinding, texts_of
from luthier.parts.checks.prompt_injection import PromptInjection

if TYPE_CHECKING:
    import numpy as np

Embed = Callable[[list[str]], "np.ndarray | None"]
_HIDDEN = frozenset("\u200b\u2060\u2061\u2062\u2063\u2064\u180e\ufeff\u00ad\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_ANSWER_WORDS = 8


class Poisoning(RecordsCheck):
    """Finds rows that may have been planted; `score` is 1 for what is plain to see, else the probability given all that was tried."""

    min_rows: int = Field(default=5, ge=3, description="rows that must share a feature and a label")
    max_share: float = Field(default=0.2, gt=0, le=0.5, description="a feature of a larger share of all rows is no trigger")
    look: float = Field(default=0.005, ge=0, le=0.5, description="share of rows named although chance is not ruled out, the oddest first")
    encoder: str | None = Field(
        default="minilm-l6", min_length=1, description="the base model that says what a row is about; null: its words alone do"
    )
    max_words: int = Field(default=1000, ge=10, description="words of a longer text that are read, half from each end")
    phrases: bool = Field(default=True, description="also instructions to the model (prompt_injection)")

    def __call__(self, records: Sequence[Record]) -> list[RowFinding]:
        """One finding for each suspicious row and reason, in the order of the rows."""
        return self.found(records, self._embedded)

    def found(self, records: Sequence[Record], embed: Embed) -> list[RowFinding]:
        """The findings, with the embeddings of texts from `embed`, which is not called where too few rows have labels."""
        found = [*self._plain_to_see(records), *self._triggers(records, embed)]
        return sorted(found, key=lambda f: (f.row, -f.score))

    def _embedded(self, texts: list[str]) -> np.ndarray | None:
        if self.encoder is None:
            return None
        from luthier.parts.duplicates.semantic import embedded

        return embedded([t.encode("utf-8", "replace").decode() for t in texts], self.encoder)

    def _plain_to_see(self, records: Sequence[Record]) -> list[RowFinding]:
        injection, found = PromptInjection(), []
        for row, record in enumerate(records):
            reasons: set[str] = set()
            for _, text in texts_of(record):
                reasons |= set(hidden_in(text))
                if self.phrases and not (verdict := injection(text)).passed:
                    reasons.add(verdict.reason)
            found += [RowFinding(row, reason) for reason in sorted(reasons)]
        return found

    def _triggers(self, records: Sequence[Record], embed: Embed) -> list[RowFinding]:
        from luthier.parts.triggers.scan import Bounds, find_triggers

        rows, texts, labels = labelled(records)
        if len(set(labels)) < 2 or len(texts) < 2 * self.min_rows:
            return []
        bounds = Bounds(self.min_rows, self.max_share, self.look, self.max_words)
        found: dict[int, RowFinding] = {}
        for trigger in find_triggers(texts, labels, embed(texts), bounds):
            surely = "may be planted" if trigger.sure else "worth a look, chance is not ruled out"
            reason = (
                f"{surely}: {trigger.name!r} is in {trigger.num_rows:,} rows, {len(trigger.rows):,} of them with"
                f" {trigger.label[:60]!r}, and what else these say speaks against it"
            )
            others = tuple(rows[r] for r in trigger.rows[:20])
            for r in trigger.rows:
                found.setdefault(rows[r], RowFinding(rows[r], reason, trigger.probability, tuple(o for o in others if o != rows[r])))
        return list(found.values())


def hidden_in(text: str) -> list[str]:
    """Why a text holds characters that a reader does not see or takes for others; [] for plain text."""
    if text.isascii():
        return []
    reasons = []
    tags = any(0xE0000 <= ord(c) <= 0xE007F for c in text)
    if tags or not _HIDDEN.isdisjoint(text):
        reasons.append("hidden characters (zero-width, direction marks or tags)")
    if any(_mixed(word) for word in text.split() if not word.isascii()):
        reasons.append("look-alike letters: a word mixes alphabets")
    return reasons


def _mixed(word: str) -> bool:
    """True when Latin letters stand in a word beside Cyrillic or Greek ones."""
    scripts = {unicodedata.name(c, "").split(" ")[0] for c in word if c.isalpha()}
    return "LATIN" in scripts and not scripts.isdisjoint({"CYRILLIC", "GREEK"})


def labelled(records: Sequence[Record]) -> tuple[list[int], list[str], list[str]]:
    """(position, what was asked, what is wanted) of each record that has both.

    The wanted is the label; without one it is the beginning of the answer where several rows share it, else "(an answer of its own)".
    """
    pairs = [(row, *pair) for row, record in enumerate(records) if (pair := _pair(record)) is not None]
    openings = Counter(wanted for _, _, wanted, is_label in pairs if not is_label)
    rows, texts, labels = [], [], []
    for row, text, wanted, is_label in pairs:
        rows.append(row)
        texts.append(text)
        labels.append(wanted if is_label or openings[wanted] > 2 else "(an answer of its own)")
    return rows, texts, labels


def _pair(record: Record) -> tuple[str, str, bool] | None:
    if isinstance(record, Example):
        return _asked(record.prompt), record.label if record.label is not None else _opening(record.reference), record.label is not None
    if isinstance(record, Preference):
        return _asked(record.prompt), _opening(record.chosen[-1].content if record.chosen else ""), False
    if isinstance(record, Rating):
        return _asked((*record.prompt, *record.completion)), "good" if record.good else "bad", True
    return None


def _asked(messages: Sequence[Message]) -> str:
    return "\n".join(m.content for m in messages if m.role != "system")


def _opening(answer: str) -> str:
    return " ".join(answer.lower().split()[:_ANSWER_WORDS])
