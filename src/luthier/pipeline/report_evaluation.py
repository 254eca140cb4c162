"""The evaluation part of a report: candidates with intervals, metrics, classes, pairs, errors and samples."""

from __future__ import annotations

import json
from typing import Any, Literal

from luthier.core.stage import Built
from luthier.parts.scorers.summary import ClassFigures
from luthier.pipeline.workspace import Workspace
from luthier.report.model import Answer, ClassRow, Evaluation, MetricRow, Pairs
from luthier.report.sections import BarRow, Candidate, Confusion, Estimate, ReliabilityPoint, ShiftRow
from luthier.stages.evaluate.judge import compare, paired

SHOWN = 12
Artifacts = dict[str, Built[Any]]


def candidates_of(built: Artifacts) -> tuple[Candidate, ...]:
    """Every way of asking the base on validation rows, then the opponent and the tuned model on sealed rows."""
    body = json.loads((built["prompting"].path / "prompting.json").read_text(encoding="utf-8"))
    chosen, metric = built["prompting"].result.chosen, built["prompting"].result.metric
    out = [
        Candidate(name=name, role="baseline", split="validation", metrics={metric: Estimate(**figure)}, chosen=name == chosen)
        for name, figure in body["estimates"].items()
    ]
    for role, words in (("baseline", chosen), ("tuned", "tuned")):
        scores = {name: Estimate(**e) for name, e in built[role].result.scores.items()}
        out.append(Candidate(name=words, role=role, split="test", metrics=scores, chosen=role == "baseline"))  # type: ignore[arg-type]
    return tuple(out)


def bars_of(workspace: Workspace, built: Artifacts) -> tuple[BarRow, ...]:
    """The bars of the objective; none where it has none."""
    if "bars" not in built:
        return ()
    objective, level = workspace.project.objective, 1 - workspace.project.evaluate.alpha
    units = {s.name: s.unit for s in (objective.primary(), *objective.others())}
    return tuple(
        BarRow(
            metric=b.metric,
            unit=units[b.metric],
            kind=b.kind,
            bar=b.bar,
            against=b.against,
            value=Estimate(value=b.value, low=b.low, high=b.high, n=b.num_rows, level=level, method=b.method),
            outcome=b.outcome,
        )
        for b in built["bars"].result.bars
    )


def robustness_of(workspace: Workspace, built: Artifacts) -> tuple[ShiftRow, ...]:
    """Rows of other kinds and changed rows; none where the project names none."""
    if "robustness" not in built:
        return ()
    level, out = 1 - workspace.project.evaluate.alpha, []
    for s in built["robustness"].result.shifts:

        def estimated(value: float | None, low: float | None, high: float | None, n: int = s.num_rows) -> Estimate | None:
            return None if value is None or low is None or high is None else Estimate(value=value, low=low, high=high, n=n, level=level)

        after = estimated(s.after, s.after_low, s.after_high)
        assert after is not None
        row = ShiftRow(name=s.name, kind=s.kind, model=s.model, before=s.before, after=after, num_left_out=s.num_left_out)
        change = estimated(s.change, s.change_low, s.change_high)
        moved = estimated(s.answers_changed, s.answers_changed_low, s.answers_changed_high)
        out.append(row.model_copy(update={"change": change, "answers_changed": moved}))
    return tuple(out)


def evaluation_of(workspace: Workspace, built: Artifacts) -> Evaluation:
    """Both models on the sealed rows."""
    rows = paired(built["tuned"], built["baseline"])
    metric = workspace.project.objective.primary()
    tuned_json, base_json = (json.loads((built[r].path / "scores.json").read_text()) for r in ("tuned", "baseline"))
    rows = [(t, b) for t, b in rows if t["scores"][metric.name] is not None and b["scores"][metric.name] is not None]
    right = [(t["scores"][metric.name], b["scores"][metric.name]) for t, b in rows]
    answers = [_answer(t, b) for t, b in rows]
    wrong_first = sorted((a for a, (t, _) in zip(answers, right, strict=True) if t < 1), key=lambda a: -(a.probability or 0.0))
    return Evaluation(
        split="test",
        metrics=_metrics(workspace, built),
        classes=_classes(tuned_json, base_json),
        confusion=_confusion(tuned_json),
        reliability=(*_reliability("baseline", base_json), *_reliability("tuned", tuned_json)),
        pairs=_pairs(right) if metric.measure == "binary" else None,
        errors=tuple(wrong_first[:25]),
        gained=_where(answers, right, lambda t, b: t > b),
        lost=_where(answers, right, lambda t, b: t < b),
        both_right=_where(answers, right, lambda t, b: t >= 1 and b >= 1),
    )


