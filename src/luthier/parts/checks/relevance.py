"""Rows that are not about the task, as a small encoder sees it: against rows that are, or against a description.

One decision: rows of the task set the standard where there are some. A row's conformal p-value is the share of them, itself counted
in, that lie as far from their nearest neighbours as it does; so of rows like them no more than `share` is flagged, whatever the encoder,
the neighbours, and the other rows are. A description sets no such standard: there a row is compared with the other rows.
Source: V. Vovk, A. Gammerman, G. Shafer, Algorithmic Learning in a Random World (2005), section 2.2; R. Laxhammar and G. Falkman,
Sequential Conformal Anomaly Detection (2011), for nearest neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from luthier.core.errors import UserError, did_you_mean
from luthier.core.keys import SourceFile
from luthier.core.records import Record
from luthier.parts.checks.contract import RecordsCheck, RowFinding
from luthier.parts.checks.outliers import nearest_cosines
from luthier.parts.checks.perplexity import Of, text_of
from luthier.parts.sources.rows import BadRow, RawRow
from luthier.parts.sources.source import open_rows

if TYPE_CHECKING:
    import numpy as np

_CELLS = 1 << 22  # cosines held at once, several arrays of them
_TIE = 1e-6  # cosines are float32: nearer than this is the same, which is against flagging


class Relevance(RecordsCheck):
    """Finds rows that are unlike rows of the task (`to: {path: FILE}`), or farther from its description (`to: words`) than the others."""

    to: SourceFile | str = Field(
        description="a file of rows of the task, such as validation rows, as `{path: FILE}`; or the task in a few sentences"
    )
    columns: tuple[str, ...] = Field(
        default=("text",), min_length=1, description="of the file: the columns that are read, joined by a line end"
    )
    share: float = Field(default=0.01, gt=0, lt=1, description="with a file: the share of rows like its own that may be flagged")
    above: float = Field(default=3.5, gt=0, description="with a description: modified z-score of the distance from it")
    neighbours: int = Field(default=5, ge=1, le=100, description="with a file: how many of its nearest rows count")
    encoder: str = Field(default="minilm-l6", min_length=1, description="the base model that embeds")
    of: Of = Field(default="prompt", description="what is embedded: system turns and answers that are labels never are")

    def __call__(self, records: Sequence[Record]) -> list[RowFinding]:
        """One finding for each row, in order. Raises UserError for a file that cannot be read or is too small for `share`."""
        from luthier.parts.duplicates.semantic import embedded
        from luthier.parts.duplicates.text import without_frame

        if not records:
            return []
        known = [self.to] if isinstance(self.to, str) else self.texts(Path(self.to.path))
        rows = without_frame([text_of(record, self.of) for record in records])
        embeddings = embedded([*known, *rows], self.encoder)
        told, judged = embeddings[: len(known)], embeddings[len(known) :]
        return self._far(told[0], judged) if isinstance(self.to, str) else self._unlike(told, judged)

    def texts(self, path: Path) -> list[str]:
        """The texts of the file. Raises UserError naming the row or column that is wrong, or for too few rows."""
        found = []
        for item in open_rows(path).items:
            if isinstance(item, BadRow):
                raise UserError("every row of the task must be readable", item.reason, f"{path.name} {item.at}")
            if isinstance(item, RawRow):
                found.append("\n".join(self._text(item, column, path.name) for column in self.columns))
        least = max(round(1 / self.share) - 1, self.neighbours + 1)
        if len(found) < least:
            fix = f"give more rows, or a share of {1 / (len(found) + 1):.2g} or more" if len(found) > self.neighbours else "give more rows"
            raise UserError(f"to flag a share of {self.share:g} takes {least:,} rows of the task", f"{len(found):,}", path.name, fix)
        return found

    def _text(self, row: RawRow, column: str, name: str) -> str:
        value = row.fields.get(column)
        if not isinstance(value, str):
            got = f"no `{column}`" if column not in row.fields else f"{type(value).__name__} in `{column}`"
            raise UserError("rows of the task must have text in `columns`", got, f"{name} {row.at}", did_you_mean(column, row.fields))
        return value

    def _unlike(self, known: np.ndarray, rows: np.ndarray) -> list[RowFinding]:
        values = conformal_p(known, rows, self.neighbours)
        return [
            RowFinding(row, f"unlike the {len(known):,} rows of the task: {p:.2g} of them lie as far from their nearest", 1 - p)
            for row, p in enumerate(values.tolist())
            if p <= self.share + 1e-12
        ]

    def _far(self, description: np.ndarray, rows: np.ndarray) -> list[RowFinding]:
        from luthier.stats.outlying import modified_z

        cosines = rows @ description
        return [
            RowFinding(row, f"far from the task's description: cosine {cosines[row]:.2f}, {score:.1f} deviations below the median")
            for row, score in enumerate(modified_z(1 - cosines).tolist())
            if score > self.above
        ]


def conformal_p(known: np.ndarray, rows: np.ndarray, neighbours: int) -> np.ndarray:
    """float64 [n]: for each of `rows` [n, hidden] its conformal p-value among `known` [m, hidden], m > neighbours; all of unit length.

    The score of a row is its mean cosine with its nearest in the bag of the known rows and the row that is judged, itself left out:
    the same for every row of the bag, so of a row drawn as they were P(p <= a) <= a holds exactly, for any a.
    """
    import numpy as np

    nearest = nearest_cosines(known, neighbours)  # [m, k]
    total, least = nearest.sum(axis=1, dtype=np.float64), nearest.min(axis=1)
    out, block = np.empty(len(rows)), max(1, _CELLS // len(known))
    for top in range(0, len(rows), block):
        cosines = rows[top : top + block] @ known.T  # [b, m]
        own = np.partition(cosines, len(known) - neighbours, axis=1)[:, len(known) - neighbours :].mean(axis=1, dtype=np.float64)
        others = (total + np.maximum(cosines, least) - least) / neighbours  # with the judged row in the bag
        out[top : top + block] = (1 + (others <= own[:, None] + _TIE).sum(axis=1)) / (len(known) + 1)
    return out
