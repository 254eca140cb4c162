"""The ledger: every input row's story, from the file it stood in to its last fate, with a reason at each step.

One decision: a row is known by its `source` (file and place), which it has before it has an id, so a row
that could not even be parsed is in the ledger too. Entries are only ever added; the story is their order.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from luthier.core.errors import CorruptArtifact
from luthier.core.files import writing

Fate = Literal["kept", "changed", "set_aside", "dropped", "planted"]
FATES: tuple[Fate, ...] = ("kept", "changed", "set_aside", "dropped")
"""How a row of the data can end. A planted row was never in it, and is counted nowhere."""
GONE: frozenset[Fate] = frozenset({"set_aside", "dropped"})


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """What one step did to one row. `key` and `id` are empty for a row that never became a record.

    was: the row's key before this step, when the step made it say something else; empty otherwise.
    """

    key: str
    id: str
    source: str
    step: str
    fate: Fate
    reason: str = ""
    was: str = ""


def entry_json(entry: LedgerEntry) -> dict[str, str]:
    """An entry as its line in a ledger; `was` only where there is one."""
    return {name: value for name, value in asdict(entry).items() if value or name != "was"}


def append_ledger(path: Path, entries: Iterable[LedgerEntry]) -> int:
    """Add entries to a ledger file (JSONL, created when missing); returns how many."""
    n = 0
    with writing(path), path.open("a", encoding="utf-8", newline="\n") as f:
        for entry in entries:
            f.write(json.dumps(entry_json(entry), ensure_ascii=False) + "\n")
            n += 1
    return n


def read_ledger(path: Path) -> Iterator[LedgerEntry]:
    """The entries of a ledger file in order. Raises CorruptArtifact naming the line that is not an entry."""
    with path.open(encoding="utf-8", newline="\n") as f:
        for number, line in enumerate(f, 1):
            try:
                yield LedgerEntry(**json.loads(line))
            except (ValueError, TypeError) as err:
                raise CorruptArtifact(f"{path} line {number} is not a ledger entry ({err}); rebuild the stage that wrote it") from None


def merge_ledgers(target: Path, parts: Sequence[Path]) -> int:
    """Write the entries of `parts`, one after the other, to `target`; returns how many."""
    target.unlink(missing_ok=True)
    return sum(append_ledger(target, read_ledger(part)) for part in parts)


def stories(entries: Iterable[LedgerEntry]) -> dict[str, list[LedgerEntry]]:
    """Entries by row (`source`), in order."""
    out: dict[str, list[LedgerEntry]] = {}
    for entry in entries:
        out.setdefault(entry.source, []).append(entry)
    return out


def final_fate(story: Sequence[LedgerEntry]) -> Fate:
    """How a row ended: gone when its last step set it aside or dropped it, changed when any step did, else kept."""
    if story[-1].fate in GONE:
        return story[-1].fate
    return "changed" if any(e.fate == "changed" for e in story) else "kept"


def count_fates(entries: Iterable[LedgerEntry]) -> dict[str, int]:
    """Rows by final fate; every fate is named, so the counts add up to the number of rows, planted ones left out."""
    counts = Counter(final_fate(story) for story in stories(entries).values() if story[0].fate != "planted")
    return {fate: counts.get(fate, 0) for fate in FATES}
