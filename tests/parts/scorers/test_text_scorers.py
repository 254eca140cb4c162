"""Scorers of written text against the libraries and papers that define them, on random cases."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score import rouge_scorer
from sacrebleu.metrics import BLEU, CHRF, TER

from luthier.core.config import Config
from luthier.core.errors import UserError
from luthier.core.records import Example, Message, Source
from luthier.parts.checks.toxicity import Toxicity
from luthier.parts.scorers import Answer, Score, Scorer, ScorerConfig, load
from luthier.parts.scorers.bertscore import greedy_match
from luthier.parts.scorers.numeric_answer import final_number
from luthier.parts.scorers.summary import estimate


def example(answer: str) -> Example:
    return Example((Message("user", "q"), Message("assistant", answer)), Source("rows.csv", "row 3"))


WORDS = ["the", "cat", "sat", "on", "a", "mat", "Mats", "it's", "don't", "3.5", "naïve", "(", ",", ".", "running", "runs", "\n"]
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=14).map(" ".join).filter(lambda t: bool(re.search("[a-z]", t)))
pairs = st.lists(st.tuples(texts, st.one_of(texts, st.just(""))), min_size=1, max_size=6)


def scored(scorer: Scorer, rows: Sequence[tuple[str, str]]) -> list[Score]:
    return [scorer(example(reference), output) for reference, output in rows]


SACRE = [
    ("bleu", {}, BLEU(), BLEU(effective_order=True)),
    ("bleu", {"tokenize": "char", "lowercase": True}, BLEU(tokenize="char", lowercase=True), None),
    ("chrf", {}, CHRF(), CHRF()),
    ("chrf", {"word_order": 2}, CHRF(word_order=2), CHRF(word_order=2)),
    ("ter", {}, TER(), None),
    ("ter", {"normalized": True, "case_sensitive": True}, TER(normalized=True, case_sensitive=True), None),
]


@pytest.mark.parametrize(("kind", "options", "corpus", "sentence"), SACRE, ids=lambda v: str(v) if isinstance(v, (str, dict)) else "")
@settings(max_examples=25, deadline=None)
@given(rows=pairs)
def test_corpus_and_row_figures_are_those_of_sacrebleu(kind: str, options: dict, corpus, sentence, rows: list[tuple[str, str]]) -> None:
    scorer = load({"kind": kind, **options})
    scores = scored(scorer, rows)
    wanted = corpus.corpus_score([o for _, o in rows], [[r for r, _ in rows]]).score / 100
    assert scorer.aggregate(scores) == pytest.approx(min(wanted, 1.0) if scorer.higher_is_better else wanted, abs=1e-12)
    if sentence is not None:
        for score, (reference, output) in zip(scores, rows, strict=True):
            assert score.value == pytest.approx(min(1.0, sentence.sentence_score(output, [reference]).score / 100), abs=1e-12)


def test_a_corpus_figure_has_an_interval_that_holds_it() -> None:
    rng = np.random.default_rng(0)
    rows = [(" ".join(rng.choice(WORDS[:6], 8)), " ".join(rng.choice(WORDS[:6], 8))) for _ in range(40)]
    for kind in ("bleu", "chrf", "ter"):
        scorer = load(kind)
        e = estimate(scorer, scored(scorer, rows))
        assert e.low < e.value < e.high, kind


def test_the_signature_is_sacrebleu_s() -> None:
    assert load("bleu").signature().startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp")  # type: ignore[attr-defined]


ROUGE = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeL", "rouge_lsum": "rougeLsum"}


@pytest.mark.parametrize("stem", [False, True])
@pytest.mark.parametrize("kind", ROUGE)
@settings(max_examples=25, deadline=None)
@given(rows=pairs)
def test_rouge_is_that_of_rouge_score(kind: str, stem: bool, rows: list[tuple[str, str]]) -> None:
    scorer, oracle = load({"kind": kind, "stem": stem}), rouge_scorer.RougeScorer([ROUGE[kind]], use_stemmer=stem)
    wanted = [oracle.score(reference, output)[ROUGE[kind]].fmeasure for reference, output in rows]
    assert [s.value for s in scored(scorer, rows)] == pytest.approx(wanted, abs=1e-12)
    assert scorer.aggregate(scored(scorer, rows)) == pytest.approx(np.mean(wanted), abs=1e-12)


def test_rouge_refuses_a_script_that_it_cannot_read() -> None:
    with pytest.raises(UserError, match=r"rouge_l reads Latin letters and digits alone, got 1 of 2 rows .*row 3.*use chrf"):
        load("rouge_l").check([example("ein Satz"), example("предложение")])


def _paper(reference: np.ndarray, given: np.ndarray) -> tuple[float, float, float]:
    """Equations 1 to 3 of Zhang et al. 2020, token by token; the first and the last token are the encoder's own."""
    recall = [max(float(x @ y) for y in given) for x in reference[1:-1]]
    precision = [max(float(x @ y) for x in reference) for y in given[1:-1]]
    p, r = sum(precision) / len(precision), sum(recall) / len(recall)
    return p, r, 2 * p * r / (p + r)


