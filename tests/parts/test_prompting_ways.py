"""A list of shots in a project file is one way of asking for each number."""

from __future__ import annotations

from typing import Any

import pytest

from luthier.core.config import parse_config
from luthier.core.errors import UserError
from luthier.parts.prompting import DEFAULT_WAYS
from luthier.pipeline.project import EvaluateSection


def ways(*baselines: Any) -> list[tuple[str, int]]:
    """Names and shots of the ways that these settings give."""
    return [(way.name, way.shots) for way in parse_config(EvaluateSection, {"baselines": list(baselines)}).baselines]


def test_a_list_of_shots_is_a_way_for_each() -> None:
    several = ways({"name": "zero-shot"}, {"name": "few-shot", "shots": [2, 4]}, {"shots": [8]})
    assert several == [("zero-shot", 0), ("few-shot-2", 2), ("few-shot-4", 4), ("few-shot-8", 8)]
    assert ways({"name": "own", "shots": 3}) == [("own", 3)]
    assert EvaluateSection().baselines == DEFAULT_WAYS


@pytest.mark.parametrize(
    ("baselines", "words"),
    [
        ([{"name": "few-shot", "shots": [2, 2]}], "baselines must have different names, got few-shot-2, few-shot-2"),
        ([{"name": "few-shot", "shots": []}], "got an empty list for few-shot"),
        ([{"name": "few-shot", "shots": [2, 999]}], "must be less than or equal to 256, got 999"),
        ([{"name": "few-shot", "shots": ["two"]}], "got 'two'"),
    ],
)
def test_shots_that_make_no_sense_are_one_message(baselines: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(UserError) as caught:
        ways(*baselines)
    assert words in str(caught.value)
