"""Reading the rows of a dataset artifact: one split, and the answer texts of its labels."""

from __future__ import annotations

from typing import Any

from luthier.core.artifacts import Dataset
from luthier.core.errors import UserError
from luthier.core.records import read_records
from luthier.core.stage import Built


def read_split(dataset: Built[Dataset], split: str) -> list[Any]:
    """The records of one split, in order. Raises UserError when the dataset has none."""
    name = dataset.result.files.get(split)
    rows = read_records(dataset.path / name) if name else []
    if not rows:
        have = ", ".join(f"{s} ({n})" for s, n in dataset.result.counts.items())
        raise UserError(f"the dataset must have {split} rows", f"none; it has {have}", f"split.{split}")
    return rows


def choices_of(dataset: Built[Dataset]) -> tuple[str, ...]:
    """The answer text of each label, in label order; empty when rows have no labels."""
    text_of: dict[str, str] = {}
    for name in dataset.result.files.values():
        for row in read_records(dataset.path / name) if dataset.result.labels else []:
            if row.label is not None:
                text_of.setdefault(row.label, row.reference)
    return tuple(text_of.get(label, label) for label in dataset.result.labels)
