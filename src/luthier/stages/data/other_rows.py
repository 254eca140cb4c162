"""OtherRows: a test set of another kind, read as the project's rows are, for an evaluation beside the sealed one.

One decision: prompts and labels are those of the project's own rows, so the model is asked in the form that it was trained on and
only the rows differ; a set that holds training rows is refused, because it would measure memory.
"""

from __future__ import annotations

from pydantic import Field

from luthier.core.artifacts import Dataset
from luthier.core.errors import UserError
from luthier.core.rows import read_split
from luthier.core.stage import Built, Context, Stage
from luthier.parts.sources.mapping import Mapping
from luthier.parts.sources.prompt import PromptTemplate
from luthier.stages.data.ingest import DataFile, Ingest

LABELLED = ("classification", "multi_label")


class OtherRows(Stage[Dataset]):
    """Reads `files` as test rows with the labels of `like`, whose training rows must not be among them. name: what messages call it."""

    name: str
    files: tuple[DataFile, ...] = Field(min_length=1)
    mapping: Mapping
    prompt: PromptTemplate | None = None
    strict: bool = False
    repairs: bool = True
    like: Stage[Dataset]

    def build(self, ctx: Context) -> Dataset:
        """Leaves what `Ingest` leaves. Raises UserError for training rows, and what `Ingest` raises, with the set's name."""
        like = ctx.get(self.like)
        labels = self._labels(like.result.labels) if self.mapping.kind in LABELLED else None
        rows = Ingest(files=self.files, mapping=self.mapping, prompt=self.prompt, labels=labels, strict=self.strict, repairs=self.repairs)
        try:
            found = rows.build(ctx)
        except UserError as err:
            where = f"{err.where + ', ' if err.where else ''}evaluate.out_of_domain.{self.name}"
            raise UserError(err.must, err.got, where, err.fix) from None
        self._refuse_training_rows(Built(stage="ingest", key="", path=ctx.dir, result=found), like)
        return found.model_copy(update={"labels": like.result.labels})

    def _labels(self, shown: tuple[str, ...]) -> tuple[str, ...] | None:
        """The labels as they stand in the data, from the words that the model sees."""
        of_word = {word: label for label, word in self.prompt.label_text.items()} if self.prompt else {}
        return tuple(of_word.get(word, word) for word in shown) or None

    def _refuse_training_rows(self, found: Built[Dataset], like: Built[Dataset]) -> None:
        trained = {row.id for row in read_split(like, "train")}
        both = [row for row in read_split(found, "test") if row.id in trained]
        if both:
            raise UserError(
                "an out-of-domain set must hold no training row",
                f"{len(both)} of them, the first at {both[0].source}",
                f"evaluate.out_of_domain.{self.name}",
                "name it under `data.against` too, so that none of its rows is trained on",
            )
