"""Rows that repeat another row: exactly, but for case, punctuation and spaces, or nearly.

One decision: rows with different labels, ratings, tools or (by default) numbers are never copies of each other, however
alike their words: dropping one of them would decide which is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from luthier.core.records import Record
from luthier.parts.checks.contract import RecordsCheck, RowFinding

if TYPE_CHECKING:
    from luthier.parts.duplicates.clusters import Cluster, Copy, Find, Finder
    from luthier.parts.duplicates.near import Progress, Warn


class NearDuplicates(RecordsCheck):
    """Finds every row of a cluster of copies but those that stay. `score` is the Jaccard with the row that stays."""

    threshold: float = Field(default=0.8, gt=0, le=1, description="Jaccard of the shingles from which two rows are near copies")
    unit: Literal["characters", "words"] = Field(default="characters", description="what a shingle is made of")
    size: int = Field(default=5, ge=1, le=64, description="units of a shingle")
    num_perm: int = Field(default=128, ge=8, le=1024, description="values of a MinHash")
    seed: int = Field(default=13, ge=0, description="of the hash functions")
    same: Literal["prompt", "row"] = Field(default="row", description="what is compared")
    keep: Literal["longest", "first", "heaviest"] = Field(default="longest", description="the row of a cluster that stays")
    numbers: bool = Field(default=True, description="rows whose numbers differ are no near copies")

    def __call__(self, records: Sequence[Record]) -> list[RowFinding]:
        """One finding for each row that would go, in the order of the rows; `others` is the row that stays."""
        return findings_of(self.clusters(records), records)

    def clusters(self, records: Sequence[Record], progress: Progress | None = None) -> list[Cluster]:
        """Clusters of two or more rows, largest first. Raises MachineError without rensa, UserError for settings that do not fit."""
        from luthier.parts.duplicates.clusters import Rule, find_clusters

        return find_clusters(records, Rule(self.same, self.keep, self.numbers), "near", self.finder(progress))

    def finder(self, progress: Progress | None = None, warn: Warn | None = None) -> Find:
        """What finds near copies among texts, with these settings. warn: see `NearFinder`."""
        import numpy as np

        from luthier.parts.duplicates.near import NearFinder, Sketch, silent
        from luthier.parts.duplicates.shingles import Shingling

        def find(texts: list[str], sides: np.ndarray) -> Finder:
            sketch = Sketch(self.threshold, self.num_perm, self.seed)
            return NearFinder(texts, sides, Shingling(self.unit, self.size), sketch, progress or silent, warn)

        return find


def findings_of(clusters: Sequence[Cluster], records: Sequence[Record]) -> list[RowFinding]:
    """What clusters say about the rows that would go, in the order of the rows."""
    found = [RowFinding(c.row, describe_copy(c, str(records[c.of].source)), c.likeness, (c.of,)) for k in clusters for c in k.copies]
    return sorted(found, key=lambda f: f.row)


def describe_copy(copy: Copy, stays: str) -> str:
    """In words: how a row repeats the one at `stays`."""
    return {
        "exact": f"exact duplicate of {stays}",
        "normalised": f"duplicate of {stays} but for case, punctuation or spaces",
        "near": f"near duplicate of {stays} (Jaccard {copy.likeness:.2f})",
        "semantic": f"semantic duplicate of {stays} (cosine {copy.likeness:.2f})",
    }[copy.kind]
