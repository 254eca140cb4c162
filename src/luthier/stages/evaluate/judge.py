"""Judge: the paired verdict of a tuned model against its opponent, on the same sealed rows.

One decision: rows are paired by key and both sides must hold the very same keys; anything else is refused
instead of being intersected.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from luthier.core.artifacts import Predictions, Verdict
from luthier.core.errors import UserError
from luthier.core.files import write_json
from luthier.core.stage import Built, Context, Stage
from luthier.parts.scorers import ScorerConfig
from luthier.stages.evaluate.predictions import read_predictions


class Judge(Stage[Verdict]):
    """Better, not proven or worse (DESIGN section 6)."""

    version: ClassVar[int] = 2  # Tango's interval

    tuned: Stage[Predictions]
    baseline: Stage[Predictions]
    metric: ScorerConfig
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    seed: int = 0

    def build(self, ctx: Context) -> Verdict:
        """Leaves `verdict.json`."""
        verdict = compare(ctx.get(self.tuned), ctx.get(self.baseline), self.metric, self.alpha, self.seed)
        write_json(ctx.dir / "verdict.json", verdict.model_dump(mode="json"))
        return verdict


def paired(tuned: Built[Predictions], baseline: Built[Predictions]) -> list[tuple[dict, dict]]:
    """Rows of both sides by key, in the tuned side's order. Raises UserError when the keys differ."""
    left, right = read_predictions(tuned.path), {r["key"]: r for r in read_predictions(baseline.path)}
    keys = {r["key"] for r in left}
    if keys != set(right):
        only = len(keys ^ set(right))
        raise UserError(
            "both sides must have answered the same rows",
            f"{only} rows that only one side answered",
            "compare",
            "evaluate both on the same split",
        )
    return [(r, right[r["key"]]) for r in left]


def compare(tuned: Built[Predictions], baseline: Built[Predictions], metric: ScorerConfig, alpha: float, seed: int) -> Verdict:
    """The verdict of two finished evaluations."""
    from luthier.parts.scorers.summary import judge_pairs

    rows = paired(tuned, baseline)
    return judge_pairs(metric, [a for a, _ in rows], [b for _, b in rows], alpha, seed)
