"""The general probe while training goes on: how far its loss is above that before the first step, with an interval, at each evaluation.

One decision: it is watched and never acted on: no checkpoint is chosen by it, so it is no part of the training's key, and another
probe trains nothing again. That the model forgets is said once, when it is first proven.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from luthier.core.config import Config
from luthier.core.errors import CorruptArtifact
from luthier.core.events import Note, Progress
from luthier.core.files import make_folder, write_json
from luthier.core.keys import SourceFile
from luthier.core.stage import Context
from luthier.parts.probe import Losses, losses_of, probe_change, read_probe, rendered
from luthier.report.remedies import Settings
from luthier.report.side_effect_words import forgetting

if TYPE_CHECKING:
    from luthier.engine.contract import Engine, TokenSequence
    from luthier.engine.text.load import AnyRenderer
    from luthier.report.side_effects import Forgetting

CURVE = "nats_above_start"
BEFORE = "scratch/general.json"
"""The losses before the first step, for a resume, and whether forgetting has been said."""


class GeneralPlan(Config):
    """The probe's file, and how many nats a token its loss may rise before that is called forgetting."""

    probe: SourceFile
    margin: float = Field(default=0.05, ge=0)


@dataclass(frozen=True)
class General:
    """Callable with a step; returns `general/nats_above_start` and the ends of its interval. settings: of the recipe, for remedies."""

    engine: Engine
    rows: list[TokenSequence]
    margin: float
    settings: Settings
    ctx: Context

    @classmethod
    def of(cls, plan: GeneralPlan, engine: Engine, renderer: AnyRenderer, settings: Settings, ctx: Context) -> General:
        """Raises UserError for a probe that cannot be read."""
        rows = [rendered(q.example(), renderer) for q in read_probe(Path(plan.probe.path))]
        return cls(engine, rows, plan.margin, settings, ctx)

    def __call__(self, step: int) -> dict[str, float]:
        """Nothing before the first step: that is what later losses are compared with."""
        after = losses_of(self.engine.logprobs(self.rows, self._tell))
        if step == 0:
            self._keep(after, said=False)
            return {}
        before, said = self._kept()
        probe = probe_change(before, after)
        change = probe[2]
        if change.low > self.margin and not said:
            self._say(forgetting(probe, self.margin, (), self.settings), step)
            self._keep(before, said=True)
        ends = {"general": change.value, "general_low": change.low, "general_high": change.high}
        return {f"{name}/{CURVE}": value for name, value in ends.items()}

    def _say(self, found: Forgetting, step: int) -> None:
        tried = "; ".join(f"`{r.line}` ({r.advice})" if r.line else f"{r.setting}: {r.advice}" for r in found.remedies[:3])
        self.ctx.observer(Note(f"forgotten, seen at step {step}: {found.text} To try: {tried}", "warning"))

    @property
    def _file(self) -> Path:
        return self.ctx.dir / BEFORE

    def _keep(self, losses: Losses, said: bool) -> None:
        make_folder(self._file.parent)
        write_json(self._file, {"total": losses.total.tolist(), "tokens": losses.tokens.tolist(), "said": said})

    def _kept(self) -> tuple[Losses, bool]:
        try:
            body = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as err:
            raise CorruptArtifact(f"{self._file} cannot be read ({err}); delete {self.ctx.dir} and run the same command again") from None
        return Losses(np.array(body["total"]), np.array(body["tokens"])), bool(body["said"])

    def _tell(self, done: int, total: int) -> None:
        self.ctx.observer(Progress("evaluation", done, total, "general rows"))
        if self.ctx.stop_requested():
            self.ctx.stop("what was trained is saved; the evaluation that was under way starts over")
