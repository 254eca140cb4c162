"""Sealed rows have one final look: each further one needs a reason, and what is read again is no look."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from luthier.core.database import Database
from luthier.core.errors import UserError
from luthier.core.events import Event, StageStarted
from luthier.pipeline.plan import advice
from luthier.pipeline.run import RunOptions, RunOutcome, run
from luthier.pipeline.workspace import Workspace
from luthier.report.cards import model_card
from luthier.report.page import render_page
from luthier.report.terminal import summary
from toy_project import luthier

OTHER = "evaluate.baselines=[{name: zero-shot}]"
"""Another opponent: other sealed numbers without another training."""


@pytest.fixture
def copy(finished_toy: Path, tmp_path: Path) -> Path:
    """The finished project, to change."""
    shutil.copytree(finished_toy, tmp_path / "toy", symlinks=True)
    return tmp_path / "toy"


def go(folder: Path, *overrides: str, reason: str | None = None, built: list[str] | None = None) -> RunOutcome:
    """A run in this process; the stages that it starts go to `built`."""

    def watch(event: Event) -> None:
        if isinstance(event, StageStarted) and built is not None:
            built.append(event.stage)

    return run(Workspace.open(folder / "luthier.yaml", overrides), RunOptions(watch, lambda: False, reason=reason))


@pytest.mark.parametrize("reason", [None, "", "  "])
def test_a_further_look_without_a_reason_is_refused_before_anything_is_built(copy: Path, reason: str | None) -> None:
    built: list[str] = []
    with pytest.raises(UserError) as caught:
        go(copy, OTHER, reason=reason, built=built)
    text = str(caught.value)
    assert text.startswith("sealed test rows have one final look, and each further one needs a reason, got none, after 1 look (run 1 on 20")
    assert '--reason "why"' in text
    assert built == []
    assert len(Workspace.open(copy / "luthier.yaml").database.list_runs()) == 1


def test_the_command_line_ends_with_2_and_one_message(copy: Path) -> None:
    for words in (("run", OTHER), ("eval", "--split", "test", OTHER)):
        done = luthier(copy, *words)
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.count("one final look") == 1
        assert "Traceback" not in done.stderr


def test_the_reason_is_kept_and_printed_in_every_view(copy: Path) -> None:
    report = go(copy, OTHER, reason="the reviewers asked for the plain prompt").report
    assert report.verdict.looks == 2
    assert [(look.run, look.reason) for look in report.looks] == [(1, ""), (2, "the reviewers asked for the plain prompt")]
    for text in (render_page(report), model_card(report), _terminal(report)):
        assert "the reviewers asked for the plain prompt" in text
    stored = json.loads((copy / ".luthier" / "runs" / "0002-toy" / "report.json").read_text())
    assert stored["looks"][1]["reason"] == "the reviewers asked for the plain prompt"


def test_the_project_file_may_say_why(copy: Path) -> None:
    report = go(copy, OTHER, "evaluate.look_reason=a second opponent").report
    assert report.looks[1].reason == "a second opponent"


def test_what_shows_no_other_numbers_is_no_look(copy: Path) -> None:
    assert go(copy).report.verdict.looks == 1
    assert go(copy, "evaluate.alpha=0.01").report.verdict.looks == 1
    assert go(copy, "objective.bars={accuracy: {at_least: 0.5}}").report.verdict.looks == 1
    again = luthier(copy, "eval", "--split", "test", "--json")
    assert json.loads(again.stdout)["looks"] == 1


def test_a_stopped_evaluation_goes_on_without_a_reason(copy: Path) -> None:
    assert go(copy, OTHER, reason="first").report.verdict.looks == 2
    folder = (copy / ".luthier" / "runs" / "0002-toy" / "tuned").resolve()
    shutil.rmtree(folder)
    built: list[str] = []
    assert go(copy, OTHER, built=built).report.verdict.looks == 2
    assert built == ["evaluate"]


def test_the_plan_says_that_a_reason_is_needed(copy: Path) -> None:
    def told(*overrides: str) -> bool:
        return any("needs a reason: --reason" in line for line in advice(Workspace.open(copy / "luthier.yaml", overrides)))

    assert told(OTHER)
    assert not told()


def test_two_processes_cannot_both_take_the_first_look(tmp_path: Path) -> None:
    database = Database.in_folder(tmp_path)
    assert database.add_look("rows", "a", 1, only_first=True) == 1
    assert database.add_look("rows", "b", 2, only_first=True) == 0
    assert database.add_look("rows", "a", 3, only_first=True) == 1
    assert database.add_look("rows", "b", 2, "why") == 2
    assert [(row["run"], row["reason"]) for row in database.list_looks("rows")] == [(1, None), (2, "why")]


def _terminal(report: object) -> str:
    from rich.console import Console

    console = Console(width=200, no_color=True)
    with console.capture() as shown:
        console.print(summary(report))  # type: ignore[arg-type]
    return shown.get()


def test_the_base_alone_is_a_look_of_its_own_and_none_once_it_was_seen(copy: Path) -> None:
    seen = luthier(copy, "eval", "--base", "train.seed=99", "--split", "test", "--json")
    assert json.loads(seen.stdout)["looks"] == 1
    refused = luthier(copy, "eval", "--base", OTHER, "--split", "test")
    assert refused.returncode == 2
    assert "one final look" in refused.stderr
