"""Two data sets side by side: rows that came, went, or say something else, and how labels, lengths and findings moved.

One decision: a row is the same when it says the same (its content id); what is left is paired by the given id, then by the prompt,
then by its place in a file of one name, then by its words, and such a pair is a change with its fields. Copies are counted, not
merged.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.core.records import Example, content_id, to_json
from luthier.parts.checks.contract import texts_of
from luthier.parts.duplicates.text import exact_text
from luthier.stages.data.reading import Inspector

PERCENTILES = (50, 90, 99, 100)
_WORD = re.compile(r"\w+")
_ALIKE = 0.5  # Jaccard of the words from which two rows may be one row that was changed
_COMMON = 50  # a word in more rows than this tells none of them
_NOT_COMPARED = {"source", "id", "key", "kind"}


@dataclass(frozen=True, slots=True)
class Side:
    """One data set to compare: its name, its rows, and each row's split where it has one."""

    name: str
    rows: tuple[Any, ...]
    splits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field of a changed row: its text (or JSON) on either side."""

    field: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class RowChange:
    """A row that is on both sides and says something else. by: what paired it."""

    before: Any
    after: Any
    by: str
    fields: tuple[FieldChange, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What `compare` found. `same`: rows that say the same on both sides; `moved`: (row, split in A, split in B) of those."""

    same: int
    added: tuple[Any, ...]
    removed: tuple[Any, ...]
    changed: tuple[RowChange, ...]
    moved: tuple[tuple[Any, str, str], ...]


def compare(a: Side, b: Side) -> Comparison:
    """Rows of `b` against those of `a`."""
    waiting: dict[str, list[int]] = defaultdict(list)
    for i in reversed(range(len(a.rows))):
        waiting[content_id(a.rows[i])].append(i)
    same, moved, new = 0, [], []
    for j, row in enumerate(b.rows):
        places = waiting.get(content_id(row))
        if not places:
            new.append(row)
            continue
        i = places.pop()
        same += 1
        if a.splits and b.splits and a.splits[i] != b.splits[j]:
            moved.append((row, a.splits[i], b.splits[j]))
    old = [a.rows[i] for i in sorted(i for places in waiting.values() for i in places)]
    changed: list[RowChange] = []
    for by in ("given id", "prompt", "place"):
        old, new, pairs = _paired(old, new, by)
        changed += pairs
    old, new, pairs = _paired_by_words(old, new)
    changed += pairs
    return Comparison(same, tuple(new), tuple(old), tuple(changed), tuple(moved))


def _paired(old: list[Any], new: list[Any], by: str) -> tuple[list[Any], list[Any], list[RowChange]]:
    """Rows with one name on both sides, and what is left of either. A name that is there twice on a side pairs nobody."""
    names_old, names_new = [_name(r, by) for r in old], [_name(r, by) for r in new]
    once = {n for n, k in Counter(names_old).items() if k == 1} & {n for n, k in Counter(names_new).items() if k == 1} - {None}
    after = {n: r for n, r in zip(names_new, new, strict=True) if n in once}
    pairs = [
        RowChange(row, after[n], by, tuple(_fields(row, after[n])))
        for n, row in zip(names_old, old, strict=True)
        if n in once and type(row) is type(after[n])
    ]
    return _left(old, new, pairs)


def _left(old: list[Any], new: list[Any], pairs: list[RowChange]) -> tuple[list[Any], list[Any], list[RowChange]]:
    gone = {id(p.before) for p in pairs} | {id(p.after) for p in pairs}
    return [r for r in old if id(r) not in gone], [r for r in new if id(r) not in gone], pairs


def _paired_by_words(old: list[Any], new: list[Any]) -> tuple[list[Any], list[Any], list[RowChange]]:
    """Rows of which each is the one most alike to the other, and what is left of either. Rows that are equally alike pair nobody."""
    words_old, words_new = ([_words_of(r) for r in rows] for rows in (old, new))
    to_new, to_old = _most_alike(words_old, words_new), _most_alike(words_new, words_old)
    pairs = [
        RowChange(old[i], new[j], "words", tuple(_fields(old[i], new[j])))
        for i, j in to_new.items()
        if to_old.get(j) == i and type(old[i]) is type(new[j])
    ]
    return _left(old, new, pairs)