def _where(answers: list[Answer], right: list[tuple[float, float]], wanted: Any) -> tuple[Answer, ...]:
    return tuple(a for a, (t, b) in zip(answers, right, strict=True) if wanted(t, b))[:SHOWN]


def _answer(tuned: dict[str, Any], baseline: dict[str, Any]) -> Answer:
    users = [m["content"] for m in tuned["prompt"] if m["role"] == "user"]
    top = sorted(tuned.get("label_logprobs", []))[-2:]
    return Answer(
        key=tuned["key"],
        source=tuned["source"],
        prompt=users[-1] if users else "",
        reference=tuned["reference"],
        baseline=baseline["output"],
        tuned=tuned["output"],
        probability=tuned.get("confidence"),
        margin=round(top[1] - top[0], 4) if len(top) == 2 else None,
    )


def _pairs(right: list[tuple[float, float]]) -> Pairs:
    return Pairs(
        both_right=sum(t >= 1 and b >= 1 for t, b in right),
        gained=sum(t >= 1 > b for t, b in right),
        lost=sum(b >= 1 > t for t, b in right),
        both_wrong=sum(t < 1 and b < 1 for t, b in right),
    )


def _metrics(workspace: Workspace, built: Artifacts) -> tuple[MetricRow, ...]:
    """Every metric with its paired test: the deciding one's as it is, those of all others adjusted over them."""
    from luthier.stats.multiple import holm

    verdict, others = built["verdict"].result, workspace.project.objective.others()
    found = [compare(built["tuned"], built["baseline"], scorer, verdict.alpha, seed=0) for scorer in others]
    adjusted = [verdict.p, *(float(p) for p in holm([v.p for v in found]))]
    scorers = (workspace.project.objective.primary(), *others)
    return tuple(_metric(scorer, built, v, p) for scorer, v, p in zip(scorers, [verdict, *found], adjusted, strict=True))


def _metric(scorer: Any, built: Artifacts, verdict: Any, p: float) -> MetricRow:
    """One metric of both models; `verdict`: its own."""
    both = [Estimate(**built[role].result.scores[scorer.name]) for role in ("baseline", "tuned")]
    (low, high), effect = verdict.interval, verdict.effect
    if not scorer.higher_is_better:  # a gain is a fall: the difference itself is wanted here
        effect, low, high = -effect, -high, -low
    return MetricRow(
        name=scorer.name,
        unit=scorer.unit,
        higher_is_better=scorer.higher_is_better,
        baseline=both[0],
        tuned=both[1],
        difference=Estimate(value=effect, low=low, high=high, n=verdict.num_rows, level=1 - verdict.alpha),
        p=p,
        test=verdict.test,
    )


def _classes(tuned: dict[str, Any], baseline: dict[str, Any]) -> tuple[ClassRow, ...]:
    before = {c["label"]: ClassFigures(**c) for c in baseline["classes"]}
    rows = []
    for c in (ClassFigures(**c) for c in tuned["classes"]):
        named = c.recall * c.support / c.precision if c.precision else 0
        rows.append(
            ClassRow(
                label=c.label,
                num_rows=c.support,
                baseline_recall=_share(before[c.label].recall, c.support) if c.label in before else None,
                tuned_recall=_share(c.recall, c.support),
                tuned_precision=_share(c.precision, round(named)) if named else None,
            )
        )
    return tuple(rows)


def _share(value: float, n: int) -> Estimate:
    from luthier.stats.intervals import wilson

    e = wilson(round(value * n), n)
    return Estimate(value=e.value, low=e.low, high=e.high, n=e.n)


def _reliability(model: Literal["baseline", "tuned"], scores: dict[str, Any]) -> tuple[ReliabilityPoint, ...]:
    """The points of `ece`, or of the first metric that has some."""
    found = scores.get("reliability", {})  # an evaluation kept by an earlier version has none
    bins = found.get("ece") or next(iter(found.values()), [])
    return tuple(
        ReliabilityPoint(
            model=model,
            low=b["low"],
            high=b["high"],
            num_rows=b["num_rows"],
            confidence=b["confidence"],
            right=Estimate(value=b["right"], low=b["right_low"], high=b["right_high"], n=b["num_rows"]),
        )
        for b in bins
    )


def _confusion(tuned: dict[str, Any]) -> Confusion | None:
    """The square of classes, with `(no class)` when an answer named none."""
    counts = [list(row) for row in tuned["confusion"]]
    if not counts:
        return None
    labels = [c["label"] for c in tuned["classes"]]
    if any(row[-1] for row in counts):
        return Confusion(labels=(*labels, "(no class)"), counts=tuple(map(tuple, [*counts, [0] * (len(labels) + 1)])))
    return Confusion(labels=tuple(labels), counts=tuple(tuple(row[:-1]) for row in counts))
