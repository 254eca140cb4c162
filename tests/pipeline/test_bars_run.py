"""Bars of a run: judged on the sealed rows, shown in every view, and part of the answer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from statsmodels.stats.multitest import multipletests

from luthier.core.events import ignore
from luthier.pipeline.run import RunOptions, RunOutcome, run
from luthier.pipeline.workspace import Workspace
from luthier.report.cards import model_card
from luthier.report.page import render_page
from luthier.stages.evaluate.judge import compare
from toy_project import luthier


@pytest.fixture
def copy(finished_toy: Path, tmp_path: Path) -> Path:
    """The finished project, to change."""
    shutil.copytree(finished_toy, tmp_path / "toy", symlinks=True)
    return tmp_path / "toy"


def go(folder: Path, bars: str) -> RunOutcome:
    """A run with these bars."""
    return run(
        Workspace.open(folder / "luthier.yaml", (f"objective.bars={bars}",)), RunOptions(ignore, lambda: False, reason="another opponent")
    )


def test_bars_are_judged_on_interval_ends(copy: Path) -> None:
    asked = (
        "{accuracy: {at_least: 0.6, no_worse_than: {by: 0.0}}, macro_f1: {at_least: 0.999, no_worse_than: {baseline: zero-shot, by: 0.1}}}"
    )
    outcome = go(copy, asked)
    bars = {(b.metric, b.kind): b for b in outcome.report.bars}
    tuned = {m.name: m.tuned for m in outcome.report.evaluation.metrics}
    assert [b.outcome for b in bars.values()].count("met") == 3
    figure, of_f1 = bars["accuracy", "at_least"].value, bars["macro_f1", "at_least"]
    assert tuned["accuracy"] is not None
    assert (figure.low, figure.high) == (tuned["accuracy"].low, tuned["accuracy"].high)
    assert of_f1.outcome == ("not met" if of_f1.value.high < 0.999 else "not proven")
    gain = bars["accuracy", "no_worse_than"]
    assert gain.value.value == outcome.report.verdict.effect
    assert gain.value.method == "Tango paired score"
    assert bars["macro_f1", "no_worse_than"].against == "zero-shot"
    assert not outcome.report.accepted
    assert (outcome.folder / "bars" / "bars.json").is_file()


def test_every_metric_has_its_paired_test_adjusted_over_the_others(copy: Path) -> None:
    metrics = ("objective.metrics=[macro_f1, mcc, brier]", "evaluate.look_reason=more metrics")
    report = run(Workspace.open(copy / "luthier.yaml", metrics), RunOptions(ignore, lambda: False)).report
    rows = {m.name: m for m in report.evaluation.metrics}
    assert (rows["accuracy"].p, rows["accuracy"].test) == (report.verdict.p, "exact McNemar")
    workspace = Workspace.open(copy / "luthier.yaml", metrics)
    tuned, base = (workspace.store.build(s, workspace.project.execution) for s in (workspace.graph.tuned, workspace.graph.baseline))
    alone = [compare(tuned, base, scorer, 0.05, 0).p for scorer in workspace.project.objective.others()]
    assert [rows[n].p for n in ("macro_f1", "mcc", "brier")] == pytest.approx(multipletests(alone, method="holm")[1])
    for text in (render_page(report), model_card(report)):
        assert text.count("p &lt; 0.001") + text.count("p < 0.001") + text.count("p = ") >= 4


def test_a_bar_is_in_the_page_the_card_the_record_and_no_other_run_is_found(copy: Path) -> None:
    outcome = go(copy, "{accuracy: {at_least: 0.5}}")
    assert (outcome.number, outcome.cached, outcome.report.accepted) == (2, False, True)
    for text in (render_page(outcome.report), model_card(outcome.report)):
        assert "accuracy at least 50.0%" in text.replace("\\", "")
        assert "The bar is met." in text
    assert go(copy, "{accuracy: {at_least: 0.5}}").cached
    assert go(copy, "{}").number == 1
    assert "The bar is met." in Workspace.open(copy / "luthier.yaml").database.find_run("2")["sentence"]


def test_a_bar_that_is_not_met_ends_with_1_and_says_so(copy: Path) -> None:
    done = luthier(copy, "run", "objective.bars={accuracy: {at_least: 1.0}}", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 1
    assert document["verdict"]["decision"] == "better"
    assert (document["accepted"], document["bars"][0]["outcome"]) == (
        False,
        "not met" if document["bars"][0]["value"]["high"] < 1 else "not proven",
    )
    assert "0 of 1 bar met; accuracy at least 100.0%" in done.stderr


def test_the_bar_of_the_deciding_metric_is_that_of_the_probe(copy: Path) -> None:
    from luthier.pipeline.bench import _plan

    def bar(*overrides: str) -> float | None:
        return _plan(Workspace.open(copy / "luthier.yaml", overrides)).at_least

    assert bar() is None
    assert bar("objective.bars={accuracy: {at_least: 0.9}}") == 0.9
    assert bar("objective.bars={accuracy: {at_least: 0.9}}", "bench.at_least=0.7") == 0.7
