"""The terminal summary reads at 80 columns, without colour, verdict first."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from luthier.report import numbers
from luthier.report.model import RunReport
from luthier.report.terminal import print_summary


def printed(report: RunReport, width: int = 80, colour: bool = False) -> str:
    out = io.StringIO()
    system = "standard" if colour else None
    print_summary(report, Console(file=out, width=width, force_terminal=colour, no_color=not colour, color_system=system))
    return out.getvalue()


def flat(text: str) -> str:
    return " ".join(text.split())


def test_the_verdict_is_first(rich: RunReport) -> None:
    text = flat(printed(rich))
    assert text.startswith("BETTER " + numbers.verdict_sentence(rich))
    assert numbers.verdict_figures(rich.verdict, "share") in text


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_line_is_wider_than_the_terminal(rich: RunReport, minimal: RunReport, width: int) -> None:
    for report in (rich, minimal):
        assert max(len(line) for line in printed(report, width).splitlines()) <= width


def test_without_colour_there_are_no_escapes_and_nothing_is_lost(rich: RunReport) -> None:
    plain = printed(rich)
    assert "\x1b" not in plain
    assert "\x1b" in printed(rich, colour=True)
    for said in ("BETTER", "88.3% (83.7 to 91.8%)", "(chosen)", "+21.7 points", "luthier run luthier.yaml", "4 min 34 s", "1.8 GB"):
        assert said in flat(plain)


def test_what_was_not_measured_is_said(minimal: RunReport) -> None:
    text = flat(printed(minimal))
    for said in ("Baselines: not measured", "Training: not measured", "Time: not measured", "Memory: not measured"):
        assert said in text


def test_forgetting_and_memorisation_are_said(rich: RunReport) -> None:
    text = flat(printed(rich))
    for said in ("The model has forgotten part of what the base knew", "The model remembers rows", "The rows have taught what they can"):
        assert said in text


def test_names_are_not_markup(rich: RunReport) -> None:
    first = rich.candidates[0].model_copy(update={"name": "[red]x[/red] [/]"})
    assert "[red]x[/red] [/]" in printed(rich.model_copy(update={"candidates": (first,)}))


def test_remedies_are_listed(rich: RunReport) -> None:
    from luthier.report.diagnose import diagnose

    assert rich.training is not None
    training = rich.training.model_copy(update={"diagnosis": diagnose(())})
    assert "evaluations: evaluate more often" in flat(printed(rich.model_copy(update={"training": training})))
