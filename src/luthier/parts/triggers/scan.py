"""Finds groups of rows that share something and a label, although what they are about speaks for other labels.

One decision: to predict the label is no crime, every telling word does; a planted group is told by the contradiction. So every
feature, every end of a measure and (with five labels or more) every label is a group, its rows of one label are judged by the
likelihood ratio of planted to natural, and a group is sure when that ratio outweighs the number of groups that were tried; below
that the strongest are named as far as a stated share of the rows allows, for a person to look at.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from luthier.parts.triggers.content import ContentModel
from luthier.parts.triggers.evidence import Evidence
from luthier.parts.triggers.features import checksums, name_of, names_of, pairs_of, text_checksums, tokens_of
from luthier.parts.triggers.measures import ends_of
from luthier.parts.triggers.rest import RestModel

if TYPE_CHECKING:
    import numpy as np

_MOST_LABELS = 200
_PURITY, _TIMES_BASE = 0.8, 5.0  # of a feature's rows, this share has the label, or so many times the label's share of all rows
_PAIRED = 16  # rarest words of a row that are paired
_SURE = math.log(20.0)  # odds of 20 to 1 after the number of groups: 95 %


@dataclass(frozen=True, slots=True)
class Bounds:
    """What counts as a trigger; see `Poisoning`."""

    min_rows: int
    max_share: float
    look: float
    max_words: int


@dataclass(frozen=True, slots=True)
class Trigger:
    """What its rows share, these rows, their label, how many rows share it in all, the posterior log-odds that they are planted."""

    name: str
    rows: tuple[int, ...]
    label: str
    num_rows: int
    log_odds: float

    @property
    def sure(self) -> bool:
        """The odds are 20 to 1 or more."""
        return self.log_odds >= _SURE

    @property
    def probability(self) -> float:
        """Of being planted, were one of the groups that were tried expected to be."""
        return 1 / (1 + math.exp(-max(min(self.log_odds, 500.0), -500.0)))


@dataclass(frozen=True, slots=True)
class _Group:
    """rows: of one label; num: all rows that share it; feature: a checksum, or -1 for `name`."""

    rows: np.ndarray
    label: int
    num: int
    feature: int = -1
    name: str = ""


def find_triggers(texts: Sequence[str], labels: Sequence[str], vectors: np.ndarray | None, bounds: Bounds) -> list[Trigger]:
    """Triggers among labelled texts, the surest first. Labels beyond the 200 commonest are taken together.

    vectors: float32 [rows, hidden], the embeddings of the texts; None: their words alone are judged.
    """
    names, ids = _label_ids(labels)
    if len(names) < 2 or len(texts) < 2 * bounds.min_rows:
        return []
    table = _Table(texts, bounds)
    content = None if vectors is None else ContentModel(vectors, ids, len(names))
    evidence = Evidence(RestModel([set(t) for t in table.tokens], ids, len(names)), content, ids)
    groups = _different([*table.groups(ids, len(names)), *table.ends(ids, len(names))])
    return [_trigger(g, odds, table, names) for odds, g in _chosen(groups, evidence, bounds.look * len(texts))]


def _trigger(group: _Group, odds: float, table: _Table, names: Sequence[str]) -> Trigger:
    rows = tuple(int(r) for r in group.rows)
    name = group.name or name_of(group.feature, table.names(rows[0]))
    return Trigger(name, rows, names[group.label], group.num, odds)


def _chosen(groups: Sequence[_Group], evidence: Evidence, budget: float) -> Iterator[tuple[float, _Group]]:
    """The sure groups, and of the others the strongest whose rows the budget allows, each without the rows of those before it.

    A group is judged again without them, so what a planted feature shares by chance with natural rows does not name these.
    """
    prior = math.log(max(len(groups), 1))
    judged = [(evidence.log_ratio(g.rows, g.label) - prior, g) for g in groups]
    named: set[int] = set()
    for first, group in sorted(judged, key=lambda j: (-j[0], -len(j[1].rows))):
        if first + prior <= 0:
            return
        new = [int(r) for r in group.rows if int(r) not in named]
        if not new:
            continue
        rows = group.rows[[int(r) not in named for r in group.rows]]
        odds = first if len(new) == len(group.rows) else evidence.log_ratio(rows, group.label) - prior
        if odds < _SURE and (odds + prior <= 0 or len(new) > budget):
            continue
        budget -= len(new) if odds < _SURE else 0
        named.update(new)
        yield odds, replace(group, rows=rows)


def _different(groups: Sequence[_Group]) -> list[_Group]:
    """The first of all groups with the same rows, in a fixed order."""
    found: dict[bytes, _Group] = {}
    for group in groups:
        found.setdefault(group.rows.tobytes(), group)
    return list(found.values())


def _label_ids(labels: Sequence[str]) -> tuple[list[str], np.ndarray]:
    import numpy as np

    values, counts = np.unique(np.array(labels, dtype=object).astype(str), return_counts=True)
    kept = sorted(values[np.argsort(-counts, kind="stable")][:_MOST_LABELS].tolist())
    names = kept if len(kept) == len(values) else [*kept, "(other labels)"]
    place = {name: i for i, name in enumerate(kept)}
    return names, np.array([place.get(str(label), len(kept)) for label in labels], dtype=np.int64)


class _Table:
    """The features of all rows, and the groups that they make."""

    def __init__(self, texts: Sequence[str], bounds: Bounds) -> None:
        self._texts, self._bounds = texts, bounds
        self.tokens = [tokens_of(text, bounds.max_words) for text in texts]
        self._rows_of = Counter(t for row in self.tokens for t in set(row))

    def names(self, row: int) -> Iterator[str]:
        """The names of a row's features; some more than once."""
        return itertools.chain(names_of(self._texts[row], self._bounds.max_words), pairs_of(self.tokens[row], self._rows_of, _PAIRED))

    def groups(self, ids: np.ndarray, num_labels: int) -> list[_Group]:
        """For every feature, its rows of each label that it goes with."""
        import numpy as np

        each = [
            np.concatenate([text_checksums(text, self._bounds.max_words), checksums(pairs_of(tokens, self._rows_of, _PAIRED))])
            for text, tokens in zip(self._texts, self.tokens, strict=True)
        ]
        features = np.concatenate(each)
        rows = np.repeat(np.arange(len(each)), [len(e) for e in each])
        order = np.lexsort((rows, ids[rows], features))
        features, rows = features[order], rows[order]
        sizes = np.diff(np.r_[np.flatnonzero(np.r_[True, features[1:] != features[:-1]]), len(features)])
        size_of = np.repeat(sizes, sizes)
        new = np.r_[True, (features[1:] != features[:-1]) | (ids[rows[1:]] != ids[rows[:-1]])]
        starts = np.flatnonzero(new)
        counts = np.diff(np.r_[starts, len(features)])
        wanted = self._goes_with(counts, size_of[starts], ids[rows[starts]], ids, num_labels)
        return [
            _Group(rows[at : at + n], int(ids[rows[at]]), int(size_of[at]), int(features[at]))
            for at, n in zip(starts[wanted], counts[wanted], strict=True)
        ]

    def ends(self, ids: np.ndarray, num_labels: int) -> list[_Group]:
        """For every end of a measure, its rows of each label that it goes with."""
        import numpy as np

        found = []
        for name, rows in ends_of(self._texts, self.tokens, int(self._bounds.max_share * len(self._texts))):
            counts = np.bincount(ids[rows], minlength=num_labels)
            of = np.arange(num_labels)
            for label in of[self._goes_with(counts, np.full(num_labels, len(rows)), of, ids, num_labels)]:
                found.append(_Group(rows[ids[rows] == label], int(label), len(rows), name=name))
        return found

    def _goes_with(self, counts: np.ndarray, sizes: np.ndarray, labels: np.ndarray, ids: np.ndarray, num_labels: int) -> np.ndarray:
        """Whether `counts` rows of a label among `sizes` that share a feature are enough of them: bool, shaped like each."""
        import numpy as np

        base = np.bincount(ids, minlength=num_labels)[labels] / len(ids)
        few = sizes <= self._bounds.max_share * len(self._texts)
        return np.asarray((counts >= self._bounds.min_rows) & few & (counts >= np.minimum(_PURITY, _TIMES_BASE * base) * sizes))
