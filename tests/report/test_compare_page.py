"""The page of a comparison: every run is named, untrusted names stay text, runs stay apart, a run without figures is shown as such."""

from __future__ import annotations

import pytest
from lxml import etree

from luthier.report.compare_model import ComparedRun, Difference, RunCost, RunPair, RunsComparison
from luthier.report.compare_page import compare_charts, render_compare_page
from luthier.report.compare_plots import COLOURS, DASHES, looks_of, name_places, overlaid_chart
from luthier.report.sections import CurvePoint, Estimate

HOSTILE = "run 2 (<script>&)"


def run(label: str, value: float | None, seconds: float = 10.0, points: int = 5) -> ComparedRun:
    figure = None if value is None else Estimate(value=value, low=value - 0.1, high=value + 0.05, n=40)
    return ComparedRun(
        label=label,
        project="p",
        number=1,
        name="n",
        state="running" if figure is None else "done",
        primary=figure,
        metrics={} if figure is None else {"accuracy": figure, "mae": figure},
        group_letters="" if figure is None else "a",
        num_rows=None if figure is None else 40,
        cost=None if figure is None else RunCost(train_seconds=seconds, trained_tokens=9, num_trainable=9, peak_memory_mb=1, energy_wh=1),
        curves=tuple(CurvePoint(step=s, split="train", name="loss", value=1.0 / s) for s in range(1, points + 1)),
        step=points,
    )


@pytest.fixture(scope="module")
def found() -> RunsComparison:
    runs = (run("run 1 (a)", 0.9), run(HOSTILE, 0.8, 99.0), run("run 3 (live)", None))
    return RunsComparison(
        metric="accuracy",
        units={"accuracy": "share"},
        task="classify",
        alpha=0.05,
        num_rows=40,
        runs=runs,
        pairs=(RunPair(first="run 1 (a)", second=HOSTILE, effect=0.1, low=-0.01, high=0.2, p=0.04, adjusted=0.06, test="exact McNemar"),),
        groups=(("run 1 (a)", HOSTILE),),
        words=("they cannot be told apart",),
        differences=(Difference(key="train.seed", values={"run 1 (a)": 1}),),
        looks=4,
    )


def test_the_page_shows_every_run_and_escapes_its_name(found: RunsComparison) -> None:
    page = render_compare_page(found, "three <runs>")
    assert "<script>&" not in page
    assert "three &lt;runs&gt;" in page
    for words in ("no figure yet", "running, step 5", "not set", "not trained yet", "90.0%", "p = 0.06", "looked at 4 times"):
        assert words in page
    assert page == render_compare_page(found, "three <runs>")


@pytest.mark.parametrize("width", [640, 330])
def test_charts_are_whole_svg_and_name_the_runs(found: RunsComparison, width: int) -> None:
    charts = compare_charts(found, width)
    assert set(charts) == {"runs", "training loss", "training time"}  # no validation curve, no time of an answer
    for svg in charts.values():
        text = "".join(etree.fromstring(svg.encode()).itertext())
        assert "run 1 (a)" in text
        assert HOSTILE in text
    assert "run 3 (live) from 1.000 to 0.200" in charts["training loss"]


def test_a_run_with_one_point_has_no_line() -> None:
    assert overlaid_chart([run("a", 0.5, points=1)], "train", "loss") == ""


def test_twenty_runs_look_different() -> None:
    inks, dashes = looks_of([f"run {i}" for i in range(20)])
    assert len({(inks[name], tuple(dashes[name])) for name in inks}) == len(COLOURS) * len(DASHES) == 20


def test_names_never_meet() -> None:
    assert name_places([0.9, 0.9, 0.5], 1.0, 280) == pytest.approx([0.9, 0.85, 0.5])
