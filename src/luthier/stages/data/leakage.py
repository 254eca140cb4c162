"""Leakage: rows of a sealed split, or of a test set that the user names, that are also in a split that is seen before.

One decision: what is compared is what the model is asked (the prompt), because a test row whose question was trained
on proves nothing, whatever its answer. Normalised means equal after Unicode NFKC, case, punctuation and white space; near
and semantic are judged by `alike`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from luthier.parts.duplicates.text import Same, exact_text, messages_of, normalised_text, plain_text
from luthier.stages.data.alike import Alike

LeakKind = Literal["exact", "normalised", "group", "near", "semantic"]
SEALED_FIRST = ("test", "validation", "train")
NAMED = "named test set"
SHOWN = 5
Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Leak:
    """`seen` (a row of `seen_split`) repeats `sealed` (a row of the more sealed `sealed_split`)."""

    kind: LeakKind
    seen: Any
    seen_split: str
    sealed: Any
    sealed_split: str
    likeness: float = 1.0

    def __str__(self) -> str:
        how = {
            "exact": "the same text",
            "normalised": "the same but for case, punctuation or spaces",
            "group": f"the same group {self.seen.group}",
            "near": f"nearly the same text (Jaccard {self.likeness:.2f})",
            "semantic": f"much the same in other words (cosine {self.likeness:.2f})",
        }
        return f"{self.sealed.source} ({self.sealed_split}) and {self.seen.source} ({self.seen_split}): {how[self.kind]}"


def find_leaks(
    splits: Mapping[str, Sequence[Any]], same: Same = "prompt", by_group: bool = True, alike: Sequence[Alike] = ()
) -> list[Leak]:
    """Every row of a less sealed split that repeats a row of a more sealed one, each once, by its strongest kind."""
    leaks: list[Leak] = []
    named = {split: [_names(r, same, by_group) for r in rows] for split, rows in splits.items()}
    for at, sealed in enumerate(SEALED_FIRST):
        for seen in SEALED_FIRST[at + 1 :]:
            sides = [(split, splits.get(split, ()), named.get(split, [])) for split in (seen, sealed)]
            leaks += _between(sides[0], sides[1], alike)
    return leaks


def find_named_leaks(splits: Mapping[str, Sequence[Any]], sealed: Sequence[Any], same: Same, alike: Sequence[Alike] = ()) -> list[Leak]:
    """Every row that is learned or chosen from and repeats a row of the test sets that the user named.

    Words alone are compared: another file may give the same question another role or no system prompt.
    """
    told = (NAMED, sealed, [_words(r, same) for r in sealed])
    found = [(split, rows, [_words(r, same) for r in rows]) for split, rows in splits.items() if split != "test"]
    return [leak for seen in found for leak in _between(seen, told, alike)] if sealed else []


Side = tuple[str, Sequence[Any], list[list[Name]]]
"""The name of a split, its rows, and the names under which each row can be met, strongest first."""


def _between(seen: Side, sealed: Side, alike: Sequence[Alike]) -> list[Leak]:
    index: dict[Name, Any] = {}
    for record, names in zip(sealed[1], sealed[2], strict=True):
        for name in names:
            index.setdefault(name, record)
    found: dict[int, Leak] = {}
    for i, (record, names) in enumerate(zip(seen[1], seen[2], strict=True)):
        hit = next((n for n in names if n in index), None)
        if hit is not None:
            kind: LeakKind = "exact" if hit[0] in ("id", "exact") else "normalised" if hit[0] == "normalised" else "group"
            found[i] = Leak(kind, record, seen[0], index[hit], sealed[0])
    for judged in alike:
        left = [i for i in range(len(seen[1])) if i not in found]
        for at, (j, likeness) in judged.twins([seen[1][i] for i in left], sealed[1]).items():
            found[left[at]] = Leak(judged.kind, seen[1][left[at]], seen[0], sealed[1][j], sealed[0], likeness)
    return [found[i] for i in sorted(found)]


def _names(record: Any, same: Same, by_group: bool) -> list[Name]:
    text = exact_text(record, same)
    names = [("id", record.id), ("exact", text), ("normalised", normalised_text(text))]
    return names + ([("group", record.group)] if by_group and record.group is not None else [])


def _words(record: Any, same: Same) -> list[Name]:
    words = "\n".join(m.content for m in messages_of(record, same)) or exact_text(record, same)
    return [("exact", words), ("normalised", plain_text(record, same))]


def describe_leaks(leaks: Sequence[Leak]) -> str:
    """How many rows leak between which splits, and the first places."""
    pairs: dict[tuple[str, str], list[Leak]] = {}
    for leak in leaks:
        pairs.setdefault((leak.seen_split, leak.sealed_split), []).append(leak)
    heads = []
    for (seen, sealed), found in pairs.items():
        kinds = ", ".join(f"{sum(x.kind == k for x in found)} {k}" for k in get_args(LeakKind) if any(x.kind == k for x in found))
        heads.append(f"{len(found)} {seen} {'row repeats' if len(found) == 1 else 'rows repeat'} {sealed} rows ({kinds})")
    lines = [f"  {leak}" for leak in leaks[:SHOWN]]
    if len(leaks) > SHOWN:
        lines.append(f"  and {len(leaks) - SHOWN} more")
    return "; ".join(heads) + ":\n" + "\n".join(lines)