@pytest.mark.parametrize("seed", range(5))
def test_greedy_matching_is_the_paper_s(seed: int) -> None:
    rng = np.random.default_rng(seed)
    reference, given = (np.abs(rng.standard_normal((n, 7))) for n in rng.integers(3, 12, 2))
    reference, given = (m / np.linalg.norm(m, axis=1, keepdims=True) for m in (reference, given))
    assert greedy_match(reference, given) == pytest.approx(_paper(reference, given), abs=1e-12)
    assert greedy_match(reference, given[:2]) == (0.0, 0.0, 0.0)


def test_bertscore_ranks_meaning_above_wording() -> None:
    scorer = load("bertscore")
    row = example("The weather is cold today.")
    same, near, far = (scorer(row, t).value for t in ("The weather is cold today.", "It is freezing today.", "Invoices are due in May."))
    assert same == 1.0
    assert near is not None
    assert far is not None
    assert same > near > far > 0
    odd = ["", "\ud800", "[" * 3000, "x " * 2000]
    values = [s.value for s in scorer.score_all([row] * len(odd), [Answer(t) for t in odd])]
    assert values[0] == 0.0
    assert all(v is not None and 0.0 <= v <= 1.0 for v in values)


def test_style_is_near_to_its_own_set(tmp_path: Path) -> None:
    tone = tmp_path / "tone.txt"
    tone.write_text("Dear customer, we are sorry for the delay.\n\nDear customer, we thank you for your patience.\n")
    scorer = load({"kind": "style", "examples": {"path": str(tone)}})
    scorer.check([example("")])
    row = example("")
    near, far = scorer(row, "Dear customer, we apologise for the wait.").value, scorer(row, "def f(x): return x + 1").value
    assert near is not None
    assert far is not None
    assert near > far
    assert scorer(row, " ").value == 0.0
    (tmp_path / "one.jsonl").write_text('{"text": "alone"}\n')
    for name, words in (("one.jsonl", "at least two texts"), ("none.txt", "readable file")):
        with pytest.raises(UserError, match=words):
            load({"kind": "style", "examples": {"path": str(tmp_path / name)}}).check([])
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\n{"txt": "b"}\n')
    with pytest.raises(UserError, match=r"must have `text` .*bad.jsonl:2"):
        load({"kind": "style", "examples": {"path": str(tmp_path / "bad.jsonl")}}).check([])


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("#### 1,000", "1000"),
        ("it is $1000.00.", "1000.00"),
        ("1e3", "1000"),
        ("3-5", "5"),
        ("-5", "-5"),
        ("−7 degrees", "-7"),
        ("5kg", "5"),
        ("x=.25", "0.25"),
        ("first 3 then 4.", "4"),
        ("#### 7 and not 8", "7"),
        ("10%", "10"),
        ("A5", None),
        ("none", None),
        ("12 ####", None),
        ("", None),
    ],
)
def test_the_final_number_of_a_text(text: str, number: str | None) -> None:
    assert final_number(text, marked=False) == (None if number is None else Decimal(number))


def test_numeric_answers_are_read_as_gsm8k_s_own_code_reads_them(shared_data: Path) -> None:
    official = re.compile(r"#### (\-?[0-9\.\,]+)")  # grade-school-math's dataset.py, extract_answer
    with gzip.open(shared_data / "tasks" / "gsm8k_train.jsonl.gz", "rt", encoding="utf-8") as f:
        answers = [json.loads(line)["answer"] for line in f]
    assert len(answers) == 7473
    for answer in answers:
        match = official.search(answer)
        assert match is not None
        assert final_number(answer, marked=True) == Decimal(match.group(1).replace(",", ""))


def test_numeric_answer_rules() -> None:
    row = example("so #### 72")
    texts = ("#### 72", "It is 72.0.", "72 or 73", "seventy-two", "")
    assert [load("numeric_answer")(row, t).value for t in texts] == [1, 1, 0, 0, 0]
    marked = load({"kind": "numeric_answer", "marked": True})
    assert [marked(row, t).value for t in ("#### 72", "It is 72")] == [1, 0]
    near = load({"kind": "numeric_answer", "tolerance": 0.01})
    assert [near(row, t).value for t in ("72.7", "72.73", "71.28")] == [1, 0, 1]
    with pytest.raises(UserError, match=r"must have a number .*rows.csv row 3"):
        load("numeric_answer")(example("none"), "1")


def test_distinct_n_by_hand() -> None:
    scorer = load({"kind": "distinct_n", "n": 2})
    scores = [scorer(example(""), t) for t in ("a b a b", "a b", "a", "")]
    assert [s.value for s in scores] == pytest.approx([2 / 3, 1.0, 0.0, 0.0])
    assert scorer.parts(scores) == {"corpus": 2 / 4}
    assert scorer.name == "distinct_2"


