"""Rows that say what another row says in other words, as a small encoder sees it.

One decision: this is a check to ask for, never a default: an encoder calls texts alike that differ in what matters (names
swapped, a "not" added), so its clusters are for a person to read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from luthier.core.records import Record
from luthier.parts.checks.contract import RecordsCheck, RowFinding
from luthier.parts.checks.near_duplicates import findings_of

if TYPE_CHECKING:
    from luthier.parts.duplicates.clusters import Cluster, Find, Finder
    from luthier.parts.duplicates.near import Progress


class SemanticDuplicates(RecordsCheck):
    """Finds every row of a cluster of copies but those that stay. `score` is the cosine with the row that stays."""

    threshold: float = Field(default=0.95, gt=0, le=1, description="cosine of the embeddings from which two rows are copies")
    encoder: str = Field(default="minilm-l6", min_length=1, description="the base model that embeds")
    same: Literal["prompt", "row"] = Field(default="row", description="what is compared")
    keep: Literal["longest", "first", "heaviest"] = Field(default="longest", description="the row of a cluster that stays")
    numbers: bool = Field(default=True, description="rows whose numbers differ are no copies")

    def __call__(self, records: Sequence[Record]) -> list[RowFinding]:
        """One finding for each row that would go, in the order of the rows; `others` is the row that stays."""
        return findings_of(self.clusters(records), records)

    def clusters(self, records: Sequence[Record], progress: Progress | None = None) -> list[Cluster]:
        """Clusters of two or more rows, largest first. Raises UserError or MachineError when the encoder cannot be had."""
        from luthier.parts.duplicates.clusters import Rule, find_clusters

        return find_clusters(records, Rule(self.same, self.keep, self.numbers), "semantic", self.finder(progress))

    def finder(self, progress: Progress | None = None) -> Find:
        """What finds semantic copies among texts, with these settings."""
        import numpy as np

        from luthier.parts.duplicates.near import silent
        from luthier.parts.duplicates.semantic import SemanticFinder, embedded

        def find(texts: list[str], sides: np.ndarray) -> Finder:
            say = progress or silent
            return SemanticFinder(embedded(texts, self.encoder, say), sides, self.threshold, say)

        return find
