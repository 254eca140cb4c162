"""Prepare: training and validation rows as token ids with the weights of trained tokens, and the length report.

One decision: nothing is cut or left out without being asked for: a row that is too long is an error until the project
declares what should happen to it, and then every such row is in the ledger with what was done.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from luthier.core.artifacts import BaseModel, Dataset, Prepared
from luthier.core.config import Config
from luthier.core.errors import UserError
from luthier.core.events import Note, Progress
from luthier.core.files import write_json
from luthier.core.ledger import LedgerEntry, append_ledger, merge_ledgers
from luthier.core.records import Example, Text
from luthier.core.rows import choices_of, read_split
from luthier.core.stage import Built, Context, Stage
from luthier.stages.data.lengths import describe_lengths
from luthier.stages.data.too_long import TooLong, fit, sequence_of, size_of

if TYPE_CHECKING:
    from luthier.engine.contract import TokenSequence
    from luthier.engine.text.load import AnyRenderer
    from luthier.engine.text.plain import TextRenderer

STEP = "prepare"
_EVERY = 100
_SHOWN = 5


class PreparePlan(Config):
    """How rows become tokens."""

    max_length: int | None = Field(default=None, ge=8, description="tokens of a whole row; the model's context when not given")
    too_long: TooLong = "error"
    train_on: Literal["answers", "last"] = Field(default="answers", description="every answer of a conversation, or the last one")


@dataclass
class _Split:
    """What becomes of one split while it is prepared."""

    rows: list[tuple[str, TokenSequence]] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    trained: list[int] = field(default_factory=list)
    entries: list[LedgerEntry] = field(default_factory=list)
    too_long: list[tuple[str, int]] = field(default_factory=list)

    def fates(self, fate: str) -> int:
        return sum(e.fate == fate for e in self.entries)


class Prepare(Stage[Prepared]):
    """Render the training and validation rows of `dataset` with the chat template of `base`."""

    base: Stage[BaseModel]
    dataset: Stage[Dataset]
    plan: PreparePlan = PreparePlan()

    def build(self, ctx: Context) -> Prepared:
        """Leaves `<split>.safetensors`, `<split>.keys.json`, `renderer/`, `lengths.json` and `ledger.jsonl`.

        Raises UserError for rows that cannot be rendered, that are too long under `error`, or when none is left.
        """
        from luthier.engine.text.prepared import write_prepared

        base, dataset = ctx.get(self.base).result, ctx.get(self.dataset)
        if dataset.result.kind not in ("example", "text"):
            must = "training needs rows with a prompt and an answer, or raw text"
            raise UserError(must, f"rows of kind {dataset.result.kind}", "data")
        if dataset.result.kind == "text" and base.kind != "decoder":
            raise UserError("only a decoder is trained on raw text", f"an {base.kind} as base", "base")
        limit = self._limit(base)
        renderer = self._renderer(base, dataset, limit, ctx)
        splits = {}
        for split in ("train", "validation"):
            if split == "train" or dataset.result.counts.get(split):
                splits[split] = self._split(ctx, split, read_split(dataset, split), renderer, limit)
        self._refuse(splits, limit)
        renderer.save(ctx.dir / "renderer")
        for split, done in splits.items():
            write_prepared(ctx.dir, split, done.rows)
        merge_ledgers(ctx.dir / "ledger.jsonl", [p for p in [dataset.path / "ledger.jsonl"] if p.exists()])
        append_ledger(ctx.dir / "ledger.jsonl", [e for done in splits.values() for e in done.entries])
        write_json(ctx.dir / "lengths.json", self._report(splits, limit, base))
        self._tell(ctx, splits)
        return Prepared(
            renderer_hash=renderer.hash,
            counts={split: len(done.rows) for split, done in splits.items()},
            tokens={split: sum(len(s.tokens) for _, s in done.rows) for split, done in splits.items()},
            trained_tokens={split: sum(int((s.weights != 0).sum()) for _, s in done.rows) for split, done in splits.items()},
            max_length=limit,
            labels=dataset.result.labels,
        )

    def _renderer(self, base: BaseModel, dataset: Built[Dataset], limit: int, ctx: Context) -> AnyRenderer:
        from luthier.engine.text.renderer import Renderer, RenderPolicy

        if base.kind != "decoder":
            return text_renderer(base, dataset, limit, self.plan.too_long)
        renderer = Renderer.from_model(Path(base.folder), RenderPolicy(train_on="all" if self.plan.train_on == "answers" else "last"))
        if renderer.style.origin == "plain":
            ctx.observer(Note(f"{base.name} has no chat template; a plain one is used (User: ... Assistant: ...)", "warning"))
        return renderer

    def _limit(self, base: BaseModel) -> int:
        asked = self.plan.max_length
        if asked is not None and base.context_length and asked > base.context_length:
            raise UserError(f"`max_length` must fit the model's context of {base.context_length}", asked, "prepare.max_length")
        if asked is None and not base.context_length:
            raise UserError("`max_length` must be given: the model states no longest text", None, "prepare.max_length", "for example 512")
        return asked or base.context_length

    def _split(self, ctx: Context, split: str, rows: Sequence[Example | Text], renderer: AnyRenderer, limit: int) -> _Split:
        done = _Split()
        for i, row in enumerate(rows):
            if i % _EVERY == 0:
                ctx.observer(Progress(STEP, i, len(rows), f"{split} rows"))
                if ctx.stop_requested():
                    ctx.stop(f"preparing {split} rows ({i} of {len(rows)}); this starts over")
            self._row(done, row, renderer, limit)
        ctx.observer(Progress(STEP, len(rows), len(rows), f"{split} rows"))
        return done

    def _row(self, done: _Split, row: Example | Text, renderer: AnyRenderer, limit: int) -> None:
        if row.weight < 0:
            raise UserError("a row's weight must not be negative", row.weight, str(row.source))
        if row.weight == 0:
            done.entries.append(_entry(row, "dropped", "its weight is 0: nothing to train on"))
            return
        whole = sequence_of(row, renderer)
        size = size_of(row, whole, renderer)
        done.lengths.append(size)
        done.trained.append(int((whole.weights != 0).sum()))
        if size <= limit:
            done.rows.append((row.key, whole))
            return
        done.too_long.append((str(row.source), size))
        if self.plan.too_long == "error":
            return
        fitted = fit(row, whole, limit, self.plan.too_long, renderer)
        for number, sequence in enumerate(fitted.sequences, 1):
            done.rows.append((row.key if number == 1 else f"{row.key}#{number}", sequence))
        done.entries.append(_entry(row, "changed" if fitted.sequences else "dropped", fitted.reason))

    def _refuse(self, splits: dict[str, _Split], limit: int) -> None:
        """Raise UserError for rows that are too long under `error`, or when no training row is left."""
        long = [place for done in splits.values() for place in done.too_long]
        if long and self.plan.too_long == "error":
            named = ", ".join(f"{source} ({size})" for source, size in long[:_SHOWN]) + (", ..." if len(long) > _SHOWN else "")
            fix = "raise prepare.max_length, or say what to do: `too_long: drop`, `cut_start`, `cut_end` or `split`"
            rows = f"{len(long):,} longer {'row' if len(long) == 1 else 'rows'}: {named}"
            raise UserError(f"every row must have at most {limit} tokens", rows, "prepare.max_length", fix)
        if not splits["train"].rows:
            reason = splits["train"].entries[0].reason if splits["train"].entries else "no rows"
            raise UserError("at least one training row must be left", f"none ({reason})", "prepare")

    def _report(self, splits: dict[str, _Split], limit: int, base: BaseModel) -> dict[str, Any]:
        """`lengths.json`: the training rows' figures at the top, every split's below `splits`."""
        figures = {split: describe_lengths(done.lengths, done.trained, base.context_length) for split, done in splits.items()}
        cut = {split: done.fates("changed") for split, done in splits.items()}
        dropped = {split: done.fates("dropped") for split, done in splits.items()}
        return {
            **figures["train"],
            "max_length": limit,
            "context_length": base.context_length,
            "policy": self.plan.too_long,
            "num_cut": cut["train"],
            "num_dropped": dropped["train"],
            "splits": {split: {**figures[split], "num_cut": cut[split], "num_dropped": dropped[split]} for split in splits},
        }

    def _tell(self, ctx: Context, splits: dict[str, _Split]) -> None:
        for split, done in splits.items():
            if done.entries:
                cut, dropped = done.fates("changed"), done.fates("dropped")
                ctx.observer(
                    Note(f"{split}: {cut:,} rows cut or split, {dropped:,} dropped; each with its reason in ledger.jsonl", "warning")
                )


def text_renderer(base: BaseModel, dataset: Built[Dataset], limit: int, too_long: TooLong) -> TextRenderer:
    """The renderer of an encoder or encoder-decoder. Raises UserError for answers or a policy that it cannot have."""
    from luthier.engine.text.answers import answers_of
    from luthier.engine.text.plain import TextPolicy, TextRenderer

    if too_long == "split":
        raise UserError("a text that is classified or rewritten is one piece", "too_long: split", "prepare.too_long", "use cut_end or drop")
    answers = None
    if base.kind == "encoder":
        answers = answers_of(dataset.result.answers, choices_of(dataset))
        if answers is None:
            must = "an encoder answers with a label, several labels or a number"
            fix = "map the data with kind classification, multi_label or regression, or choose a decoder"
            raise UserError(must, "rows whose answers are free text", "data.mapping.kind", fix)
    cut = {"cut_start": "start", "cut_end": "end"}.get(too_long, "none")
    return TextRenderer.from_model(Path(base.folder), TextPolicy.model_validate({"max_length": limit, "cut": cut}), answers)


def _entry(row: Example | Text, fate: Literal["changed", "dropped"], reason: str) -> LedgerEntry:
    return LedgerEntry(row.key, row.id, str(row.source), STEP, fate, reason)


def read_lengths(folder: Path) -> dict[str, Any]:
    """The length report of a Prepared artifact."""
    return json.loads((folder / "lengths.json").read_text(encoding="utf-8"))