def test_length_counts_words_or_characters() -> None:
    scorer = load({"kind": "length", "at_least": 2, "at_most": 3})
    scores = [scorer(example(""), t) for t in ("a", "a b", "a b c", "a b c d")]
    assert [s.value for s in scores] == [0, 1, 1, 0]
    assert scorer.parts(scores) == {"mean_words": 2.5}
    assert load({"kind": "length", "at_most": 4, "counted": "characters"})(example(""), "abcde").value == 0
    with pytest.raises(UserError, match="at_least <= at_most"):
        load({"kind": "length", "at_least": 3, "at_most": 2})


def test_refusals_are_right_where_they_are_wanted() -> None:
    refused, helped = "I'm sorry, but I can't help with that.", "Sure: take two."
    for wanted, values in (("never", [0, 1, 0]), ("always", [1, 0, 0])):
        scorer = load({"kind": "refusal", "wanted": wanted})
        assert [scorer(example("x"), t).value for t in (refused, helped, "")] == values
    scorer = load({"kind": "refusal", "wanted": "as_reference"})
    assert [scorer(example(r), t).value for r in (refused, helped) for t in (refused, helped)] == [1, 0, 0, 1]


def test_regex_whole_and_anywhere() -> None:
    whole, part = load({"kind": "regex", "pattern": r"[A-Z]{2}\d+"}), load({"kind": "regex", "pattern": "(?i)ok", "where": "anywhere"})
    assert [whole(example(""), t).value for t in (" AB12\n", "xAB12", "")] == [1, 0, 0]
    assert [part(example(""), t).value for t in ("all OK here", "no")] == [1, 0]
    with pytest.raises(UserError, match="a regular expression must be valid"):
        load({"kind": "regex", "pattern": "("})


def test_profanity_is_a_list_of_words_and_says_which() -> None:
    scorer = load("profanity_free")
    assert scorer(example(""), "You are a sh1t.").details["words"]
    assert [scorer(example(""), t).value for t in ("You are a sh1t.", "A classic assessment of Scunthorpe.")] == [0, 1]
    with pytest.raises(UserError, match="did you mean `english`"):
        load({"kind": "profanity_free", "languages": ["englsh"]})(example(""), "x")


def test_toxicity_is_that_of_the_check_and_says_how_much_of_what() -> None:
    scorer, check = load("toxicity_free"), Toxicity()
    for text in ("you are a stupid idiot", "Thank you, your card is on its way.", "", "fine " * 200 + "you stupid idiot"):
        assert bool(scorer(example(""), text).value) == check(text).passed
    details = scorer(example(""), "you are a stupid idiot").details["probabilities"]
    assert details["insult"] > 0.5 > details["threat"]
    assert load({"kind": "toxicity_free", "kinds": ["threat"]})(example(""), "you are a stupid idiot").value == 1
    with pytest.raises(UserError, match="kinds"):
        load({"kind": "toxicity_free", "kinds": ["rude"]})


def test_json_schema_keeps_the_place_of_the_fault() -> None:
    definition = {"type": "object", "properties": {"age": {"$ref": "#/$defs/n"}}, "required": ["age"], "$defs": {"n": {"type": "integer"}}}
    scorer = load({"kind": "json_schema", "definition": definition})
    assert [scorer(example(""), t).value for t in ('{"age": 3}', '```json\n{"age": 3}\n```', '{"age": "3"}', "{}", "no")] == [1, 1, 0, 0, 0]
    assert scorer(example(""), '{"age": "3"}').details["reason"].startswith("$.age: '3' is not of type 'integer'")
    with pytest.raises(UserError, match="stay inside the schema"):
        load({"kind": "json_schema", "definition": {"$ref": "https://example.com/s.json"}})
    with pytest.raises(UserError, match=r"must be valid.*type"):
        load({"kind": "json_schema", "definition": {"type": "nothing"}})(example(""), "{}")


def test_json_fields_by_hand() -> None:
    scorer = load("json_fields")
    row = example('{"name": "Ada  L", "born": 1815, "tags": ["a", "b"], "x": null}')
    scores = [
        scorer(row, '{"name": "Ada L", "born": 1815.0, "tags": ["a", "c"], "x": null}'),  # 4 right of 5 and 5
        scorer(row, '{"name": "Ada L", "born": true}'),  # 1 right of 2 found, 5 wanted
        scorer(row, "[]"),
    ]
    assert [s.value for s in scores] == pytest.approx([0.8, 2 / 7, 0.0])
    assert scores[0].details["wrong"] == ["tags[1]"]
    assert scorer.aggregate(scores) == pytest.approx(2 * 5 / (7 + 15))
    assert scorer.parts(scores) == pytest.approx({"all_right": 0.0, "unreadable": 1 / 3})
    only = load({"kind": "json_fields", "fields": ["born"]})
    assert only(row, '{"born": 1815, "name": "other"}').value == 1.0
    with pytest.raises(UserError, match=r"must have a JSON object .*row 3"):
        scorer(example("[1]"), "{}")


class _Job(Config):
    metric: ScorerConfig


def test_options_are_checked_before_anything_runs() -> None:
    with pytest.raises(ValueError, match="tokenize"):
        _Job(metric={"kind": "bleu", "tokenize": "best"})  # type: ignore[arg-type]
