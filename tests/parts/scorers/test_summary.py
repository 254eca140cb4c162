"""Figures of an evaluation and the verdict of two, against scikit-learn and the statistics they are made of."""

from __future__ import annotations

import json
from typing import Any, Literal

import numpy as np
import pytest
from sklearn import metrics

from luthier.core.errors import UserError
from luthier.core.records import Example, Message, Source
from luthier.parts.scorers import load
from luthier.parts.scorers.accuracy import Accuracy
from luthier.parts.scorers.scorer import Score
from luthier.parts.scorers.summary import compare_answers, evaluate, judge_pairs
from luthier.stats.intervals import wilson
from luthier.stats.verdict import judge

LABELS = ["a1", "b2", "c3"]


def rows(n: int, groups: int | None = None) -> tuple[list[Example], list[str]]:
    rng = np.random.default_rng(0)
    examples, outputs = [], []
    for i in range(n):
        label = str(rng.choice(LABELS))
        message = (Message("user", f"q{i}"), Message("assistant", label))
        group = None if groups is None else f"g{i // groups}"
        examples.append(Example(message, Source("f.csv", f"row {i}"), id=f"{i}", key=f"{i}", label=label, group=group))
        outputs.append(label if rng.random() < 0.7 else str(rng.choice([*LABELS, "?!"])))
    return examples, outputs


def test_every_figure_has_the_interval_that_fits_it() -> None:
    examples, outputs = rows(90)
    summary = evaluate([load("accuracy"), load("macro_f1"), load("token_f1")], examples, outputs)
    truth = [str(e.label) for e in examples]
    accuracy = summary.estimates["accuracy"]
    assert accuracy == wilson(sum(t == o for t, o in zip(truth, outputs, strict=True)), 90)
    macro = summary.estimates["macro_f1"]
    assert macro.value == pytest.approx(metrics.f1_score(truth, outputs, labels=LABELS, average="macro"))
    assert macro.low < macro.value < macro.high
    assert summary.estimates["token_f1"].method.startswith("BCa")
    assert [set(r) for r in summary.rows] == [{"accuracy", "macro_f1", "token_f1"}] * 90
    assert json.loads(json.dumps(summary.to_json())) == summary.to_json()


def test_class_figures_equal_scikit_learn() -> None:
    examples, outputs = rows(90)
    summary = evaluate([load("accuracy")], examples, outputs)
    truth = [str(e.label) for e in examples]
    p, r, f, s = metrics.precision_recall_fscore_support(truth, outputs, labels=LABELS, zero_division=0)
    for i, c in enumerate(summary.classes):
        assert (c.label, c.precision, c.recall, c.f1, c.support) == pytest.approx((LABELS[i], p[i], r[i], f[i], s[i]))
    assert np.array(summary.confusion).sum() == 90
    assert np.array(summary.confusion).shape == (3, 4)


def test_groups_change_the_interval_and_not_the_figure() -> None:
    plain, outputs = rows(90)
    grouped, _ = rows(90, groups=9)
    one, two = (evaluate([load("accuracy")], e, outputs).estimates["accuracy"] for e in (plain, grouped))
    assert one.value == pytest.approx(two.value)
    assert "over groups" in two.method


def test_text_metrics_have_no_confusion_and_entities_have_parts() -> None:
    row = Example((Message("user", "q"), Message("assistant", "[]")), Source("f", "row 1"))
    summary = evaluate([load("entity_f1")], [row], ["no list"])
    assert (summary.classes, summary.confusion) == ((), ())
    assert summary.parts["entity_f1"]["unreadable"] == 1.0


def test_bad_calls_are_the_users_error() -> None:
    examples, outputs = rows(3)
    with pytest.raises(UserError, match="different names"):
        evaluate([load("accuracy"), load({"kind": "accuracy", "normalise": "case"})], examples, outputs)
    with pytest.raises(UserError, match="one answer"):
        evaluate([load("accuracy")], examples, outputs[:2])
    with pytest.raises(UserError, match="one answer"):
        evaluate([load("accuracy")], [], [])


