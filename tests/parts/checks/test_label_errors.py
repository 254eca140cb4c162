"""The check of labels: planted flips on real rows, what is not judged is said, and its fate in a cleaning."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from luthier.core.errors import UserError
from luthier.core.records import Example, Message, Source
from luthier.parts.checks.contract import WHOLE_SET
from luthier.parts.checks.label_errors import LabelErrors
from luthier.parts.checks.steps import load_step
from luthier.parts.duplicates import semantic
from luthier.stages.data.cleaning import judged_together

WORDS = ("card", "pin", "loan", "rate")


def row(text: str, label: str | None, at: int) -> Example:
    return Example((Message("user", text), Message("assistant", label or "")), Source("f", f"line {at}"), label=label)


def rows(num: int = 60, wrong: Sequence[int] = ()) -> list[Example]:
    """Row i is about word i % 3 and labelled so, but for the wrong ones."""
    return [row(f"about {WORDS[i % 3]} {i}", WORDS[(i + (i in wrong)) % 3], i) for i in range(num)]


@pytest.fixture(autouse=True)
def toy_encoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Embeds a text as the word that is in it, a little off; the real encoder where a test asks for it."""
    if "real" in request.node.name:
        return

    def embedded(texts: list[str], encoder: str, progress: object = None) -> np.ndarray:
        off = np.random.default_rng(0).normal(scale=0.1, size=(len(texts), len(WORDS)))
        return (np.array([[word in text for word in WORDS] for text in texts]) + off).astype(np.float32)

    monkeypatch.setattr(semantic, "embedded", embedded)


def test_a_finding_says_the_label_given_the_one_suggested_and_how_surely() -> None:
    found = LabelErrors()(rows(wrong=(4, 11)))
    assert {f.row for f in found[:2]} == {4, 11}
    four = next(f for f in found if f.row == 4)
    assert four.suggestion == "pin"
    assert four.reason.startswith("label 'loan' is probably wrong (probability 0.")
    assert "looks like 'pin' (0." in four.reason
    assert 0.5 < four.score <= 1
    assert found[0].score >= found[1].score
    assert LabelErrors()(rows(wrong=(4, 11))) == found
    assert LabelErrors(threshold=1.0)(rows(wrong=(4, 11))) == []


def test_labels_on_too_few_rows_are_not_judged_and_that_is_said() -> None:
    few = [row("about rate", "rate", 100), row("about rate", "rate", 101), row("about nothing", None, 102)]
    judgement = LabelErrors().judge([*few, *rows(wrong=(4,))])
    assert judgement.unjudged == {"rate": 2}
    assert (judgement.judged, judgement.errors[0].row) == (60, 7)
    assert judgement.agreeing == 60 - len(judgement.errors)
    found = LabelErrors()([*few, *rows(wrong=(4,))])
    assert (found[-1].row, found[-1].reason) == (WHOLE_SET, "2 rows are not judged, of 'rate': fewer than 5 rows each")


@pytest.mark.parametrize(
    "given", [[], [row("a", None, 1)], [row(f"about pin {i}", "pin", i) for i in range(9)]], ids=["none", "no label", "one"]
)
def test_what_cannot_be_judged_is_refused(given: list[Example]) -> None:
    with pytest.raises(UserError, match="two labels or more"):
        LabelErrors()(given)


def test_a_frame_around_every_row_changes_nothing() -> None:
    plain = rows(wrong=(4, 11))
    framed = [
        replace(r, messages=(Message("user", f"Which word is it? {r.messages[0].content} Answer now."), r.messages[1])) for r in plain
    ]
    assert [(f.row, f.suggestion) for f in LabelErrors()(framed)] == [(f.row, f.suggestion) for f in LabelErrors()(plain)]


def test_as_a_step_of_a_cleaning_it_takes_rows_away_and_only_warns_about_the_whole() -> None:
    step = load_step({"kind": "label_errors", "fate": "drop"})
    found = list(judged_together([*rows(wrong=(4,)), row("about rate", "rate", 100)], step))
    assert [(at, f.fate) for at, f in found if at in (4, None)] == [(4, "drop"), (None, "warn")]
    with pytest.raises(UserError, match="folds"):
        load_step({"kind": "label_errors", "folds": 1})


def test_planted_flips_in_real_rows_of_twelve_labels_are_found(repo: Path) -> None:
    with (repo / "examples" / "banking-intents" / "data" / "banking12.csv").open(encoding="utf-8", newline="") as f:
        pairs = list(csv.DictReader(f))[:240]
    names = sorted({p["category"] for p in pairs})
    rng = random.Random(5)
    wrong = rng.sample(range(len(pairs)), 12)
    for i in wrong:
        pairs[i]["category"] = rng.choice([n for n in names if n != pairs[i]["category"]])
    found = LabelErrors()([row(p["text"], p["category"], i) for i, p in enumerate(pairs)])
    hits = {f.row for f in found} & set(wrong)
    assert len(hits) >= 10
    assert len(found) <= 24
    assert {f.row for f in found[:6]} <= set(wrong)
