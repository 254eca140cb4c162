"""Figures of one evaluation and the verdict of two, from rows, answers and scorers.

One decision: every figure has an interval that fits its measure: Wilson for right or wrong, BCa bootstrap for means
and corpus figures, and whole groups are resampled when rows have groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from luthier.core.artifacts import Verdict
from luthier.core.errors import UserError
from luthier.core.records import Example, Message, Source
from luthier.parts.scorers.classification import LabelScorer
from luthier.parts.scorers.entity_f1 import EntityF1
from luthier.parts.scorers.number import NumberScorer
from luthier.parts.scorers.scorer import Score, Scorer

if TYPE_CHECKING:
    from luthier.stats.intervals import Estimate
    from luthier.stats.verdict import VerdictResult


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One class: precision, recall and F1 (0 where undefined) over `support` rows that want it."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class Summary:
    """rows: score by metric name for each row. estimates: figure with interval by metric name.

    confusion: rows wanted, columns named, last column `no class`, in the order of `classes`; empty without labels.
    parts: further figures of a metric (precision and recall of entity_f1).
    """

    rows: list[dict[str, float]]
    estimates: dict[str, Estimate]
    classes: tuple[ClassFigures, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    parts: dict[str, dict[str, float]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Everything but the rows as plain JSON values."""
        return {
            "estimates": {name: asdict(e) for name, e in self.estimates.items()},
            "classes": [asdict(c) for c in self.classes],
            "confusion": [list(row) for row in self.confusion],
            "parts": self.parts,
        }


def evaluate(scorers: Sequence[Scorer], examples: Sequence[Example], outputs: Sequence[str], seed: int = 0) -> Summary:
    """Score every answer with every scorer. Raises UserError for no rows, unequal lengths or two scorers of one name."""
    names = [s.name for s in scorers]
    if len(set(names)) < len(names):
        raise UserError("metrics must have different names", ", ".join(names))
    if len(examples) != len(outputs) or not examples:
        raise UserError("there must be one answer for each of at least one row", f"{len(outputs)} answers for {len(examples)} rows")
    scores = {s.name: [s(e, o) for e, o in zip(examples, outputs, strict=True)] for s in scorers}
    groups = [e.group for e in examples]
    labelled = next((s for s in scorers if isinstance(s, LabelScorer)), None)
    return Summary(
        rows=[{name: column[i].value for name, column in scores.items()} for i in range(len(examples))],
        estimates={s.name: estimate(s, scores[s.name], groups, seed) for s in scorers},
        classes=class_figures(labelled, scores[labelled.name]) if labelled else (),
        confusion=tuple(tuple(int(v) for v in row) for row in labelled.confusion(scores[labelled.name])) if labelled else (),
        parts={s.name: s.parts(scores[s.name]) for s in scorers if isinstance(s, (EntityF1, NumberScorer))},
    )


def estimate(scorer: Scorer, scores: Sequence[Score], groups: Sequence[str | None] | None = None, seed: int = 0) -> Estimate:
    """The figure of these rows with its 95 % interval."""
    from luthier.stats.intervals import Resampling, bca, wilson

    grouped = groups if groups is not None and has_groups(groups) else None
    if scorer.measure == "binary" and grouped is None:
        return wilson(sum(s.value for s in scores), len(scores))
    return bca(scorer.counts(scores), scorer.statistic, grouped, Resampling(seed=seed))


def has_groups(groups: Sequence[str | None]) -> bool:
    """True when at least two rows share a group."""
    named = [g for g in groups if g is not None]
    return len(set(named)) < len(named)


def class_figures(scorer: LabelScorer, scores: Sequence[Score]) -> tuple[ClassFigures, ...]:
    """Precision, recall, F1 and support of each class that the rows have."""
    matrix = scorer.confusion(scores)
    out = []
    for i, label in enumerate(scorer.classes(scores)):
        right, named, wanted = int(matrix[i, i]), int(matrix[:, i].sum()), int(matrix[i].sum())
        out.append(ClassFigures(label, right / named if named else 0.0, right / wanted, 2 * right / (named + wanted), wanted))
    return tuple(out)


def judge_scores(
    scorer: Scorer,
    tuned: Sequence[Score],
    baseline: Sequence[Score],
    alpha: float = 0.05,
    groups: Sequence[str | None] | None = None,
    seed: int = 0,
) -> VerdictResult:
    """The paired verdict of two lists of scores of the same rows; above 0 is a gain, where lower is better too."""
    import numpy as np

    from luthier.stats.verdict import judge

    if not scorer.higher_is_better:
        turned = judge(scorer.counts(baseline), scorer.counts(tuned), scorer.statistic, alpha, groups, seed)
        return replace(turned, tuned=turned.baseline, baseline=turned.tuned)
    if scorer.measure == "corpus":
        return judge(scorer.counts(tuned), scorer.counts(baseline), scorer.statistic, alpha, groups, seed)
    one, two = (np.array([s.value for s in scores]) for scores in (tuned, baseline))
    return judge(one, two, scorer.measure, alpha, groups, seed)


def judge_pairs(
    scorer: Scorer, tuned: Sequence[dict[str, Any]], baseline: Sequence[dict[str, Any]], alpha: float = 0.05, seed: int = 0
) -> Verdict:
    """The verdict of two lists of `predictions.jsonl` rows, already paired. Answers are scored afresh with `scorer`.

    A row's `group` is honoured when it is there.
    """
    rows = [_example(row) for row in tuned]
    for row, other in zip(tuned, baseline, strict=True):
        if (row["key"], row["reference"]) != (other["key"], other["reference"]):
            raise UserError("paired rows must have the same key and reference", f"{row['key']} and {other['key']}")
    one = [scorer(e, row["output"]) for e, row in zip(rows, tuned, strict=True)]
    two = [scorer(e, row["output"]) for e, row in zip(rows, baseline, strict=True)]
    result = judge_scores(scorer, one, two, alpha, [e.group for e in rows], seed)
    return Verdict(
        decision=result.decision,
        metric=scorer.name,
        baseline=result.baseline,
        tuned=result.tuned,
        effect=result.effect,
        interval=result.interval,
        p=result.p,
        test=result.test,
        num_rows=result.num_rows,
        minimum_detectable_effect=result.minimum_detectable_effect,
        alpha=alpha,
        sentence=result.describe(scorer.name.replace("_", " ")),
    )


def _example(row: dict[str, Any]) -> Example:
    prompt = tuple(Message(m["role"], m["content"]) for m in row["prompt"])
    return Example(
        messages=(*prompt, Message("assistant", row["reference"])),
        source=Source(str(row.get("source", "")), ""),
        id=row.get("id", ""),
        key=row["key"],
        label=row.get("label"),
        group=row.get("group"),
    )
