"""Bare: the training and validation rows of a division without their system message, for models that read the text alone.

One decision: rows keep their id and key, so a classifier and a prompted model answer the same rows and can be paired; the
test rows are left out, so nothing that is built on this can see them.
"""

from __future__ import annotations

from dataclasses import replace

from luthier.core.artifacts import Dataset
from luthier.core.records import Example, write_records
from luthier.core.rows import read_split
from luthier.core.stage import Context, Stage

SPLITS = ("train", "validation")


class Bare(Stage[Dataset]):
    """`dataset` with the user's messages and the answer of each training and validation row."""

    dataset: Stage[Dataset]

    def build(self, ctx: Context) -> Dataset:
        """Leaves `train.jsonl` and `validation.jsonl`. Raises UserError when the division lacks one of them."""
        source = ctx.get(self.dataset)
        counts = {split: write_records(ctx.dir / f"{split}.jsonl", map(_bare, read_split(source, split))) for split in SPLITS}
        return source.result.model_copy(update={"files": {s: f"{s}.jsonl" for s in SPLITS}, "counts": counts, "ledger": {}, "findings": 0})


def _bare(row: Example) -> Example:
    return replace(row, messages=tuple(m for m in row.messages if m.role != "system"))