def _words_of(row: Any) -> set[str]:
    """The different words of a row's texts; a label is none."""
    texts = [text for _, text in texts_of(row)]
    return set(_WORD.findall(" ".join(texts[:-1] if getattr(row, "label", None) is not None else texts).lower()))


def _most_alike(rows: list[set[str]], others: list[set[str]]) -> dict[int, int]:
    """For each row that has one, the row of `others` that shares the most of its words (Jaccard), when no other shares as much."""
    having: dict[str, list[int]] = defaultdict(list)
    for j, words in enumerate(others):
        for word in words:
            having[word].append(j)
    found = {}
    for i, words in enumerate(rows):
        near = {j for word in words if len(having.get(word, ())) <= _COMMON for j in having.get(word, ())}
        alike = sorted(((len(words & others[j]) / len(words | others[j]), j) for j in near), reverse=True)[:2]
        if alike and alike[0][0] >= _ALIKE and (len(alike) == 1 or alike[0][0] > alike[1][0]):
            found[i] = alike[0][1]
    return found


def _name(row: Any, by: str) -> Hashable:
    if by == "given id":
        given = row.meta.get("id")
        return None if given is None else str(given)
    return exact_text(row, "prompt") if by == "prompt" else (row.source.file, row.source.at)


def _fields(before: Any, after: Any) -> Iterable[FieldChange]:
    """The texts that differ, then the other fields that do."""
    texts_a, texts_b = dict(texts_of(before)), dict(texts_of(after))
    for name in dict.fromkeys([*texts_a, *texts_b]):
        if texts_a.get(name) != texts_b.get(name):
            yield FieldChange(name, texts_a.get(name), texts_b.get(name))
    whole_a, whole_b = to_json(before), to_json(after)
    for name in dict.fromkeys([*whole_a, *whole_b]):
        held = name in ("messages", "prompt", "chosen", "rejected", "completion", "text")
        if name not in _NOT_COMPARED and not held and whole_a.get(name) != whole_b.get(name):
            yield FieldChange(name, whole_a.get(name), whole_b.get(name))


def label_counts(rows: Sequence[Any]) -> dict[str, int]:
    """Rows by label, in alphabetical order; none when rows have no labels."""
    return dict(sorted(Counter(r.label for r in rows if getattr(r, "label", None) is not None).items()))


def shift(a: dict[str, int], b: dict[str, int]) -> float:
    """Total variation distance of two label distributions, in [0, 1]: the share of rows that would have to change their label."""
    n_a, n_b = sum(a.values()) or 1, sum(b.values()) or 1
    return sum(abs(a.get(k, 0) / n_a - b.get(k, 0) / n_b) for k in {*a, *b}) / 2


def lengths(rows: Sequence[Any]) -> dict[str, dict[str, float]]:
    """Characters of prompts and answers (of texts, for raw text): mean and percentiles, by the nearest-rank rule."""
    return {name: described(sorted(sizes)) for name, sizes in columns_of(rows).items()}


def columns_of(rows: Sequence[Any]) -> dict[str, list[int]]:
    """The characters of every prompt and answer, or text."""
    columns: dict[str, list[int]] = {}
    for row in rows:
        if isinstance(row, Example):
            columns.setdefault("prompt", []).append(sum(len(m.content) for m in row.prompt))
            columns.setdefault("answer", []).append(len(row.reference))
        else:
            columns.setdefault("text", []).append(sum(len(t) for _, t in texts_of(row)))
    return columns


def described(sizes: list[int]) -> dict[str, float]:
    """Mean and percentiles of sorted sizes."""
    ranks = {str(p): float(sizes[max(0, -(-p * len(sizes) // 100) - 1)]) for p in PERCENTILES}
    return {"mean": round(sum(sizes) / len(sizes), 1), **ranks}


def findings(rows: Sequence[Any]) -> dict[str, int]:
    """How often each standing check has something to say."""
    inspector, counts = Inspector(), Counter[str]()
    for row in rows:
        counts.update(f.check for f in inspector.look(row, str(row.source)))
    counts.update(f.check for f in inspector.finish())
    return dict(sorted(counts.items()))