def predictions(examples: list[Example], outputs: list[str]) -> list[dict[str, Any]]:
    return [
        {
            "key": e.key,
            "id": e.id,
            "source": str(e.source),
            "prompt": [{"role": m.role, "content": m.content} for m in e.prompt],
            "reference": e.reference,
            "label": e.label,
            "output": o,
            "group": e.group,
        }
        for e, o in zip(examples, outputs, strict=True)
    ]


def test_the_verdict_of_two_prediction_files() -> None:
    examples, outputs = rows(90)
    weak = ["a1"] * 90
    tuned, base = predictions(examples, outputs), predictions(examples, weak)
    got = judge_pairs(load("accuracy"), tuned, base)
    right = [np.array([float(o == e.label) for e, o in zip(examples, side, strict=True)]) for side in (outputs, weak)]
    want = judge(*right)
    assert (got.decision, got.effect, got.interval, got.p, got.num_rows) == ("better", want.effect, want.interval, want.p, 90)
    assert got.sentence.startswith("Better: accuracy ")
    macro = judge_pairs(load("macro_f1"), tuned, base)
    truth = [str(e.label) for e in examples]
    assert macro.effect == pytest.approx(
        metrics.f1_score(truth, outputs, labels=LABELS, average="macro") - metrics.f1_score(truth, weak, average="macro", zero_division=0)
    )
    assert macro.metric == "macro_f1"


def test_groups_in_predictions_are_honoured() -> None:
    examples, outputs = rows(90, groups=45)
    got = judge_pairs(load("accuracy"), predictions(examples, outputs), predictions(examples, ["a1"] * 90))
    assert "over groups" in got.test
    assert got.decision == "not proven"


def test_rows_that_are_not_the_same_are_refused() -> None:
    examples, outputs = rows(4)
    tuned, base = predictions(examples, outputs), predictions(examples, outputs)
    base[2]["reference"] = "other"
    with pytest.raises(UserError, match="same key and reference"):
        judge_pairs(load("accuracy"), tuned, base)


class Picky(Accuracy):
    """Accuracy that gives no score to an answer of question marks."""

    kind: Literal["picky"] = "picky"  # type: ignore[assignment]

    def __call__(self, example: Example, output: str) -> Score:
        return Score(None, {"reason": "no answer"}) if output == "?!" else super().__call__(example, output)


def test_candidates_are_compared_on_the_rows_that_all_have_a_score_for() -> None:
    from luthier.stats.groups import compare_all

    examples, outputs = rows(90)
    sides = {"good": outputs, "weak": ["a1"] * 89 + ["?!"]}
    kept = [i for i in range(90) if all(side[i] != "?!" for side in sides.values())]
    assert len(kept) < 89
    got = compare_answers(Picky(), {name: predictions(examples, side) for name, side in sides.items()})
    right = {name: np.array([float(side[i] == examples[i].label) for i in kept]) for name, side in sides.items()}
    assert got == compare_all(right)
    assert got.num_rows == len(kept)


def test_candidates_are_compared_by_what_the_metric_measures() -> None:
    examples, outputs = rows(60, groups=2)
    sides = {"good": predictions(examples, outputs), "weak": predictions(examples, ["a1"] * 60)}
    macro = compare_answers(load("macro_f1"), sides)
    verdict = judge_pairs(load("macro_f1"), sides["good"], sides["weak"])
    assert (macro.pairs[0].effect, macro.pairs[0].p) == (verdict.effect, verdict.p)
    assert "over groups" in macro.pairs[0].test
    with pytest.raises(UserError, match="same rows"):
        compare_answers(load("accuracy"), {"a": sides["good"], "b": sides["weak"][1:]})
    with pytest.raises(UserError, match="higher is better"):
        compare_answers(load("mse"), sides)
    none = [{**row, "output": "?!"} for row in sides["good"]]
    with pytest.raises(UserError, match="scored for every candidate"):
        compare_answers(Picky(), {"a": none, "b": sides["weak"]})
