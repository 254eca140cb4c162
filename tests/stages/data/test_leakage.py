"""Leakage: what counts as the same row, where it is found, and how it is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from one_stage import example

from luthier.core.records import Message, Preference, Rating, Source, Text, with_ids
from luthier.parts.duplicates.text import exact_text, normalised_text
from luthier.stages.data.leakage import describe_leaks, find_leaks


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Two hours I will never get back.", "two hours i will NEVER get back"),
        ("Hello, world!", "hello  world"),
        ("“Quoted” – text…", '"quoted" - text'),
        ("ＦＵＬＬ width", "full width"),
        ("Straße", "STRASSE"),
        ("It costs 5.", "it costs 5"),
        ("one_two", "one two"),
        ("これは、本です。", "これは 本です"),
    ],
)
def test_texts_that_are_the_same_after_normalising(a: str, b: str) -> None:
    assert normalised_text(a) == normalised_text(b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("-5", "5"),
        ("3.5", "35"),
        ("5-3", "5/3"),
        ("5 - 3", "5 + 3"),
        ("1,000", "1 000"),
        ("?", "!"),
        ("?", ""),
        ("हिन्दी", "हनद"),
        ("naïve", "naive"),
        ("👍", "👎"),
        ("C++", "C"),
    ],
)
def test_texts_that_stay_different(a: str, b: str) -> None:
    assert normalised_text(a) != normalised_text(b)


@given(st.text(max_size=60))
def test_normalising_twice_changes_nothing_and_outer_spaces_do_not_matter(text: str) -> None:
    once = normalised_text(text)
    assert normalised_text(once) == once
    assert normalised_text(f"  {text}\n") == once


def splits(**rows: list[str]) -> dict[str, list[object]]:
    out: dict[str, list[object]] = {}
    for split, texts in rows.items():
        out[split] = list(with_ids(example(t, "x", f"line {i}", file=f"{split}.jsonl") for i, t in enumerate(texts, 1)))
    return out


def test_exact_and_near_copies_are_found_once_each_with_their_places() -> None:
    found = find_leaks(splits(train=["A b", "c d", "new"], validation=["A b", "e"], test=["A b", "C, d!"]))
    told = {(x.kind, str(x.seen.source), str(x.sealed.source)) for x in found}
    assert told == {
        ("exact", "validation.jsonl line 1", "test.jsonl line 1"),
        ("exact", "train.jsonl line 1", "test.jsonl line 1"),
        ("normalised", "train.jsonl line 2", "test.jsonl line 2"),
        ("exact", "train.jsonl line 1", "validation.jsonl line 1"),
    }
    text = describe_leaks(found)
    assert "2 train rows repeat test rows (1 exact, 1 normalised)" in text
    assert "1 train row repeats validation rows (1 exact)" in text
    assert "test.jsonl line 2 (test) and train.jsonl line 2 (train): the same but for case" in text


def test_no_leak_is_no_list() -> None:
    assert find_leaks(splits(train=["a"], validation=["b"], test=["c"])) == []
    assert find_leaks({"train": [], "test": []}) == []


def test_another_answer_to_the_same_prompt_leaks_by_prompt_and_not_by_row() -> None:
    one, two = with_ids([example("same", "x"), example("same", "y")])
    rows = {"train": [one], "test": [two]}
    assert [x.kind for x in find_leaks(rows)] == ["exact"]
    assert find_leaks(rows, same="row") == []


def test_a_shared_group_leaks() -> None:
    one, two = with_ids([example("a", group="g1"), example("b", group="g1")])
    rows = {"train": [one], "test": [two]}
    assert [x.kind for x in find_leaks(rows)] == ["group"]
    assert find_leaks(rows, by_group=False) == []


def test_only_the_first_places_are_listed() -> None:
    texts = [f"t{i}" for i in range(9)]
    text = describe_leaks(find_leaks(splits(train=texts, test=texts)))
    assert text.count("\n") == 6
    assert "and 4 more" in text


def test_every_kind_of_record_has_a_text() -> None:
    source = Source("f", "line 1")
    user, good, bad = Message("user", "q"), Message("assistant", "a"), Message("assistant", "b")
    pair = Preference((user,), (good,), (bad,), source)
    rating = Rating((user,), (good,), True, source)
    assert exact_text(pair, "prompt") == exact_text(rating, "prompt") == exact_text(example("q"), "prompt")
    assert len({exact_text(r, "row") for r in (pair, rating, example("q"))}) == 3
    assert exact_text(Text("raw", source), "prompt") == "raw"
    called = replace(example("q"), messages=(Message("user", "q", tool_calls=({"name": "f"},)), good))
    assert exact_text(called, "prompt") != exact_text(example("q"), "prompt")


def test_the_real_leaking_folder(shared_data: Path) -> None:
    folder = shared_data / "bad_inputs" / "cls_leak_train_test"
    splits = {}
    for split in ("train", "test"):
        lines = [json.loads(line) for line in (folder / f"{split}.jsonl").read_text().splitlines()]
        rows = [example(x["text"], x["label"], f"line {i}", file=f"{split}.jsonl") for i, x in enumerate(lines, 1)]
        splits[split] = list(with_ids(rows))
    found = {(x.kind, str(x.sealed.source), str(x.seen.source)) for x in find_leaks(splits)}
    assert found == {("exact", "test.jsonl line 1", "train.jsonl line 1"), ("normalised", "test.jsonl line 2", "train.jsonl line 2")}
