"""Figures of one evaluation and the verdict of two, from rows, answers and scorers.

One decision: every figure has an interval that fits its measure: Wilson for right or wrong, BCa bootstrap for means
and corpus figures, and whole groups are resampled when rows have groups. Rows that a scorer could not score are left out
of its figure and of its verdict, and counted beside them (`parts.<metric>.unscored`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from luthier.core.artifacts import Verdict
from luthier.core.errors import UserError
from luthier.core.records import Example, Message, Source
from luthier.parts.scorers.calibration import Bin, reliability
from luthier.parts.scorers.classification import LabelScorer
from luthier.parts.scorers.ece import Ece
from luthier.parts.scorers.scorer import Answer, Score, Scorer

if TYPE_CHECKING:
    from luthier.stats.groups import Comparison
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
    """rows: score by metric name for each row (None: unscored). estimates: figure with interval by metric name.

    confusion: rows wanted, columns named, last column `no class`, in the order of `classes`; empty without labels.
    parts: further figures of a metric (precision and recall of entity_f1). reliability: by metric, the points of its plot.
    """

    rows: list[dict[str, float | None]]
    estimates: dict[str, Estimate]
    classes: tuple[ClassFigures, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    parts: dict[str, dict[str, float]] = field(default_factory=dict)
    reliability: dict[str, tuple[Bin, ...]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Everything but the rows as plain JSON values."""
        return {
            "estimates": {name: asdict(e) for name, e in self.estimates.items()},
            "classes": [asdict(c) for c in self.classes],
            "confusion": [list(row) for row in self.confusion],
            "parts": self.parts,
            "reliability": {name: [asdict(b) for b in bins] for name, bins in self.reliability.items()},
        }


def evaluate(scorers: Sequence[Scorer], examples: Sequence[Example], outputs: Sequence[str | Answer], seed: int = 0) -> Summary:
    """Score every answer with every scorer. Raises UserError for no rows, unequal lengths or two scorers of one name."""
    names = [s.name for s in scorers]
    if len(set(names)) < len(names):
        raise UserError("metrics must have different names", ", ".join(names))
    if len(examples) != len(outputs) or not examples:
        raise UserError("there must be one answer for each of at least one row", f"{len(outputs)} answers for {len(examples)} rows")
    answers = [o if isinstance(o, Answer) else Answer(o) for o in outputs]
    for scorer in scorers:
        scorer.check(examples)
    scores = {s.name: s.score_all(examples, answers) for s in scorers}
    groups = [e.group for e in examples]
    labelled = next((s for s in scorers if isinstance(s, LabelScorer)), None)
    return Summary(
        rows=[{name: column[i].value for name, column in scores.items()} for i in range(len(examples))],
        estimates={s.name: estimate(s, scores[s.name], groups, seed) for s in scorers},
        classes=class_figures(labelled, scores[labelled.name]) if labelled else (),
        confusion=tuple(tuple(int(v) for v in row) for row in labelled.confusion(scores[labelled.name])) if labelled else (),
        parts={s.name: found for s in scorers if (found := _parts(s, scores[s.name]))},
        reliability={s.name: reliability(scores[s.name], s.bins) for s in scorers if isinstance(s, Ece)},
    )


def _parts(scorer: Scorer, scores: Sequence[Score]) -> dict[str, float]:
    scored = [s for s in scores if s.value is not None]
    left_out = {"unscored": float(len(scores) - len(scored))} if len(scored) < len(scores) else {}
    return {**scorer.parts(scored), **left_out}


def estimate(
    scorer: Scorer, scores: Sequence[Score], groups: Sequence[str | None] | None = None, seed: int = 0, alpha: float = 0.05
) -> Estimate:
    """The figure of these rows with its interval at 1 - alpha; unscored rows are left out. Raises UserError when none is scored."""
    from luthier.stats.intervals import Resampling, bca, wilson

    kept = [i for i, s in enumerate(scores) if s.value is not None]
    if not kept:
        scorer.aggregate(scores)
    scores, groups = [scores[i] for i in kept], None if groups is None else [groups[i] for i in kept]
    grouped = groups if groups is not None and has_groups(groups) else None
    if scorer.measure == "binary" and grouped is None:
        return wilson(sum(values_of(scores)), len(scores), alpha)
    return bca(scorer.counts(scores), scorer.statistic, grouped, Resampling(alpha, seed=seed), scorer.bounds)


