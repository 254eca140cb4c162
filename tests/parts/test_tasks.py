"""What a task gives by itself: its metric, its prompt, and its spellings."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from luthier.core.config import parse_config
from luthier.core.errors import UserError
from luthier.parts.scorers import known_scorers, load
from luthier.parts.sources.prompt import PromptTemplate
from luthier.parts.tasks import Task, default_prompt, defaults_of
from luthier.pipeline.project import Project


def project(task: str, mapping: dict[str, Any], **objective: Any) -> Project:
    """A project file with the default prompt."""
    data = {"files": ["rows.csv"], "mapping": mapping, "prompt": "default"}
    return parse_config(Project, {"name": "p", "base": "b", "objective": {"task": task, "goal": "g", **objective}, "data": data})


@pytest.mark.parametrize("task", get_args(Task))
def test_a_task_has_a_metric_that_fits_it_or_says_how_to_write_one(task: str) -> None:
    found = defaults_of(task)
    if found.metric is None:
        assert found.settings.startswith("{kind: ")
        assert found.settings.split()[1].rstrip(",") in known_scorers()
    else:
        scorer = load(found.metric)
        assert not scorer.tasks or task in scorer.tasks
        assert scorer.higher_is_better


def test_raw_text_has_no_default_prompt() -> None:
    with pytest.raises(UserError, match="raw text has no prompt"):
        default_prompt("pretrain", {"kind": "text"})


@pytest.mark.parametrize("task", sorted({*get_args(Task)} - {"pretrain"}))
def test_the_default_prompt_is_a_template_of_the_mappings_columns(task: str) -> None:
    for mapping, columns in (
        ({"kind": "classification", "text": ["title", "body"]}, {"title", "body"}),
        ({"kind": "prompt_completion", "prompt": "question"}, {"question"}),
        ({"kind": "entities"}, {"text"}),
    ):
        template = PromptTemplate.model_validate(default_prompt(task, mapping))
        assert set(template.columns()) == columns
        assert template.system


def test_a_project_may_ask_for_the_default_prompt() -> None:
    found = project("classify", {"kind": "classification"}).data.prompt
    assert found is not None
    assert found.system == "Classify the text. Answer with one label only. Labels: {labels}"
    assert found.user == "{text}"
    with pytest.raises(UserError, match=r"default prompt goes with .* got kind: messages"):
        project("chat", {"kind": "messages"})


def test_regress_is_regression_and_rank_is_judged_by_ndcg() -> None:
    assert project("regress", {"kind": "regression"}).objective.task == "regression"
    assert project("rank", {"kind": "prompt_completion"}).objective.primary() == load("ndcg")


@pytest.mark.parametrize(
    ("task", "objective", "words"),
    [
        ("clasify", {}, "did you mean `classify`"),
        ("code", {}, "the task code needs a metric with settings: {kind: code_tests"),
        ("classify", {"metric": "ndcg"}, "the metric ndcg is for the task rank, got the task classify"),
        ("classify", {"metrics": ["bleu"]}, "the metric bleu is for the task answer or"),
        ("classify", {"metric": "brier"}, "must be one where higher is better"),
    ],
)
def test_what_does_not_fit_a_task_is_one_message(task: str, objective: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as caught:
        project(task, {"kind": "classification"}, **objective)
    assert words in str(caught.value)
