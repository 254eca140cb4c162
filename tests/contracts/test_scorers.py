"""What every scorer must hold, whatever it measures: found by its folder, so a new one is tested without a word here."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.core.errors import UserError
from luthier.core.keys import digest
from luthier.core.records import Example, Message, Source
from luthier.parts.scorers import Score, Scorer, known_scorers, load
from luthier.parts.scorers.summary import estimate, judge_scores

FREE = sorted(kind for kind, cls in known_scorers().items() if not any(f.is_required() for f in cls.model_fields.values()))
KINDS = [
    kind for kind in FREE if (cls := known_scorers()[kind]).higher_is_better and cls.needs_reference and cls.needs != "reference_logprob"
]
OPEN_KINDS = [kind for kind in FREE if not known_scorers()[kind].needs_reference]
JSON_KINDS = {"entity_f1", "valid_json"}
TEXT_KINDS = {"bertscore", "bleu", "chrf", "rouge_1", "rouge_2", "rouge_l", "rouge_lsum"}
NUMBER_KINDS = {"pearson", "spearman"}
RANKING_KINDS = {"mrr", "ndcg", "pairwise_order"}


def _example(answer: str, label: str | None = None) -> Example:
    return Example((Message("user", "question"), Message("assistant", answer)), Source("rows.csv", "row 1"), label=label)


def _rows(kind: str) -> list[Example]:
    if kind in JSON_KINDS:
        berlin = '[{"text": "Berlin", "type": "location"}]'
        return [_example(berlin), _example("[]"), _example('[{"text": "Ada", "type": "person"}, {"text": "Rome", "type": "location"}]')]
    if kind in NUMBER_KINDS:
        return [_example("4"), _example("3"), _example("-2")]
    if kind in RANKING_KINDS:
        return [_example('["Rome", "Berlin", "Oslo"]'), _example('["b", "a"]'), _example('["x", "y", "z", "w"]')]
    if kind == "numeric_answer":
        return [_example("#### 72"), _example("It is $1,000."), _example("-0.5")]
    if kind == "json_fields":
        return [_example('{"a": 1}'), _example('{"a": {"b": ["x", null]}, "c": true}'), _example('{"total": 3.5}')]
    if kind in TEXT_KINDS:
        return [_example(t) for t in ("The cat sat on the mat today.", "Rain is expected in the north.", "Ada wrote the first programme.")]
    if kind == "multi_label_f1":
        return [_example('["late"]'), _example('["late", "lost"]'), _example('["rude"]')]
    return [_example(label, label) for label in ("card_lost", "top_up", "exchange_rate")]


@pytest.fixture(params=KINDS)
def scorer(request: pytest.FixtureRequest) -> Scorer:
    return load(request.param)


def test_a_perfect_answer_has_the_greatest_score(scorer: Scorer) -> None:
    rows = _rows(scorer.kind)
    scores = [scorer(row, row.reference) for row in rows]
    assert [s.value for s in scores] == [1.0] * len(rows)
    assert scorer.aggregate(scores) == 1.0


def test_an_empty_answer_survives_and_is_not_right(scorer: Scorer) -> None:
    rows = _rows(scorer.kind)
    scores = [scorer(row, "") for row in rows]
    assert all(s.value == 0.0 for s in scores)
    assert scorer.aggregate(scores) == 0.0


ODD = ["[", "[1]", "{}", "null", "```json\n[]\n```", "NaN", "card_lost", "\ud800", "[" * 3000]


@settings(max_examples=60, deadline=None)
@given(output=st.text(max_size=40) | st.sampled_from(ODD))
@pytest.mark.parametrize("kind", [k for k in KINDS if k != "bertscore"])  # a model reads each answer: tested with the text scorers
def test_any_answer_gives_a_bounded_and_repeatable_score(kind: str, output: str) -> None:
    scorer = load(kind)
    for row in _rows(kind):
        score = scorer(row, output)
        assert isinstance(score, Score)
        assert 0.0 <= score.value <= 1.0
        assert score == scorer(row, output)
        if scorer.measure == "binary":
            assert score.value in (0.0, 1.0)


def test_the_figure_is_a_function_of_summed_counts(scorer: Scorer) -> None:
    rows = _rows(scorer.kind) * 4
    outputs = [rows[(i * 5) % len(rows)].reference for i in range(len(rows))]
    scores = [scorer(r, o) for r, o in zip(rows, outputs, strict=True)]
    counts = scorer.counts(scores)
    assert counts.shape[0] == len(rows)
    assert np.isfinite(counts).all()
    figure = scorer.aggregate(scores)
    assert figure == pytest.approx(float(scorer.statistic(counts.sum(axis=0))))
    stacked = scorer.statistic(np.stack([counts.sum(axis=0), 2 * counts.sum(axis=0)]))
    assert stacked == pytest.approx([figure, figure])
    if scorer.measure != "corpus":
        assert figure == pytest.approx(np.mean([s.value for s in scores]))


@settings(max_examples=40, deadline=None)
@given(output=st.text(max_size=40) | st.sampled_from(ODD))
@pytest.mark.parametrize("kind", OPEN_KINDS)
def test_a_scorer_without_references_is_bounded_and_repeatable_too(kind: str, output: str) -> None:
    scorer = load(kind)
    row = _example("")
    scorer.check([row])
    score = scorer(row, output)
    assert score.value is not None
    assert 0.0 <= score.value <= 1.0
    assert score == scorer(row, output)
    assert scorer.measure != "binary" or score.value in (0.0, 1.0)
    assert scorer.aggregate([score]) == pytest.approx(score.value)


@pytest.mark.parametrize("kind", sorted({*KINDS, "ter", "perplexity", "log_likelihood", "mse", "ece"} - {"mcc"}))  # a label is never empty
def test_an_empty_reference_is_refused_before_any_model_is_asked(kind: str) -> None:
    with pytest.raises(UserError, match=r"must not be empty, got 1 of 2 rows \(the first is rows.csv row 1\)"):
        load(kind).check([_example("a text"), _example(" ")])


@pytest.mark.parametrize("kind", ["entity_f1", "json_fields", "multi_label_f1", "numeric_answer", "pearson", "mse"])
def test_a_reference_of_another_form_is_refused_before_any_model_is_asked(kind: str) -> None:
    with pytest.raises(UserError, match=rf"a row scored by {kind} must have .* \(rows.csv row 1\)"):
        load(kind).check([_example("no such thing")])


def test_it_has_an_interval_and_a_verdict(scorer: Scorer) -> None:
    rows = _rows(scorer.kind) * 8
    right = [scorer(r, r.reference) for r in rows]
    mixed = [scorer(r, r.reference if i % 3 else "nothing of the kind") for i, r in enumerate(rows)]
    e = estimate(scorer, mixed)
    assert 0.0 <= e.low <= e.value <= e.high <= 1.0
    assert e.value == pytest.approx(scorer.aggregate(mixed))
    assert judge_scores(scorer, right, mixed).decision == "better"
    assert judge_scores(scorer, mixed, right).decision == "worse"
    same = judge_scores(scorer, mixed, mixed)
    assert (same.decision, same.p) == ("not proven", 1.0)


def test_it_is_a_config_with_a_key(scorer: Scorer) -> None:
    again = load(scorer.model_dump())
    assert again == scorer
    assert digest(again) == digest(scorer)
    assert scorer.name
    assert not math.isnan(float(scorer.version))


def test_scorers_do_not_share_keys() -> None:
    assert len({digest(load(kind)) for kind in KINDS}) == len(KINDS)