def values_of(scores: Sequence[Score]) -> list[float]:
    """The values of scored rows."""
    assert all(s.value is not None for s in scores)
    return [s.value for s in scores if s.value is not None]


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
    """The paired verdict of two lists of scores of the same rows; above 0 is a gain, where lower is better too.

    A row that either side left unscored is in neither.
    """
    import numpy as np

    from luthier.stats.verdict import judge

    kept = [i for i, (a, b) in enumerate(zip(tuned, baseline, strict=True)) if a.value is not None and b.value is not None]
    if not kept:
        scorer.aggregate([s for s in tuned if s.value is None] or [s for s in baseline if s.value is None])
    tuned, baseline = [tuned[i] for i in kept], [baseline[i] for i in kept]
    groups = None if groups is None else [groups[i] for i in kept]
    if not scorer.higher_is_better:
        turned = judge(scorer.counts(baseline), scorer.counts(tuned), scorer.statistic, alpha, groups, seed)
        return replace(turned, tuned=turned.baseline, baseline=turned.tuned)
    if scorer.measure == "corpus":
        return judge(scorer.counts(tuned), scorer.counts(baseline), scorer.statistic, alpha, groups, seed)
    one, two = (np.array(values_of(scores)) for scores in (tuned, baseline))
    return judge(one, two, scorer.measure, alpha, groups, seed)


def judge_pairs(
    scorer: Scorer, tuned: Sequence[dict[str, Any]], baseline: Sequence[dict[str, Any]], alpha: float = 0.05, seed: int = 0
) -> Verdict:
    """The verdict of two lists of `predictions.jsonl` rows, already paired. Answers are scored afresh with `scorer`, unless it is `stored`.

    A row's `group` is honoured when it is there.
    """
    rows = [_example(row) for row in tuned]
    for row, other in zip(tuned, baseline, strict=True):
        if (row["key"], row["reference"]) != (other["key"], other["reference"]):
            raise UserError("paired rows must have the same key and reference", f"{row['key']} and {other['key']}")
    one, two = _scores(scorer, rows, [tuned, baseline])
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
        sentence=result.describe(scorer.name.replace("_", " "), share=scorer.unit == "share"),
    )


def estimate_rows(scorer: Scorer, rows: Sequence[dict[str, Any]], seed: int = 0, alpha: float = 0.05) -> Estimate:
    """The figure of `predictions.jsonl` rows with its interval at 1 - alpha; a row's `group` is honoured when it is there."""
    examples = [_example(row) for row in rows]
    return estimate(scorer, _scores(scorer, examples, [rows])[0], [e.group for e in examples], seed, alpha)


def _scores(scorer: Scorer, examples: Sequence[Example], sides: Sequence[Sequence[dict[str, Any]]]) -> list[list[Score]]:
    """The scores of several models' answers to the same rows: afresh, unless the scorer is `stored` and every row has its score."""
    if scorer.stored and all(scorer.name in row["scores"] for side in sides for row in side):
        return [[Score(row["scores"][scorer.name]) for row in side] for side in sides]
    scorer.check(examples)
    return [scorer.score_all(examples, [answer_of(row) for row in side]) for side in sides]


def gain_of_rows(
    scorer: Scorer, first: Sequence[dict[str, Any]], second: Sequence[dict[str, Any]], alpha: float = 0.05, seed: int = 0
) -> Estimate:
    """The gain of `first` over `second`, paired `predictions.jsonl` rows, with its interval at 1 - alpha; above 0 is better.

    Tango's interval for right or wrong, paired BCa bootstrap otherwise and over groups. A row that either side left unscored is in neither.
    """
    import numpy as np

    from luthier.stats.intervals import Resampling
    from luthier.stats.paired import paired_bootstrap, paired_table, tango

    rows = [_example(row) for row in first]
    both = list(zip(*_scores(scorer, rows, [first, second]), strict=True))
    kept = [i for i, (a, b) in enumerate(both) if a.value is not None and b.value is not None]
    if not kept:
        raise UserError("at least one row must be scored on both sides", f"0 of {len(rows)} rows", scorer.name)
    one, two = ([both[i][side] for i in kept] for side in (0, 1))
    groups = [rows[i].group for i in kept]
    if scorer.measure == "binary" and scorer.higher_is_better and not has_groups(groups):
        return tango(paired_table(np.array(values_of(one)), np.array(values_of(two))), alpha)
    better, worse = (one, two) if scorer.higher_is_better else (two, one)
    used = groups if has_groups(groups) else None
    return paired_bootstrap(scorer.counts(better), scorer.counts(worse), scorer.statistic, used, Resampling(alpha, seed=seed))


