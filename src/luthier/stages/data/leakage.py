"""Leakage: rows of a sealed split that are also, exactly or nearly, in a split that is seen before.

One decision: what is compared is what the model is asked (the prompt), because a test row whose question was trained
on proves nothing, whatever its answer. Near means equal after Unicode NFKC, case, punctuation and white space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from luthier.parts.duplicates.text import Same, exact_text, normalised_text

LeakKind = Literal["exact", "normalised", "group"]
SEALED_FIRST = ("test", "validation", "train")
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Leak:
    """`seen` (a row of `seen_split`) repeats `sealed` (a row of the more sealed `sealed_split`)."""

    kind: LeakKind
    seen: Any
    seen_split: str
    sealed: Any
    sealed_split: str

    def __str__(self) -> str:
        how = {
            "exact": "the same text",
            "normalised": "the same but for case, punctuation or spaces",
            "group": f"the same group {self.seen.group}",
        }
        return f"{self.sealed.source} ({self.sealed_split}) and {self.seen.source} ({self.seen_split}): {how[self.kind]}"


def find_leaks(splits: Mapping[str, Sequence[Any]], same: Same = "prompt", by_group: bool = True) -> list[Leak]:
    """Every row of a less sealed split that repeats a row of a more sealed one, each once, by its strongest kind."""
    leaks: list[Leak] = []
    texts = {split: [exact_text(r, same) for r in rows] for split, rows in splits.items()}
    norms = {split: [normalised_text(t) for t in column] for split, column in texts.items()}
    for at, sealed in enumerate(SEALED_FIRST):
        index: dict[tuple[str, str], Any] = {}
        for record, text, norm in zip(splits.get(sealed, ()), texts.get(sealed, ()), norms.get(sealed, ()), strict=True):
            for name in _names(record, text, norm, by_group):
                index.setdefault(name, record)
        for seen in SEALED_FIRST[at + 1 :]:
            for record, text, norm in zip(splits.get(seen, ()), texts.get(seen, ()), norms.get(seen, ()), strict=True):
                hit = next((n for n in _names(record, text, norm, by_group) if n in index), None)
                if hit is not None:
                    kind: LeakKind = "exact" if hit[0] in ("id", "exact") else "normalised" if hit[0] == "normalised" else "group"
                    leaks.append(Leak(kind, record, seen, index[hit], sealed))
    return leaks


def _names(record: Any, text: str, norm: str, by_group: bool) -> list[tuple[str, str]]:
    """The names under which a row can be met, strongest first."""
    names = [("id", record.id), ("exact", text), ("normalised", norm)]
    return names + ([("group", record.group)] if by_group and record.group is not None else [])


def describe_leaks(leaks: Sequence[Leak]) -> str:
    """How many rows leak between which splits, and the first places."""
    pairs: dict[tuple[str, str], list[Leak]] = {}
    for leak in leaks:
        pairs.setdefault((leak.seen_split, leak.sealed_split), []).append(leak)
    heads = []
    for (seen, sealed), found in pairs.items():
        kinds = ", ".join(
            f"{sum(x.kind == k for x in found)} {k}" for k in ("exact", "normalised", "group") if any(x.kind == k for x in found)
        )
        heads.append(f"{len(found)} {seen} {'row repeats' if len(found) == 1 else 'rows repeat'} {sealed} rows ({kinds})")
    lines = [f"  {leak}" for leak in leaks[:SHOWN]]
    if len(leaks) > SHOWN:
        lines.append(f"  and {len(leaks) - SHOWN} more")
    return "; ".join(heads) + ":\n" + "\n".join(lines)
