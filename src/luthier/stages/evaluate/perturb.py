"""Perturb: the sealed rows with what they ask changed a little, each under the key of the row that it was made from.

One decision: only the row's own text is changed. It is the last user message without what all rows have in common at its beginning and
its end (the words of a template), and, in it, words of the row's own answer stay as they are, so that the answer stays right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from luthier.core.artifacts import Dataset
from luthier.core.errors import UserError
from luthier.core.files import write_json
from luthier.core.records import Example, write_records
from luthier.core.rows import read_split
from luthier.core.stage import Context, Stage
from luthier.parts.perturbations.contract import Perturbation, words_of
from luthier.parts.perturbations.loading import PerturbationConfig


class Perturb(Stage[Dataset]):
    """`perturbation` of every row of `split`; rows that it cannot change are left out and counted in the ledger's figures."""

    dataset: Stage[Dataset]
    perturbation: PerturbationConfig
    split: Literal["validation", "test"] = "test"

    def build(self, ctx: Context) -> Dataset:
        """Leaves `<split>.jsonl` and `left_out.json`. Raises UserError where no row can be changed."""
        source = ctx.get(self.dataset)
        rows: list[Example] = read_split(source, self.split)
        changed = perturbed(rows, self.perturbation)
        if not changed:
            spoken = f" (its lists are {self.perturbation.language})" if self.perturbation.language else ""
            must = f"{self.perturbation.kind} must be able to change at least one {self.split} row{spoken}"
            raise UserError(must, f"0 of {len(rows)}", "evaluate.perturbations", "leave it out")
        write_records(ctx.dir / f"{self.split}.jsonl", changed)
        write_json(ctx.dir / "left_out.json", {"rows": len(rows), "changed": len(changed)})
        kept = {"files": {self.split: f"{self.split}.jsonl"}, "counts": {self.split: len(changed)}, "findings": 0}
        return source.result.model_copy(update={**kept, "ledger": {"changed": len(changed), "dropped": len(rows) - len(changed)}})


def perturbed(rows: Sequence[Example], perturbation: Perturbation) -> list[Example]:
    """The rows that the perturbation changes, changed; ids and keys stay those of the rows."""
    before, after = shared_edges([_asked(row) for row in rows])
    out = []
    for row in rows:
        text = _asked(row)
        own = text[len(before) : len(text) - len(after)]
        new = perturbation(own, row.key, words_of(row.reference))
        if new != own:
            out.append(_with_asked(row, before + new + after))
    return out


def shared_edges(texts: Sequence[str]) -> tuple[str, str]:
    """What all texts have in common at their beginning and at their end, in whole words; nothing for fewer than two different texts."""
    if len(set(texts)) < 2:
        return "", ""
    before = _common_beginning(texts)
    while before and not before[-1].isspace():
        before = before[:-1]
    rests = [text[len(before) :] for text in texts]
    after = _common_beginning([rest[::-1] for rest in rests])[::-1]
    while after and not after[0].isspace():
        after = after[1:]
    return before, after


def _common_beginning(texts: Sequence[str]) -> str:
    """The first and the last in the order of characters have in common what all have."""
    first, last = min(texts), max(texts)
    return first[: next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]


def _asked(row: Example) -> str:
    """The last user message."""
    return next((m.content for m in reversed(row.prompt) if m.role == "user"), "")


def _with_asked(row: Example, text: str) -> Example:
    last = max(i for i, m in enumerate(row.prompt) if m.role == "user")
    return replace(row, messages=(*row.messages[:last], replace(row.messages[last], content=text), *row.messages[last + 1 :]))