def change_between(
    scorer: Scorer, before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]], alpha: float = 0.05, seed: int = 0
) -> Estimate:
    """The change from `before` to `after`, `predictions.jsonl` rows of two samples, with its interval; below 0 is a loss."""
    from luthier.stats.independent import newcombe_independent, two_sample_bootstrap
    from luthier.stats.intervals import Resampling

    sides = [_scored(scorer, rows) for rows in (after, before)]
    groups = [of if has_groups(of) else None for _, of in sides]
    if scorer.measure == "binary" and scorer.higher_is_better and groups == [None, None]:
        one, two = ((sum(values_of(scores)), len(scores)) for scores, _ in sides)
        return newcombe_independent(one, two, alpha)
    turned = (0, 1) if scorer.higher_is_better else (1, 0)
    one, two = (scorer.counts(sides[i][0]) for i in turned)
    return two_sample_bootstrap(one, two, scorer.statistic, (groups[turned[0]], groups[turned[1]]), Resampling(alpha, seed=seed))


def _scored(scorer: Scorer, rows: Sequence[dict[str, Any]]) -> tuple[list[Score], list[str | None]]:
    """Scores and groups of the rows that have a score. Raises UserError when there is none."""
    examples = [_example(row) for row in rows]
    (scores,) = _scores(scorer, examples, [rows])
    kept = [i for i, s in enumerate(scores) if s.value is not None]
    if not kept:
        scorer.aggregate(scores)
    return [scores[i] for i in kept], [examples[i].group for i in kept]


def answer_of(row: dict[str, Any]) -> Answer:
    """The answer that a row of `predictions.jsonl` holds."""
    return Answer(
        text=row["output"],
        label_logprobs=tuple(row.get("label_logprobs", ())),
        wanted=row.get("reference_choice"),
        temperature=row.get("temperature", 1.0),
        reference_logprob=row.get("reference_logprob"),
        reference_tokens=row.get("reference_tokens", 0),
    )


def compare_answers(scorer: Scorer, answers: Mapping[str, Sequence[dict[str, Any]]], alpha: float = 0.05, seed: int = 0) -> Comparison:
    """Every pair of candidates on the same `predictions.jsonl` rows, with the groups that cannot be told apart.

    Answers are scored afresh, unless the scorer is `stored`; a row's `group` is honoured, and a row that any candidate left unscored
    is in no comparison. Raises UserError when the rows differ, lower scores are better, or no row is scored by all.
    """
    import numpy as np

    from luthier.stats.groups import compare_all

    if not scorer.higher_is_better:
        raise UserError("candidates are ranked by a metric where higher is better", scorer.name)
    first = next(iter(answers.values()))
    keys = [(row["key"], row["reference"]) for row in first]
    for name, rows in answers.items():
        if [(row["key"], row["reference"]) for row in rows] != keys:
            raise UserError("every candidate must have answered the same rows", name)
    examples = [_example(row) for row in first]
    scores = dict(zip(answers, _scores(scorer, examples, list(answers.values())), strict=True))
    kept = [i for i in range(len(examples)) if all(s[i].value is not None for s in scores.values())]
    if not kept:
        raise UserError("at least one row must be scored for every candidate", f"0 of {len(examples)} rows", scorer.name)
    scores = {name: [column[i] for i in kept] for name, column in scores.items()}
    groups = [examples[i].group for i in kept]
    if scorer.measure == "corpus":
        return compare_all({n: scorer.counts(s) for n, s in scores.items()}, scorer.statistic, alpha, groups, seed)
    return compare_all({n: np.array(values_of(s)) for n, s in scores.items()}, scorer.measure, alpha, groups, seed)


def _example(row: dict[str, Any]) -> Example:
    prompt = tuple(Message(m["role"], m["content"]) for m in row["prompt"])
    return Example(
        messages=(*prompt, Message("assistant", row["reference"])),
        source=Source(str(row.get("source", "")), ""),
        id=row.get("id", ""),
        key=row["key"],
        label=row.get("label"),
        group=row.get("group"),
        meta=row.get("meta", {}),
    )
