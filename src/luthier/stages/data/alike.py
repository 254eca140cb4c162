"""Rows that ask nearly the same, over all splits at once: what is kept together in a division and what leaks between files.

One decision: likeness is judged once, over all rows, before they are divided; the division keeps clusters together and the
leakage check reads the same judgement, so a division of our own never leaks by it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from luthier.parts.duplicates.text import Same, answer_of, numbers_in, plain_text, without_frame

if TYPE_CHECKING:
    import numpy as np

    from luthier.parts.duplicates.clusters import Find, Finder

AlikeKind = Literal["near", "semantic"]
_PAIRS = 100_000


@dataclass(frozen=True, eq=False)
class Alike:
    """One judgement of likeness. number: of each row's text, by the row's id; groups: int64 [texts], the cluster of each."""

    kind: AlikeKind
    finder: Finder
    number: Mapping[str, int]
    groups: np.ndarray

    def cluster(self, record: Any) -> tuple[str, int]:
        """The name of the cluster of a row; one that nothing resembles is a cluster of its own."""
        return (self.kind, int(self.groups[self.number[record.id]]))

    def twins(self, seen: Sequence[Any], sealed: Sequence[Any]) -> dict[int, tuple[int, float]]:
        """For each row of `seen` that is alike enough to a row of `sealed`: the number of the most alike one, and how alike."""
        import numpy as np

        found: dict[int, tuple[int, float]] = {}
        for pairs in self._pairs(seen, sealed):
            a, b = (
                np.array([self.number[rows[i].id] for i in at]) for rows, at in zip((seen, sealed), zip(*pairs, strict=True), strict=True)
            )
            for (i, j), likeness in zip(pairs, self.finder.likeness(a, b).tolist(), strict=True):
                if likeness >= self.finder.threshold and likeness > found.get(i, (0, 0.0))[1]:
                    found[i] = (j, likeness)
        return found

    def _pairs(self, seen: Sequence[Any], sealed: Sequence[Any]) -> Iterator[list[tuple[int, int]]]:
        """Pairs of rows of one cluster, many at a time."""
        members: dict[tuple[str, int], list[int]] = defaultdict(list)
        for j, record in enumerate(sealed):
            members[self.cluster(record)].append(j)
        pairs: list[tuple[int, int]] = []
        for i, record in enumerate(seen):
            pairs += [(i, j) for j in members.get(self.cluster(record), ())]
            if len(pairs) >= _PAIRS:
                yield pairs
                pairs = []
        if pairs:
            yield pairs


def judge_likeness(sources: Sequence[Sequence[Any]], same: Same, kind: AlikeKind, find: Find) -> Alike:
    """Compare all rows of all `sources`. Each source (a data set) has a prompt template of its own, which is not compared.

    Rows whose numbers differ are not alike. Raises UserError or MachineError as the finder does.
    """
    import numpy as np

    number: dict[str, int] = {}
    texts: dict[tuple[str, Hashable], int] = {}  # with what sets equal words apart
    for rows in sources:
        records = {r.id: r for r in rows if r.id not in number}
        for rid, text in zip(records, without_frame([plain_text(r, same) for r in records.values()]), strict=True):
            side = (answer_of(records[rid], same), numbers_in(text))
            number[rid] = texts.setdefault((text, side), len(texts))
    known: dict[Hashable, int] = {}
    sides = np.array([known.setdefault(side, len(known)) for _, side in texts], np.int64)
    finder = find([text for text, _ in texts], sides)
    return Alike(kind, finder, number, finder.groups() if len(texts) > 1 else np.arange(len(texts)))
