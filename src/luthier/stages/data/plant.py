"""Plant: canaries among the prepared training rows, so that what the model remembers of them can be measured afterwards.

One decision: a canary is drawn together with its references, from one distribution, and which of them is planted is the first
of the draw: before training nothing tells them apart, so the rank of a canary that was not learned is uniform.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from luthier.core.artifacts import Prepared
from luthier.core.canaries import PLANTED, Canary, write_canaries
from luthier.core.config import Config
from luthier.core.errors import UserError
from luthier.core.events import Note
from luthier.core.files import files_below, write_bytes
from luthier.core.ledger import LedgerEntry, append_ledger
from luthier.core.stage import Context, Stage

if TYPE_CHECKING:
    from luthier.engine.contract import TokenSequence
    from luthier.engine.text.load import AnyRenderer

STEP = "plant"
DIGITS = 9
CONSONANTS, VOWELS = "bdfgklmnprstvz", "aeiou"


class CanaryPlan(Config):
    """How many canaries of each number of repeats, and against how many references each is ranked."""

    count: int = Field(ge=1, le=1000)
    repeats: tuple[int, ...] = Field(default=(1,), min_length=1)
    references: int = Field(default=255, ge=15, le=10_000)
    seed: int = Field(default=0, ge=0)


class Plant(Stage[Prepared]):
    """`prepared` with canaries added to its training rows."""

    prepared: Stage[Prepared]
    plan: CanaryPlan

    def build(self, ctx: Context) -> Prepared:
        """Leaves what `prepared` has, with more training rows, `canaries.json`, and each canary in the ledger as planted.

        Raises UserError for a renderer whose answers are labels, and for a canary longer than the rows may be.
        """
        from luthier.engine.text.load import load_renderer
        from luthier.engine.text.prepared import read_prepared, write_prepared

        before = ctx.get(self.prepared)
        renderer, canaries = load_renderer(before.path / "renderer"), tuple(draw(self.plan))
        if getattr(renderer, "answers", None) is not None:
            raise UserError("canaries are answers in text", "an encoder, which answers with labels", "watch.canaries", "leave it out")
        split = read_prepared(before.path, "train")
        planted = [row for canary in canaries for row in self._rows(canary, renderer, before.result.max_length)]
        rows = [*zip(split.keys, split.sequences, strict=True), *planted]
        _copy(before.path, ctx.dir)
        write_prepared(ctx.dir, "train", rows)
        write_canaries(ctx.dir, canaries)
        append_ledger(ctx.dir / "ledger.jsonl", [_entry(c) for c in canaries])
        words = f"{len(planted)} rows with {len(canaries)} canaries are planted among {len(split.keys)} training rows; they are no data"
        ctx.observer(Note(words, "warning"))
        return before.result.model_copy(update={"counts": {**before.result.counts, "train": len(rows)}})

    def _rows(self, canary: Canary, renderer: AnyRenderer, limit: int) -> Iterator[tuple[str, TokenSequence]]:
        from luthier.engine.contract import TokenSequence

        found = renderer.render(canary.example(canary.answer).messages, ())
        if len(found.tokens) > limit:
            fix = "raise it, or leave out watch.canaries"
            raise UserError(f"a canary must fit into {limit} tokens", len(found.tokens), "prepare.max_length", fix)
        for number in range(1, canary.repeats + 1):
            yield f"{canary.key}#{number}", TokenSequence(found.tokens, found.weights)


def draw(plan: CanaryPlan) -> Iterator[Canary]:
    """`count` canaries for each number of repeats; prompts and answers are all different."""
    rng = np.random.default_rng([plan.seed, 20190814])
    numbers = rng.choice(10**DIGITS, size=(plan.count * len(plan.repeats), plan.references + 1), replace=False)
    names: set[str] = set()
    for i, row in enumerate(numbers.tolist()):
        name = _name(rng)
        while name in names:
            name = _name(rng)
        names.add(name)
        answer, *references = (f"The code is {n:0{DIGITS}d}." for n in row)
        yield Canary(f"{PLANTED}{i + 1}", f"What is the code of {name}?", answer, plan.repeats[i // plan.count], tuple(references))


def _name(rng: np.random.Generator) -> str:
    letters = [(CONSONANTS, VOWELS)[i % 2][int(rng.integers(len((CONSONANTS, VOWELS)[i % 2])))] for i in range(8)]
    return "".join(letters).capitalize()


def _entry(canary: Canary) -> LedgerEntry:
    times = "once" if canary.repeats == 1 else f"{canary.repeats} times"
    return LedgerEntry(canary.key, "", f"planted {canary.key}", STEP, "planted", f"a canary, {times} among the training rows: no data")


def _copy(source: Path, target: Path) -> None:
    for path in files_below(source):
        name = path.relative_to(source)
        if name.parts[0] in ("record.json", "metrics.jsonl"):
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        write_bytes(target / name, path.read_bytes())
