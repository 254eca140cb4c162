"""Several labels, numbers and pairs of texts: what becomes of a row, and the reason when nothing does."""

from __future__ import annotations

from typing import Any

import pytest

from luthier.core.records import Example, Source
from luthier.parts.checks.alternation import Alternation
from luthier.parts.sources.mapping import mapping_from
from luthier.parts.sources.mapping_base import PLAIN, Asking, RowFault
from luthier.parts.sources.prompt import PromptTemplate

WHERE = Source("rows.jsonl", "line 1")


def _convert(mapping: dict[str, Any], fields: dict[str, Any], asking: Asking = PLAIN) -> Example:
    (record,) = mapping_from(mapping).convert(fields, WHERE, asking).records
    assert isinstance(record, Example)
    return record


@pytest.mark.parametrize(
    ("separator", "value", "answer"),
    [
        (None, ["refund", "late"], '["late", "refund"]'),
        (None, [], "[]"),
        ("|", "refund | late", '["late", "refund"]'),
        (",", "", "[]"),
    ],
)
def test_labels_become_a_sorted_list(separator: str | None, value: Any, answer: str) -> None:
    mapping = {"kind": "multi_label", "text": "t", "labels": "l", "separator": separator}
    row = _convert(mapping, {"t": "Where is it?", "l": value})
    assert row.reference == answer
    assert row.label is None


@pytest.mark.parametrize(
    ("separator", "fields", "reason"),
    [
        (None, {"t": "x", "l": "late"}, "l is text, not a list \\(give `separator`"),
        (None, {"t": "x", "l": ["late", 3]}, "a label must be text and not empty, got 3"),
        (None, {"t": "x", "l": ["late", "late"]}, "label 'late' stands twice"),
        (None, {"t": "x"}, "l missing"),
        (",", {"t": "x", "l": ["late"]}, "l is a list, not text"),
        (",", {"t": "x", "l": "late,,lost"}, "a label must be text and not empty, got ''"),
        (",", {"t": "", "l": "late"}, "empty t"),
    ],
)
def test_labels_that_cannot_be_read_set_the_row_aside(separator: str | None, fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(RowFault, match=reason):
        _convert({"kind": "multi_label", "text": "t", "labels": "l", "separator": separator}, fields)


def test_a_label_outside_the_list_sets_the_row_aside() -> None:
    with pytest.raises(RowFault, match="label 'odd' is not in the list of labels"):
        _convert({"kind": "multi_label", "labels": "l"}, {"text": "x", "l": ["odd"]}, Asking(None, ("late", "lost")))


@pytest.mark.parametrize(("value", "answer"), [(3, "3"), (2.5, "2.5"), (" 1e-3 ", "1e-3")])
def test_a_number_stays_as_it_stands(value: Any, answer: str) -> None:
    assert _convert({"kind": "regression", "target": "s"}, {"text": "x", "s": value}).reference == answer


@pytest.mark.parametrize(
    ("value", "reason"),
    [("high", "s is not a number: 'high'"), (True, "s is true or false, not a number"), (float("nan"), "must be a finite number")],
)
def test_a_target_that_is_no_number_sets_the_row_aside(value: Any, reason: str) -> None:
    with pytest.raises(RowFault, match=reason):
        _convert({"kind": "regression", "target": "s"}, {"text": "x", "s": value})


@pytest.mark.parametrize("kind", ["classification", "multi_label", "regression"])
def test_a_pair_is_two_user_turns_that_no_check_minds(kind: str) -> None:
    fields = {"text": "A man sleeps.", "other": "A man is awake.", "label": "no", "labels": ["no"], "score": 1}
    row = _convert({"kind": kind, "pair": "other"}, fields)
    assert [(m.role, m.content, m.name) for m in row.prompt] == [
        ("user", "A man sleeps.", "text"),
        ("user", "A man is awake.", "pair"),
    ]
    assert Alternation()(row).passed


def test_a_template_is_used_as_for_every_other_kind() -> None:
    asking = Asking(PromptTemplate(user="Labels of: {text}", label_text={"a": "apple"}), ("a", "b"))
    row = _convert({"kind": "multi_label"}, {"text": "x", "labels": ["b", "a"]}, asking)
    assert row.prompt[0].content == "Labels of: x"
    assert row.reference == '["apple", "b"]'
