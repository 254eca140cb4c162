"""The live display: what is being built, how far it is, its loss and metric, tokens a second and the ETA.

One decision: on a terminal it redraws in place; where stderr is not a terminal it prints a plain line
when a stage starts, ends, or reports a metric, and one with the ETA every half minute, so that logs stay readable.
"""

from __future__ import annotations

import time
from collections import deque

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from luthier.core.events import Event, Metric, Note, Progress, StageFinished, StageStarted

QUIET_S = 30.0
"""Seconds between two lines about progress where stderr is no terminal."""
BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: list[float], width: int = 40) -> str:
    """The last `width` values as block characters, low to high."""
    values = values[-width:]
    low, high = min(values), max(values)
    span = high - low or 1.0
    return "".join(BLOCKS[int((v - low) / span * (len(BLOCKS) - 1))] for v in values)


class Display:
    """An observer for terminals and logs. Use as a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.live_on = self.console.is_terminal
        self.bar = Bar(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TextColumn("eta {task.fields[eta]}"),
            console=self.console,
        )
        self.tasks: dict[tuple[str, str], TaskID] = {}
        self.began: dict[tuple[str, str], tuple[float, float]] = {}
        self.curves: dict[str, list[float]] = {}
        self.tokens: deque[tuple[float, float]] = deque(maxlen=20)
        self.latest: dict[str, float] = {}
        self.said = time.monotonic()
        self.live = Live(get_renderable=self._draw, console=self.console, refresh_per_second=4, transient=True) if self.live_on else None

    def __enter__(self) -> Display:
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.live.stop()

    def __call__(self, event: Event) -> None:
        if isinstance(event, StageStarted):
            self._line(f"{'resuming' if event.resumed else 'building'} {event.stage} {event.key[:12]}")
        elif isinstance(event, StageFinished):
            self._finished(event)
        elif isinstance(event, Progress):
            self._progress(event)
        elif isinstance(event, Metric):
            self._metric(event)
        elif isinstance(event, Note):
            self._line(f"{'warning: ' if event.level == 'warning' else ''}{event.text}")

    def _line(self, text: str) -> None:
        self.console.print(Text(text), highlight=False, soft_wrap=True)

    def _finished(self, event: StageFinished) -> None:
        for task in self.tasks.values():
            self.bar.remove_task(task)
        self.tasks.clear()
        self.began.clear()
        if not event.cached:
            self._line(f"   built {event.stage} {event.key[:12]} in {event.seconds:.1f} s")

    def _progress(self, event: Progress) -> None:
        name = (event.stage, event.unit)
        if name not in self.tasks:
            self.tasks[name] = self.bar.add_task(event.stage, total=event.total, unit=event.unit, eta="-")
        for other, task in self.tasks.items():  # one bar is shown; the others keep their clocks
            self.bar.update(task, visible=other == name)
        self.bar.update(self.tasks[name], completed=event.done, total=event.total, eta=self._eta(name, event))

    def _eta(self, name: tuple[str, str], event: Progress) -> str:
        """What is left at the pace since this bar began, by work where an event gives it: a step of long rows counts for more."""
        done, total = event.work or (event.done, event.total)
        at, from_done = self.began.setdefault(name, (time.monotonic(), done))
        if done <= from_done:
            return "-"
        left = int((time.monotonic() - at) * (total - done) / (done - from_done))
        return f"{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}"

    def _metric(self, event: Metric) -> None:
        name = f"{event.split}/{event.name}"
        self.curves.setdefault(name, []).append(event.value)
        self.latest[name] = event.value
        if name == "train/unique_tokens":
            self.tokens.append((time.monotonic(), event.value))
        if not self.live_on and event.split != "train":
            self._line(f"   step {event.step}: {name} {event.value:.4f}")

    def tokens_per_second(self) -> float | None:
        """Unique trained-on tokens a second over the last steps; None before two steps."""
        if len(self.tokens) < 2:
            return None
        seconds = self.tokens[-1][0] - self.tokens[0][0]
        return sum(n for _, n in list(self.tokens)[1:]) / seconds if seconds > 0 else None

    def _draw(self) -> Group:
        table = Table.grid(padding=(0, 2))
        for name in ("train/loss", *[n for n in self.curves if not n.startswith("train/")]):
            if self.curves.get(name):
                table.add_row(name, f"{self.latest[name]:.4f}", Text(sparkline(self.curves[name]), style="cyan"))
        rate = self.tokens_per_second()
        if rate is not None:
            table.add_row("tokens/s", f"{rate:,.0f}", "")
        return Group(table, self.bar)
