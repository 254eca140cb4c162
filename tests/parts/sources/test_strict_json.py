"""Strict JSON: what json.loads lets through and this does not, and equality with json.loads on the rest."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.parts.sources.strict_json import BadJson, parse_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_valid_json_is_what_the_standard_library_reads(value: object) -> None:
    for ascii_only in (True, False):
        text = json.dumps(value, ensure_ascii=ascii_only)
        assert parse_json(text) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": NaN}', "NaN is not JSON"),
        ('{"a": -Infinity}', "-Infinity is not JSON"),
        ('{"a": 1e999}', "too large for a float"),
        ('{"a": 1, "b": 2, "a": 3}', "duplicate key `a`"),
        ('{"x": {"a": 1, "a": 1}}', "duplicate key `a`"),
        ('"\\ud83d"', "lone surrogate U+D83D"),
        ('{"\\udc00": 1}', "lone surrogate U+DC00"),
        ("{'a': 1}", "single quotes"),
        ("// note", "comment"),
        ('{"a": 1', "incomplete JSON"),
        ('{"a": "b', "incomplete JSON"),
        ('{"a": 1} {"b": 2}', "extra data"),
        ('{"a": "\0"}', "control character U+0000"),
        ("1" * 5000, "not JSON"),
    ],
)
def test_what_is_refused_and_why(text: str, reason: str) -> None:
    with pytest.raises(BadJson) as err:
        parse_json(text)
    assert reason in str(err.value)


def test_a_pair_of_surrogate_escapes_is_one_character() -> None:
    assert parse_json('"\\ud83d\\ude00"') == "😀"


@pytest.mark.parametrize("opener", ["[", '{"a":'])
def test_depth_is_counted_without_recursion(opener: str) -> None:
    with pytest.raises(BadJson, match="nested too deep"):
        parse_json(opener * 200_000)


def test_depth_counts_nesting_and_not_brackets_in_strings_or_side_by_side() -> None:
    assert parse_json(json.dumps(["[" * 500])) == ["[" * 500]
    assert len(parse_json("[" + ",".join(["[]"] * 500) + "]")) == 500
    assert parse_json("[" * 64 + "]" * 64)
    with pytest.raises(BadJson, match="nested too deep"):
        parse_json("[" * 65 + "]" * 65)
