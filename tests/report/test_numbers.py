"""Numbers in words."""

from __future__ import annotations

import pytest

from luthier.report import numbers
from luthier.report.model import RunReport
from luthier.report.sections import Estimate


@pytest.mark.parametrize(
    ("x", "unit", "said"),
    [
        (0.7543, "share", "75.4%"),
        (1, "share", "100.0%"),
        (-0.5, "number", "−0.500"),
        (1234.5, "number", "1,234.5"),
    ],
)
def test_value(x: float, unit: numbers.Unit, said: str) -> None:
    assert numbers.value(x, unit) == said


def test_differences_are_points_and_signed() -> None:
    assert numbers.difference(0.154) == "+15.4 points"
    assert numbers.difference(-0.154) == "−15.4 points"
    assert numbers.difference(0.02, "number") == "+0.020"
    assert numbers.difference_interval(-0.03, 0.07, "number") == "−0.030 to +0.070"


def test_estimates() -> None:
    assert numbers.estimate(Estimate(value=0.5, low=0.4, high=0.6, n=9)) == "50.0% (40.0 to 60.0%)"
    assert numbers.estimate(None) == numbers.estimated_difference(None) == "not measured"


@pytest.mark.parametrize(
    ("p", "said"),
    [
        (0, "p < 0.001"),
        (0.00099, "p < 0.001"),
        (0.0312, "p = 0.0312"),
        (0.0499, "p = 0.0499"),
        (0.4567, "p = 0.46"),
        (1, "p = 1.00"),
    ],
)
def test_p_values(p: float, said: str) -> None:
    assert numbers.p_value(p) == said


@pytest.mark.parametrize(
    ("s", "said"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (192.5, "3 min 12 s"),
        (3599.7, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (None, "not measured"),
    ],
)
def test_seconds(s: float | None, said: str) -> None:
    assert numbers.seconds(s) == said


def test_sizes() -> None:
    assert numbers.megabytes(812) == "812 MB"
    assert numbers.megabytes(3481.6) == "3.4 GB"
    assert numbers.large(134_515_008) == "134.5 M"
    assert numbers.large(1.2e9) == "1.2 B"
    assert numbers.large(921_600) == "921,600"
    assert numbers.count(1234) == "1,234"
    assert {f(None) for f in (numbers.megabytes, numbers.large, numbers.count, numbers.watt_hours)} == {"not measured"}


def test_settings() -> None:
    assert [numbers.setting(x) for x in (True, False, None, 2e-4, 16, "cosine")] == ["yes", "no", "none", "0.0002", "16", "cosine"]


@pytest.mark.parametrize("decision", ["better", "not proven", "worse"])
def test_each_decision_has_a_sentence(decision: str, rich: RunReport) -> None:
    said = numbers.verdict_sentence(rich.model_copy(update={"verdict": rich.verdict.model_copy(update={"decision": decision})}))
    assert decision in said.lower()
    assert "66.7% to 88.3%" in said
    assert "240 sealed rows" in said
    assert said.count(". ") == 0


def test_the_opponent_is_named(rich: RunReport, minimal: RunReport) -> None:
    assert numbers.opponent(rich) == numbers.opponent(minimal) == "the best prompting baseline"
    last = rich.candidates[-2].model_copy(update={"role": "previous", "chosen": True})
    assert "better than the previous release" in numbers.verdict_sentence(rich.model_copy(update={"candidates": (last,)}))


def test_detectable(rich: RunReport) -> None:
    assert "+8.3 points" in numbers.detectable(rich.verdict, "share")
    few = rich.verdict.model_copy(update={"minimum_detectable_effect": 1.0, "num_rows": 3})
    assert numbers.detectable(few, "share") == "3 rows are too few to show any gain at 80% power."
