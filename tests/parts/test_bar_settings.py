"""Bars in a project file: what is refused, and with which words."""

from __future__ import annotations

from typing import Any

import pytest

from luthier.core.config import parse_config
from luthier.core.errors import UserError
from luthier.pipeline.project import Project


def project(bars: dict[str, Any], **objective: Any) -> Project:
    """A classification project with these bars."""
    data = {"files": ["rows.csv"], "mapping": {"kind": "classification"}}
    goal = {"task": "classify", "goal": "g", "metrics": ["macro_f1", "ece", "log_loss"], "bars": bars, **objective}
    return parse_config(Project, {"name": "p", "base": "b", "objective": goal, "data": data})


def test_every_kind_of_bar_is_read() -> None:
    found = project({"accuracy": {"at_least": 0.8, "no_worse_than": {"by": 0.02}}, "ece": {"at_most": 0.1}, "log_loss": {"at_most": 3}})
    accuracy = found.objective.bars["accuracy"]
    assert accuracy.no_worse_than is not None
    assert (accuracy.at_least, accuracy.no_worse_than.baseline, accuracy.no_worse_than.by) == (0.8, "opponent", 0.02)
    assert project({}).objective.bars == {}


@pytest.mark.parametrize(
    ("bars", "words"),
    [
        ({"acuracy": {"at_least": 0.8}}, "a bar must name a metric of the objective, got acuracy; did you mean `accuracy`?"),
        ({"mcc": {"at_least": 0.8}}, "or list it under `metrics`"),
        ({"ece": {"at_least": 0.8}}, "lower is better for ece: its bar is `at_most`, got at_least=0.8"),
        ({"accuracy": {"at_most": 0.8}}, "higher is better for accuracy: its bar is `at_least`"),
        ({"accuracy": {"at_least": 80}}, "accuracy is a share from 0 to 1, got the bar 80; did you mean 0.8?"),
        ({"accuracy": {}}, "a bar must have at_least, at_most or no_worse_than"),
        ({"accuracy": {"at_lest": 0.8}}, "unknown key `objective.bars.accuracy.at_lest`; did you mean `at_least`?"),
        ({"accuracy": {"no_worse_than": {"by": -0.1}}}, "`objective.bars.accuracy.no_worse_than.by` must be greater than or equal to 0"),
        ({"accuracy": {"no_worse_than": {"baseline": "zero-sht"}}}, "got zero-sht; did you mean `zero-shot`?"),
    ],
)
def test_a_bar_that_makes_no_sense_is_one_message(bars: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        project(bars)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
