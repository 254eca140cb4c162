"""Two data sets side by side: what came, went and changed, and how their distributions moved."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from one_stage import example

from luthier.core.records import Example
from luthier.stages.data.compare_rows import Side, compare, findings, label_counts, lengths, shift


def rows(*texts: tuple[str, str], file: str = "a.csv") -> tuple[Example, ...]:
    return tuple(example(text, label, f"row {i + 1}", file=file) for i, (text, label) in enumerate(texts))


def test_rows_that_came_went_and_changed() -> None:
    old = rows(("one", "a"), ("two", "a"), ("three", "b"), ("cafÃ©", "b"), ("gone", "b"))
    new = rows(("two", "a"), ("one", "a"), ("three", "a"), ("café", "b"), ("new", "b"), ("another", "b"), file="a.csv")
    got = compare(Side("a", old), Side("b", new))
    assert got.same == 2
    assert [(c.by, [(f.field, f.before, f.after) for f in c.fields]) for c in got.changed] == [
        ("prompt", [("messages.1 (assistant)", "b", "a"), ("label", "b", "a")]),
        ("place", [("messages.0 (user)", "cafÃ©", "café")]),
        ("place", [("messages.0 (user)", "gone", "new")]),
    ]
    assert [r.messages[0].content for r in got.added] == ["another"]
    assert got.removed == ()


def test_a_given_id_pairs_first_and_rows_of_other_files_have_no_common_place() -> None:
    before = replace(example("old words", "a"), meta={"id": 7})
    after = replace(example("new words", "a", "row 9", file="b.csv"), meta={"id": "7"})
    assert [c.by for c in compare(Side("a", (before,)), Side("b", (after,))).changed] == ["given id"]
    apart = compare(Side("a", rows(("x", "a"))), Side("b", rows(("y", "a"), file="b.csv")))
    assert (len(apart.added), len(apart.removed), apart.changed) == (1, 1, ())


def test_copies_are_counted_and_an_ambiguous_name_pairs_nobody() -> None:
    got = compare(Side("a", rows(("x", "a"), ("x", "a"))), Side("b", rows(("x", "a"))))
    assert (got.same, len(got.removed), len(got.added)) == (1, 1, 0)
    twice = compare(Side("a", rows(("x", "a"), file="f")), Side("b", rows(("x", "b"), ("x", "c"), file="g")))
    assert (len(twice.changed), len(twice.added), len(twice.removed)) == (0, 2, 1)


def test_what_is_left_is_paired_by_its_words_when_one_row_alone_is_most_alike() -> None:
    old = rows(("<p>where is my new card</p>", "a"), ("please close the account", "a"), ("one two three", "b"), ("nothing alike", "b"))
    new = rows(
        ("a row that is new", "a"),
        ("please close the account &", "a"),
        ("where is my new card", "a"),
        ("one two four", "b"),
        ("one two five", "b"),
        file="cleaned.csv",
    )
    got = compare(Side("a", old), Side("b", new))
    assert [(c.before.messages[0].content, c.after.messages[0].content, c.by) for c in got.changed] == [
        ("<p>where is my new card</p>", "where is my new card", "words"),
        ("please close the account", "please close the account &", "words"),
    ]
    assert (len(got.removed), len(got.added)) == (2, 3)


def test_rows_that_moved_between_splits() -> None:
    both = rows(("x", "a"), ("y", "a"))
    got = compare(Side("a", both, ("train", "test")), Side("b", both[::-1], ("train", "train")))
    assert [(r.messages[0].content, x, y) for r, x, y in got.moved] == [("y", "test", "train")]


PAIRS = st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("xy")), max_size=8)


@settings(max_examples=100, deadline=None)
@given(old=PAIRS, new=PAIRS)
def test_every_row_is_accounted_for_once(old: list[tuple[str, str]], new: list[tuple[str, str]]) -> None:
    got = compare(Side("a", rows(*old)), Side("b", rows(*new)))
    assert got.same + len(got.changed) + len(got.removed) == len(old)
    assert got.same + len(got.changed) + len(got.added) == len(new)
    back = compare(Side("b", rows(*new)), Side("a", rows(*old)))
    assert (back.same, len(back.changed), len(back.added), len(back.removed)) == (
        got.same,
        len(got.changed),
        len(got.removed),
        len(got.added),
    )


def test_labels_lengths_and_findings() -> None:
    a, b = rows(("one", "x"), ("three", "y")), rows(("<p>one</p>", "x"), ("ab", "x"))
    assert label_counts(a) == {"x": 1, "y": 1}
    assert shift(label_counts(a), label_counts(b)) == pytest.approx(0.5)
    assert shift({"x": 2}, {"x": 5}) == 0
    assert lengths(a)["prompt"] == {"mean": 4.0, "50": 3.0, "90": 5.0, "99": 5.0, "100": 5.0}
    assert findings(b) == {"class_balance": 1, "html_residue": 1}
