"""SQL: does the answer's query give the rows that the row's own query gives, on a SQLite database of yours?

One decision: rows are compared as a bag, and in order only where the row's own query orders them; columns by place, not by name. A row
whose own query gives nothing is matched by any query that gives nothing: their share is reported as `empty_references`, and
`empty: unscored` leaves them out of the figure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from luthier.core.errors import UserError
from luthier.core.keys import SourceFile
from luthier.core.records import Example
from luthier.parts.scorers.fenced import code_of
from luthier.parts.scorers.scorer import WRITING, Measure, Score, Scorer, refuse_empty_references
from luthier.parts.scorers.sql_run import QueryFailed, Rows, is_ordered, run_query


class SqlMatch(Scorer):
    """1 when both queries give the same rows (execution accuracy). The database is read and never written."""

    measure: ClassVar[Measure] = "binary"
    tasks: ClassVar[tuple[str, ...]] = WRITING

    kind: Literal["sql_match"] = "sql_match"
    database: SourceFile = Field(description="the SQLite file")
    seconds: float = Field(default=5.0, gt=0, le=600, description="the longest that one query may run")
    order: Literal["as_reference", "always", "never"] = Field(default="as_reference", description="when the order of rows counts")
    empty: Literal["scored", "unscored"] = Field(
        default="scored", description="rows whose own query gives nothing; `unscored`: they prove nothing and have no score"
    )

    def __call__(self, example: Example, output: str) -> Score:
        wanted = self._wanted(example)
        if not wanted and self.empty == "unscored":
            return Score(None, {"reason": "the row's own query gives nothing", "wanted_rows": 0})
        query = code_of(output).strip()
        if not query:
            return Score(0.0, {"reason": "the answer has no query", "wanted_rows": len(wanted)})
        try:
            given = run_query(Path(self.database.path), query, self.seconds)
        except QueryFailed as err:
            return Score(0.0, {"reason": str(err), "wanted_rows": len(wanted)})
        ordered = self.order == "always" or (self.order == "as_reference" and is_ordered(example.reference))
        right = given == wanted if ordered else Counter(given) == Counter(wanted)
        return Score(float(right), {"wanted_rows": len(wanted), "given_rows": len(given)})

    def check(self, examples: Sequence[Example]) -> None:
        """Every row's own query must run before a model is asked."""
        refuse_empty_references(self, examples)
        found = [self._wanted(example) for example in examples]
        if self.empty == "unscored" and not any(found):
            must = "sql_match with `empty: unscored` needs a row whose own query gives something"
            raise UserError(must, f"{len(found)} rows whose queries give nothing", self.database.path)

    def parts(self, scores: Sequence[Score]) -> dict[str, float]:
        """The shares of rows whose own query gives nothing, and of answers that could not be run."""
        if not scores:
            return {}
        return {
            "empty_references": sum(s.details.get("wanted_rows") == 0 for s in scores) / len(scores),
            "failed": sum("reason" in s.details for s in scores) / len(scores),
        }

    def _wanted(self, example: Example) -> Rows:
        try:
            return run_query(Path(self.database.path), code_of(example.reference), self.seconds)
        except QueryFailed as err:
            where = f"{example.source} on {self.database.path}"
            raise UserError("a row scored by sql_match must have a query that runs as its answer", str(err), where) from None
