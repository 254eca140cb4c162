"""The time that is left follows the work, not the number of steps."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from luthier.cli import display
from luthier.core.events import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    return now


def shown(screen: display.Display, event: Progress) -> str:
    screen(event)
    return screen.bar.tasks[0].fields["eta"]


def test_long_rows_that_are_still_to_come_count(clock: list[float]) -> None:
    """Half of the steps took 10 s and a tenth of the tokens: 90 s are left, not 10."""
    screen = display.Display(Console(file=io.StringIO()))
    assert shown(screen, Progress("train", 0, 10, "steps", work=(0.0, 1000.0))) == "-"
    clock[0] += 10
    assert shown(screen, Progress("train", 5, 10, "steps", work=(100.0, 1000.0))) == "0:01:30"


def test_without_work_steps_are_counted_from_where_a_resumed_run_began(clock: list[float]) -> None:
    screen = display.Display(Console(file=io.StringIO()))
    assert shown(screen, Progress("train", 6, 10, "steps")) == "-"
    clock[0] += 30
    assert shown(screen, Progress("train", 8, 10, "steps")) == "0:00:30"
