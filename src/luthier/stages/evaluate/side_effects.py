"""Side effects: what training did besides the task, measured after it: forgetting on a general probe, and memorisation.

One decision: base and tuned model read the very same token sequences, those of the tuned model's renderer, so every comparison
is paired row by row; the sealed test rows are never read here.
"""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from luthier.core.artifacts import BaseModel, Checkpoint, Effects, Prepared
from luthier.core.canaries import PLANTED, Canary, read_canaries
from luthier.core.events import Note, Progress
from luthier.core.files import write_json
from luthier.core.keys import SourceFile
from luthier.core.stage import Context, Stage
from luthier.parts.probe import Losses, Question, losses_of, probe_change, read_probe, rendered
from luthier.report.sections import Estimate
from luthier.report.side_effect_words import forgetting, memorisation
from luthier.report.side_effects import CanaryExposure, Membership, ProbeRow, SideEffects
from luthier.stages.evaluate.model import load_model

if TYPE_CHECKING:
    from luthier.engine.contract import Engine, TokenSequence
    from luthier.engine.text.load import AnyRenderer

FILE = "side_effects.json"
WORST = 6
Sequences = Sequence["TokenSequence"]


class MeasureEffects(Stage[Effects]):
    """`tuned` against `base` on the probe, on training rows and unseen rows, and on canaries where `prepared` has some."""

    base: Stage[BaseModel]
    tuned: Stage[Checkpoint]
    prepared: Stage[Prepared]
    probe: SourceFile
    margin: float = Field(default=0.05, ge=0)
    rows: int = Field(default=200, ge=2)
    settings: dict[str, str | int | float | bool | None] = {}

    def build(self, ctx: Context) -> Effects:
        """Leaves `side_effects.json` (`report.side_effects.SideEffects`) and says both verdicts."""
        from luthier.engine.loading import load_for

        base, prepared = ctx.get(self.base).result, ctx.get(self.prepared)
        engine, renderer = load_model(ctx.get(self.tuned), ctx.execution)
        writes = base.kind != "encoder"
        questions = read_probe(Path(self.probe.path)) if writes else ()
        train, unseen = self._sample(prepared.path, "train"), self._sample(prepared.path, "validation")
        groups = [[rendered(q.example(), renderer) for q in questions], train, unseen]
        canaries = read_canaries(prepared.path)
        after = losses(engine, groups, ctx, "tuned")
        exposures = tuple(_exposures(canaries, engine, renderer, ctx))
        before = None
        if writes:
            del engine
            gc.collect()  # one model in memory at a time
            before = losses(load_for(renderer, Path(base.folder), None, ctx.execution, seed=0), groups, ctx, "base")
        forgot = None
        if before is not None:
            forgot = forgetting(probe_change(before[0], after[0]), self.margin, _worst(questions, before, after), self.settings)
        remembered = memorisation(membership(before, after), exposures, self.settings)
        found = SideEffects(forgetting=forgot, memorisation=remembered, planted_rows=sum(c.repeats for c in canaries))
        write_json(ctx.dir / FILE, found.model_dump(mode="json"))
        for verdict in (forgot, remembered):
            if verdict is not None:
                ctx.observer(Note(verdict.text, "warning" if verdict.finding in ("forgotten", "memorised") else "info"))
        return Effects(forgetting=forgot.finding if forgot else "not measured", memorisation=remembered.finding)

    def _sample(self, folder: Path, split: str) -> list[TokenSequence]:
        """At most `rows` prepared rows of a split, drawn by seed; planted ones are no data and left out."""
        from luthier.engine.text.prepared import read_prepared

        found = read_prepared(folder, split)
        own = [s for key, s in zip(found.keys, found.sequences, strict=True) if not key.startswith(PLANTED)]
        order = np.random.default_rng([0, len(own)]).permutation(len(own))
        return [own[i] for i in sorted(order[: self.rows])]


def losses(engine: Engine, groups: Sequence[Sequences], ctx: Context, name: str) -> list[Losses]:
    """The losses of each group of sequences under the engine's weights; Ctrl-C is answered between micro-batches."""

    def tell(done: int, total: int) -> None:
        ctx.observer(Progress("side effects", done, total, f"rows, {name} model"))
        if ctx.stop_requested():
            ctx.stop(f"measuring side effects ({done} of {total} rows of the {name} model); this starts over")

    found = iter(engine.logprobs([s for group in groups for s in group], tell))
    return [losses_of([next(found) for _ in group]) for group in groups]


def membership(before: list[Losses] | None, after: list[Losses]) -> Membership:
    """Training rows (the second group) against unseen ones (the third): by the fall of their loss, or by the loss without a base."""
    from luthier.stats.separation import auc

    scores = [-x.mean for x in after] if before is None else [b.mean - a.mean for b, a in zip(before, after, strict=True)]
    e = auc(scores[1], scores[2])
    found = Estimate(value=e.value, low=e.low, high=e.high, n=e.n, method=e.method)
    return Membership(num_train=len(scores[1]), num_unseen=len(scores[2]), calibrated=before is not None, auc=found)


def _exposures(canaries: tuple[Canary, ...], engine: Engine, renderer: AnyRenderer, ctx: Context) -> list[CanaryExposure]:
    """The exposure of the canaries, by the number of their repeats."""
    from luthier.stats.separation import exposure

    groups = [[rendered(c.example(answer), renderer) for answer in (c.answer, *c.references)] for c in canaries]
    ranks: dict[int, list[int]] = {}
    for canary, found in zip(canaries, losses(engine, groups, ctx, "tuned") if groups else (), strict=True):
        ranks.setdefault(canary.repeats, []).append(1 + int((found.total[1:] <= found.total[0]).sum()))
    out = []
    for repeats, own in sorted(ranks.items()):
        r = exposure(np.array(own), len(canaries[0].references))
        e = Estimate(value=r.exposure.value, low=r.exposure.low, high=r.exposure.high, n=r.exposure.n, method=r.exposure.method)
        out.append(CanaryExposure(repeats=repeats, num_canaries=len(own), exposure=e, chance=r.chance, most=r.most, p=r.p))
    return out


def _worst(questions: Sequence[Question], before: list[Losses], after: list[Losses]) -> tuple[ProbeRow, ...]:
    """The rows of the probe that lost most."""
    one, two = before[0].mean, after[0].mean
    order = np.argsort(one - two, kind="stable")[:WORST]
    return tuple(ProbeRow(prompt=questions[i].prompt, answer=questions[i].answer, before=float(one[i]), after=float(two[i])) for i in order)
