"""The trials of rows that do not belong: what a share and a precision are shares of."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from luthier.core.records import Record, Text
from luthier.parts.checks.contract import RowFinding


@pytest.fixture(autouse=True)
def reliability(monkeypatch: pytest.MonkeyPatch, repo: Path) -> None:
    monkeypatch.syspath_prepend(str(repo / "reliability"))


def long_texts(records: Sequence[Record]) -> list[RowFinding]:
    """A check that finds texts of more than one word."""
    return [RowFinding(i, "long", 0.96) for i, r in enumerate(records) if isinstance(r, Text) and " " in r.text]


def test_each_kind_is_counted_by_itself() -> None:
    from unlike import flagged, precision, scores, shares

    texts = {"task": ["a", "b c", "d", "e"], "other": ["f g", "h i", "j"]}
    hits = flagged(long_texts, texts)
    assert hits == {"task": [False, True, False, False], "other": [True, True, False]}
    assert scores(long_texts, texts)["other"] == [0.96, 0.96, 0.0]
    assert {kind: (e["value"], e["of"]) for kind, e in shares(hits).items()} == {"task": (0.25, 4), "other": (0.6667, 3)}
    assert (precision(hits)["value"], precision(hits)["of"]) == (0.6667, 3)
    assert precision({"task": [False], "other": [False]}) == {"of": 0}


def test_garble_is_no_language() -> None:
    from unlike import garble

    words = garble(random.Random(1)).split()
    assert 8 <= len(words) <= 14
    assert all(3 <= len(word) <= 9 and word.isalpha() for word in words)
    assert garble(random.Random(1)) == " ".join(words)
