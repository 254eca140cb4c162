"""Rows of other kinds and changed rows beside the sealed ones: what is measured, what is shown, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from luthier.core.errors import UserError
from luthier.core.events import Event, StageStarted
from luthier.pipeline.run import RunOptions, RunOutcome, run
from luthier.pipeline.workspace import Workspace
from luthier.report.cards import model_card
from luthier.report.page import render_page
from luthier.stats.independent import newcombe_independent
from toy_project import WORDS, luthier

EVALUATE = {
    "out_of_domain": {"shouted": {"path": "shouted.csv", "mapping": {"kind": "classification", "text": "message", "label": "topic"}}},
    "perturbations": ["typos", {"kind": "casing", "to": "upper"}, "length"],
}


@pytest.fixture(scope="module")
def asked(finished_toy: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunOutcome, list[str]]:
    """The finished project with other rows and changed rows, run again; the stages that this started."""
    folder = tmp_path_factory.mktemp("robust") / "toy"
    shutil.copytree(finished_toy, folder, symlinks=True)
    rows = [f"{word} it seems {i},{label}" for i in range(10) for label, word in WORDS.items()]
    (folder / "shouted.csv").write_text("message,topic\n" + "\n".join(rows) + "\n", encoding="utf-8")
    settings = yaml.safe_load((folder / "luthier.yaml").read_text())
    settings["evaluate"] |= EVALUATE
    settings["evaluate"]["out_of_domain"]["shouted"]["prompt"] = {"system": "Labels: {labels}", "user": "{message}"}
    (folder / "luthier.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    started: list[str] = []

    def watch(event: Event) -> None:
        if isinstance(event, StageStarted):
            started.append(event.stage)

    outcome = run(Workspace.open(folder / "luthier.yaml"), RunOptions(watch, lambda: False, reason="to see how robust it is"))
    return folder, outcome, started


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_nothing_is_trained_again_and_the_rows_are_read_first(asked: tuple[Path, RunOutcome, list[str]]) -> None:
    _, outcome, started = asked
    assert outcome.number == 2
    assert started[:4] == ["otherrows", "perturb", "perturb", "perturb"]
    assert "train" not in started
    assert outcome.report.verdict.looks == 2


def test_other_rows_are_another_sample(asked: tuple[Path, RunOutcome, list[str]]) -> None:
    _, outcome, _ = asked
    rows = {(r.name, r.model): r for r in outcome.report.robustness if r.kind == "out of domain"}
    assert set(rows) == {("shouted", "tuned"), ("shouted", "baseline")}
    inside, outside = (
        lines(outcome.folder / "tuned" / "predictions.jsonl"),
        lines(outcome.folder / "other-shouted-tuned" / "predictions.jsonl"),
    )
    right = [(sum(r["scores"]["accuracy"] for r in side), len(side)) for side in (outside, inside)]
    wanted, found = newcombe_independent(*right), rows["shouted", "tuned"]
    assert found.change is not None
    assert (found.change.value, found.change.low, found.change.high) == pytest.approx((wanted.value, wanted.low, wanted.high))
    assert (len(outside), found.after.n, found.before) == (30, 30, outcome.report.verdict.tuned)
    assert all(r["prompt"][0]["content"] == inside[0]["prompt"][0]["content"] for r in outside)  # the labels of the project's own rows


def test_changed_rows_are_the_same_rows(asked: tuple[Path, RunOutcome, list[str]]) -> None:
    _, outcome, _ = asked
    rows = [r for r in outcome.report.robustness if r.kind == "perturbation"]
    assert sorted(r.name for r in rows) == ["casing", "length", "typos"]
    changes = [r.change.value for r in rows if r.change]
    assert changes == sorted(changes)
    clean = {r["key"]: r for r in lines(outcome.folder / "predictions.jsonl")}
    for row in rows:
        changed = lines(outcome.folder / f"changed-{row.name}-tuned" / "predictions.jsonl")
        assert {r["key"] for r in changed} <= set(clean)
        assert row.num_left_out == len(clean) - len(changed)
        assert row.answers_changed is not None
        moved = sum(r["output"] != clean[r["key"]]["output"] for r in changed)
        assert row.answers_changed.value == pytest.approx(moved / len(changed))
        gained = sum(r["scores"]["accuracy"] - clean[r["key"]]["scores"]["accuracy"] for r in changed)
        assert row.change is not None
        assert row.change.value == pytest.approx(gained / len(changed))
        assert row.change.low <= row.change.value <= row.change.high


def test_they_are_in_every_view_and_found_again(asked: tuple[Path, RunOutcome, list[str]]) -> None:
    folder, outcome, _ = asked
    for text in (render_page(outcome.report), model_card(outcome.report)):
        assert "shouted (tuned)" in text
        assert "casing" in text
    assert not any("robustness were not measured" in limit for limit in outcome.report.limits)
    again = luthier(folder, "run", "--json")
    assert json.loads(again.stdout)["cached"]
    assert "shouted (tuned)" in again.stderr
    resolved = Workspace.open(outcome.folder / "config.resolved.yaml")
    assert resolved.graph.run_key() == Workspace.open(folder / "luthier.yaml").graph.run_key()


def go(folder: Path, **evaluate: Any) -> RunOutcome:
    """A run of the finished project with these settings of `evaluate`."""
    given = tuple(f"evaluate.{name}={json.dumps(value)}" for name, value in evaluate.items())
    return run(Workspace.open(folder / "luthier.yaml", given), RunOptions(lambda event: None, lambda: False, reason="a test"))


@pytest.fixture
def copy(finished_toy: Path, tmp_path: Path) -> Path:
    """The finished project, to change."""
    shutil.copytree(finished_toy, tmp_path / "toy", symlinks=True)
    return tmp_path / "toy"


def test_a_change_of_meaning_is_no_drop_and_the_opponent_may_be_asked_too(copy: Path) -> None:
    outcome = go(copy, perturbations=["negation"], perturb_opponent=True)
    rows = {row.model: row for row in outcome.report.robustness}
    assert set(rows) == {"tuned", "baseline"}
    for model, row in rows.items():
        assert (row.name, row.change) == ("negation", None)
        assert row.answers_changed is not None
        assert row.num_left_out > 0
        changed = {r["key"]: r["output"] for r in lines(outcome.folder / f"changed-negation-{model}" / "predictions.jsonl")}
        plain = {r["key"]: r["output"] for r in lines(outcome.folder / model / "predictions.jsonl")}
        assert row.answers_changed.value == pytest.approx(sum(plain[key] != output for key, output in changed.items()) / len(changed))
    assert "negation (baseline)" in render_page(outcome.report)


@pytest.mark.parametrize(
    ("evaluate", "words"),
    [
        ({"perturbations": ["typo"]}, "did you mean `typos`"),
        ({"perturbations": ["typos", "typos"]}, "each perturbation must be listed once, got typos, typos"),
        ({"perturbations": ["rewording"]}, "rewording must be able to change at least one test row (its lists are English), got 0 of 42"),
        ({"out_of_domain": {"forum": "none.csv"}}, "the out-of-domain set must exist, got none.csv (evaluate.out_of_domain.forum"),
        ({"out_of_domain": {"forum": "lacking.csv"}}, "column `label` not found"),
        ({"out_of_domain": {"forum": "strange.csv"}}, "evaluate.out_of_domain.forum"),
        ({"out_of_domain": {"forum": "trained.csv"}}, "an out-of-domain set must hold no training row, got"),
        ({"out_of_domain": {"a/b": "rows.csv"}}, "out_of_domain"),
        ({"out_of_domain": {"forum": {}}}, "a path or a source must be given"),
    ],
)
def test_what_cannot_be_measured_is_one_message(copy: Path, evaluate: dict[str, Any], words: str) -> None:
    (copy / "lacking.csv").write_text("text,topic\na stolen card,card\n")
    (copy / "strange.csv").write_text("text,label\nwhere is it,weather\n")
    shutil.copy(copy / "rows.csv", copy / "trained.csv")
    with pytest.raises(UserError) as caught:
        go(copy, **evaluate)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert Workspace.open(copy / "luthier.yaml").database.looks(Workspace.open(copy / "luthier.yaml").graph.split.key()) == 1
