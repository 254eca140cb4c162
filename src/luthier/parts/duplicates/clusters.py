"""Clusters of copies, and which of their rows stay.

One decision: in a cluster the best row (by a declared rule) stays, and a row goes only when it is itself alike enough to one
that stays; a chain a ~ b ~ c never removes a row that no kept row resembles.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from luthier.core.records import Example, Record
from luthier.parts.duplicates.text import Same, answer_of, exact_text, messages_of, numbers_in, plain_text, without_frame

Keep = Literal["longest", "first", "heaviest"]
CopyKind = Literal["exact", "normalised", "near", "semantic"]


@dataclass(frozen=True, slots=True)
class Copy:
    """Row `row` says what row `of` says, which stays. likeness: 0 to 1, of these two rows."""

    row: int
    of: int
    kind: CopyKind
    likeness: float = 1.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """Rows that are copies of each other: those that stay, best first, and those that would go."""

    kept: tuple[int, ...]
    copies: tuple[Copy, ...]

    @property
    def size(self) -> int:
        """How many rows it has."""
        return len(self.kept) + len(self.copies)


class Finder(Protocol):
    """What finds copies among texts that are all different: see `near.NearFinder`."""

    @property
    def threshold(self) -> float:
        """How alike two texts must be to be copies."""
        ...

    def groups(self) -> np.ndarray:
        """int64 [n]: the smallest row of each row's cluster."""
        ...

    def likeness(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """float64 [p]: how alike the pairs (a[i], b[i]) are."""
        ...


Find = Callable[[list[str], np.ndarray], Finder]
"""Makes a finder of (texts, sides)."""


@dataclass(frozen=True, slots=True)
class Rule:
    """same: what of a row is compared. keep: which row of a cluster stays. numbers: rows with other numbers are no copies."""

    same: Same
    keep: Keep
    numbers: bool


@dataclass(frozen=True, eq=False)
class Columns:
    """What is kept of n rows. exact, normal: int64 [n], the first row with the same text; best: int64 [n], rank of each row.

    texts: the plain text of each first row by number; sides: int64 [n], equal for rows that may be copies at all.
    """

    exact: np.ndarray
    normal: np.ndarray
    best: np.ndarray
    texts: dict[int, str]
    sides: np.ndarray


def columns_of(records: Sequence[Record], rule: Rule) -> Columns:
    """Read every record once; only the distinct normalised texts are held."""
    exact, normal, sides = (np.empty(len(records), np.int64) for _ in range(3))
    lengths, weights = np.empty(len(records), np.int64), np.empty(len(records))
    seen_exact: dict[tuple[int, str], int] = {}
    seen_normal: dict[tuple[int, str], int] = {}
    known_sides: dict[Hashable, int] = {}
    texts: dict[int, str] = {}
    for i, record in enumerate(records):
        whole, plain = exact_text(record, rule.same), plain_text(record, rule.same)
        side = known_sides.setdefault(_side(record, rule, plain), len(known_sides))
        sides[i], lengths[i], weights[i] = side, len(whole), record.weight
        exact[i] = seen_exact.setdefault((side, whole), i)
        normal[i] = seen_normal.setdefault((side, plain), i)
        if normal[i] == i:
            texts[i] = plain
    order = np.arange(len(records))
    if rule.keep != "first":
        order = np.argsort(-lengths if rule.keep == "longest" else -weights, kind="stable")
    best = np.empty(len(records), np.int64)
    best[order] = np.arange(len(records))
    return Columns(exact, normal, best, texts, sides)


def _side(record: Record, rule: Rule, plain: str) -> Hashable:
    """What two rows must have in common to be copies: roles, tools, label or rating (unless prompts alone count), numbers."""
    roles = tuple((m.role, repr(m.tool_calls) if m.tool_calls else "") for m in messages_of(record, rule.same))
    tools = repr(record.tools) if isinstance(record, Example) and record.tools else ""
    return roles, answer_of(record, rule.same), tools, numbers_in(plain) if rule.numbers else ()


def find_clusters(records: Sequence[Record], rule: Rule, kind: CopyKind, find: Find | None) -> list[Cluster]:
    """Clusters of two or more rows, largest first. Without `find`, only rows that are equal after normalising.

    kind: what a copy is called that only `find` saw.
    """
    columns = columns_of(records, rule)
    firsts = np.fromiter(columns.texts, np.int64, len(columns.texts))
    text = np.searchsorted(firsts, columns.normal)  # the number of each row's normalised text
    head = np.empty(len(firsts), np.int64)  # the best row of each text
    worst_first = np.argsort(-columns.best)
    head[text[worst_first]] = worst_first
    stays, likeness, groups = np.arange(len(firsts)), np.ones(len(firsts)), np.arange(len(firsts))
    if find is not None and len(firsts) > 1:
        finder = find(without_frame(list(columns.texts.values())), columns.sides[firsts])
        groups = finder.groups()
        stays, likeness = _settled(groups, columns.best[head], finder)
    return _clusters(columns, text, (groups, head[stays], likeness), kind)


def _settled(groups: np.ndarray, rank: np.ndarray, finder: Finder) -> tuple[np.ndarray, np.ndarray]:
    """int64 [n]: the text that stays for each text (itself, or a better one that is alike enough); float64 [n]: how alike."""
    stays, likeness = np.arange(len(groups)), np.ones(len(groups))
    sizes = np.bincount(groups, minlength=len(groups))
    left = np.flatnonzero(sizes[groups] > 1)
    while len(left):
        left = left[np.lexsort((rank[left], groups[left]))]
        first = np.flatnonzero(np.concatenate([[True], groups[left][1:] != groups[left][:-1]]))
        best = np.repeat(left[first], np.diff(np.concatenate([first, [len(left)]])))
        others = left != best
        best, left = best[others], left[others]
        alike = finder.likeness(best, left)
        near = alike >= finder.threshold
        stays[left[near]], likeness[left[near]] = best[near], alike[near]
        left = left[~near]
    return stays, likeness


def _clusters(columns: Columns, text: np.ndarray, found: tuple[np.ndarray, np.ndarray, np.ndarray], kind: CopyKind) -> list[Cluster]:
    """found: of each text, its group, the row that stays for it, and how alike the two are."""
    groups, stays, likeness = found
    own = groups[text]
    several = np.flatnonzero(np.bincount(own, minlength=len(groups))[own] > 1)
    members: dict[int, list[int]] = defaultdict(list)
    for i in several[np.argsort(columns.best[several])]:
        members[int(own[i])].append(int(i))
    clusters = []
    for rows in members.values():
        kept = [i for i in rows if stays[text[i]] == i]
        copies = [_copy(columns, i, int(stays[text[i]]), float(likeness[text[i]]), kind) for i in rows if stays[text[i]] != i]
        clusters.append(Cluster(tuple(kept), tuple(copies)))
    return sorted(clusters, key=lambda c: (-c.size, min(c.kept)))


def _copy(columns: Columns, row: int, of: int, likeness: float, kind: CopyKind) -> Copy:
    if columns.exact[row] == columns.exact[of]:
        return Copy(row, of, "exact")
    return Copy(row, of, "normalised") if columns.normal[row] == columns.normal[of] else Copy(row, of, kind, likeness)
