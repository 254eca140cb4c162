"""The document of `luthier data check`: places, findings, the verdict and its exit code.

One decision: the worst thing found fixes the verdict (reject, quarantine, warn, repair, accept), and the
verdict fixes the exit code; several files' documents are put together by the same rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import pydantic

VerdictWord = Literal["accept", "repair", "warn", "quarantine", "reject"]
EXIT_CODES: tuple[tuple[VerdictWord, int], ...] = (("accept", 0), ("repair", 0), ("warn", 0), ("quarantine", 1), ("reject", 2))


class _Document(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class Placed(_Document):
    """Something at a place: `line 7`, `row 7`, `header`, `file`, or `test.jsonl line 7` in a folder."""

    at: str
    reason: str


class Found(Placed):
    """A finding: `check` says who found it, `where` in which part of the row."""

    check: str
    where: str = ""


class DataCheck(_Document):
    """The answer of `data check`, and its `--json` document. samples: the first rows without a finding, as read."""

    kind: Literal["data_check"] = "data_check"
    version: Literal[1] = 1
    verdict: VerdictWord
    format: str
    mapping: dict[str, Any] | None
    samples: tuple[str, ...] = ()
    rows: int
    kept: int
    set_aside: tuple[Placed, ...] = ()
    changes: tuple[Placed, ...] = ()
    findings: tuple[Found, ...] = ()

    def lines(self, name: str = "") -> list[str]:
        """The document for people, a line each; the first begins with `name` when it is given."""
        head = f"{name}: " * bool(name) + f"{self.verdict} ({self.format}, {self.kept:,} of {self.rows:,} rows kept)"
        mapping = [f"  mapping: {self.mapping}"] if self.mapping else []
        mapping += [f"  read as: {sample}" for sample in self.samples]
        parts: tuple[tuple[str, Sequence[Placed]], ...] = (
            ("set aside", self.set_aside),
            ("changed", self.changes),
            ("found", self.findings),
        )
        return [head, *mapping, *(f"  {word}: {p.at}: {p.reason}" for word, places in parts for p in places)]


def exit_code(verdict: VerdictWord) -> int:
    """0 for accept, repair and warn, 1 for quarantine, 2 for reject."""
    return dict(EXIT_CODES)[verdict]


def together(name: str, format_: str, named: Sequence[tuple[str, DataCheck]]) -> DataCheck:
    """Several files' documents as one: places carry the file's name, the worst verdict counts."""
    order = [word for word, _ in EXIT_CODES]
    words: list[VerdictWord] = [c.verdict for _, c in named] or ["reject"]
    worst = max(words, key=order.index)
    none = (Found(at="file", reason=f"{name}: no data files", check="reading"),) if not named else ()
    return DataCheck(
        verdict=worst,
        format=format_,
        mapping=named[0][1].mapping if named else None,
        samples=named[0][1].samples if named else (),
        rows=sum(c.rows for _, c in named),
        kept=0 if worst == "reject" else sum(c.kept for _, c in named),
        set_aside=tuple(_within(file, p) for file, c in named for p in c.set_aside),
        changes=tuple(_within(file, p) for file, c in named for p in c.changes),
        findings=none + tuple(_within(file, p) for file, c in named for p in c.findings),
    )


P = TypeVar("P", bound=Placed)


def _within(file: str, place: P) -> P:
    return place.model_copy(update={"at": f"{file} {place.at}"})
