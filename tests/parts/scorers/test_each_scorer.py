"""Each scorer's own rules, with scikit-learn as the oracle for classification figures."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics

from luthier.core.errors import UserError
from luthier.core.records import Example, Message, Source
from luthier.parts.scorers import Score, load
from luthier.parts.scorers.classification import LabelScorer
from luthier.parts.scorers.text import normalise, words

LABELS = ["card_lost", "exchange_rate", "refund", "top_up"]


def example(answer: str, label: str | None = None) -> Example:
    return Example((Message("user", "q"), Message("assistant", answer)), Source("rows.csv", "row 3"), label=label)


def random_case(seed: int, unknown: float = 0.2) -> tuple[list[str], list[str]]:
    rng = np.random.default_rng(seed)
    truth = [LABELS[i] for i in rng.choice(4, size=60, p=[0.5, 0.3, 0.15, 0.05])]
    named = [t if rng.random() < 0.6 else ("who knows" if rng.random() < unknown else str(rng.choice(LABELS))) for t in truth]
    return truth, named


@pytest.mark.parametrize("seed", range(8))
def test_classification_figures_equal_scikit_learn(seed: int) -> None:
    truth, named = random_case(seed)
    labels = sorted(set(truth))
    accuracy = load("accuracy")
    assert isinstance(accuracy, LabelScorer)
    scores = [accuracy(example(t, t), n) for t, n in zip(truth, named, strict=True)]
    assert accuracy.aggregate(scores) == pytest.approx(metrics.accuracy_score(truth, named))
    known = [n if n in labels else "zzz" for n in named]
    want = metrics.confusion_matrix(truth, known, labels=[*labels, "zzz"])[:-1]
    assert accuracy.confusion(scores).tolist() == want.tolist()
    for kind, average in (("macro_f1", "macro"), ("micro_f1", "micro")):
        scorer = load(kind)
        rows = [scorer(example(t, t), n) for t, n in zip(truth, named, strict=True)]
        want_f1 = metrics.f1_score(truth, named, labels=labels, average=average, zero_division=0)
        assert scorer.aggregate(rows) == pytest.approx(want_f1)


def test_micro_f1_is_accuracy_when_every_answer_names_a_class() -> None:
    truth, named = random_case(1, unknown=0.0)
    rows = [(example(t, t), n) for t, n in zip(truth, named, strict=True)]
    micro, accuracy = load("micro_f1"), load("accuracy")
    assert micro.aggregate([micro(*r) for r in rows]) == pytest.approx(accuracy.aggregate([accuracy(*r) for r in rows]))


def test_counts_have_the_same_columns_for_any_answers() -> None:
    truth, named = random_case(2)
    scorer = load("macro_f1")
    one = scorer.counts([scorer(example(t, t), n) for t, n in zip(truth, named, strict=True)])
    two = scorer.counts([scorer(example(t, t), "") for t in truth])
    assert one.shape == two.shape
    assert two[:, : one.shape[1] // 3].sum() == 0


@pytest.mark.parametrize(
    ("output", "right"),
    [("positive", 1), (" Positive.\n", 1), ("pos", 1), ('"POS"', 1), ("negative", 0), ("positive sentiment", 0), ("", 0), (" . ", 0)],
)
def test_an_answer_names_its_class_by_label_or_by_answer_text(output: str, right: int) -> None:
    assert load("accuracy")(example("positive", "pos"), output).value == right


def test_labels_that_look_the_same_are_refused() -> None:
    scorer = load("macro_f1")
    scores = [scorer(example(t, t), t) for t in ("US", "us")]
    with pytest.raises(UserError, match=r"`US` and `us`.*normalise: spaces"):
        scorer.aggregate(scores)
    exact = load({"kind": "macro_f1", "normalise": "spaces"})
    assert exact.aggregate([exact(example(t, t), t) for t in ("US", "us")]) == 1.0


@pytest.mark.parametrize(
    ("how", "same"),
    [
        ("none", {"Paris"}),
        ("spaces", {"Paris", " Paris \n"}),
        ("case", {"Paris", " Paris \n", "PARIS", "Ｐaris"}),
        ("text", {"Paris", " Paris \n", "PARIS", "Ｐaris", '"paris".'}),
    ],
)
def test_exact_match_normalises_as_declared(how: str, same: set[str]) -> None:
    scorer = load({"kind": "exact_match", "normalise": how})
    for output in ("Paris", " Paris \n", "PARIS", "Ｐaris", '"paris".', "in Paris", "Par is"):
        assert scorer(example("Paris"), output).value == float(output in same), output


@pytest.mark.parametrize(("a", "b"), [("3.5", "35"), ("-5", "5"), ("$5", "5"), ("1e5", "15"), ("C", "C++"), ("?", ""), ("no", "now")])
def test_normalising_never_joins_different_answers(a: str, b: str) -> None:
    assert normalise(a) != normalise(b)


def test_contains_wants_whole_words() -> None:
    scorer = load("contains")
    assert scorer(example("art"), "I like art.").value == 1
    assert scorer(example("art"), "a party").value == 0
    assert load({"kind": "contains", "whole_words": False})(example("art"), "a party").value == 1
    assert load({"kind": "contains", "text": "sorry"})(example("x"), "So sorry!").value == 1
    assert scorer(example("C++ (2020)"), "It is c++ (2020), yes").value == 1
    assert scorer(example(""), "something").value == 0


@pytest.mark.parametrize(
    ("reference", "output", "value"),
    [
        ("the cat sat", "cat sat", 1.0),
        ("cat sat down", "cat", 0.5),
        ("a b c d", "b c d e", 6 / 7),  # the article goes: {b, c, d} and {b, c, d, e}
        ("cat cat", "cat", 2 / 3),
        ("pi is 3.14", "3.14", 0.5),
        ("the", "the", 1.0),
        ("!!!", "???", 0.0),
        ("cat", "dog", 0.0),
    ],
)
def test_token_f1_by_hand(reference: str, output: str, value: float) -> None:
    assert load("token_f1")(example(reference), output).value == pytest.approx(value)


def test_words() -> None:
    assert words("The Cat's 1,234.5 kg, an über-cat") == ["cat", "s", "1,234.5", "kg", "über", "cat"]


def test_valid_json() -> None:
    scorer = load("valid_json")
    row = example("{}")
    texts = ("{}", "[1]", "3", "```json\n{}\n```", "{} thanks", "", "{'a': 1}", "NaN")
    assert [scorer(row, t).value for t in texts] == [1, 1, 1, 1, 0, 0, 0, 0]
    keyed = load({"kind": "valid_json", "keys": ["name"]})
    assert keyed(row, '{"name": 1}').value == 1
    assert keyed(row, '{"nome": 1}').details["reason"] == "missing keys: name"
    assert keyed(row, "[]").value == 0
    assert load({"kind": "valid_json", "type": "array"})(row, "{}").details["reason"] == "an array is wanted, got dict"
    assert load({"kind": "valid_json", "unwrap_fence": False})(row, "```json\n{}\n```").value == 0


def entities(*pairs: tuple[str, str]) -> str:
    return json.dumps([{"text": t, "type": k} for t, k in pairs])


def test_entity_f1_by_hand() -> None:
    scorer = load("entity_f1")
    wanted = entities(("Berlin", "location"), ("Ada", "person"))
    scores = [
        scorer(example(wanted), entities(("berlin", "Location"), ("Ada", "location"))),  # 1 right of 2 found, 2 wanted
        scorer(example("[]"), entities(("x", "person"))),  # 0 right of 1 found
        scorer(example("[]"), "[]"),
        scorer(example(wanted), "Berlin is a location"),  # malformed: finds nothing
    ]
    assert [s.value for s in scores] == [0.5, 0.0, 1.0, 0.0]
    assert "not a list of entities" in scores[3].details["reason"]
    assert scorer.aggregate(scores) == pytest.approx(2 * 1 / (3 + 4))
    assert scorer.parts(scores) == pytest.approx({"precision": 1 / 3, "recall": 1 / 4, "unreadable": 0.25})  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "answer", ['{"text": "a", "type": "b"}', '["a"]', '[{"text": "a"}]', '[{"text": 1, "type": "b"}]', "[", "null", ""]
)
def test_an_unreadable_list_scores_zero_with_its_reason(answer: str) -> None:
    score = load("entity_f1")(example("[]"), answer)
    assert score.value == 0.0
    assert score.details["reason"]


def test_repeated_entities_count_once_each() -> None:
    scorer = load("entity_f1")
    score = scorer(example(entities(("a", "t"))), entities(("a", "t"), ("a", "t")))
    assert score.details == {"right": 1, "found": 2, "wanted": 1}


def test_entity_f1_equals_scikit_learn_on_multilabel_cases() -> None:
    rng = np.random.default_rng(0)
    names = [(t, k) for t in "abcdef" for k in ("x", "y")]
    truth, named = rng.random((50, 12)) < 0.3, rng.random((50, 12)) < 0.3
    scorer = load("entity_f1")

    def text(row: np.ndarray) -> str:
        return entities(*(n for n, here in zip(names, row, strict=True) if here))

    scores = [scorer(example(text(t)), text(n)) for t, n in zip(truth, named, strict=True)]
    assert scorer.aggregate(scores) == pytest.approx(metrics.f1_score(truth, named, average="micro"))
    assert scorer.parts(scores)["precision"] == pytest.approx(metrics.precision_score(truth, named, average="micro"))  # type: ignore[attr-defined]


def test_a_row_whose_own_answer_is_no_list_is_the_users_error() -> None:
    with pytest.raises(UserError, match=r"rows.csv row 3"):
        load("entity_f1")(example("Berlin"), "[]")


def test_a_score_outside_its_range_cannot_be_made() -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        Score(1.2)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        Score(float("nan"))


def test_no_rows_is_the_users_error() -> None:
    with pytest.raises(UserError, match="at least one row"):
        load("accuracy").aggregate([])
