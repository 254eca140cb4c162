"""Tables for people, on stderr."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from luthier.core.artifacts import Predictions, Verdict


def console() -> Console:
    """People read stderr."""
    return Console(stderr=True)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A plain table; every cell is text and never markup."""
    table = Table(title=title or None, title_justify="left", show_edge=False, pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*[Text(str(cell)) for cell in row])
    console().print(table)


def print_scores(predictions: Predictions, looks: int | None) -> None:
    """Every metric with its interval."""
    rows = [(name, f"{e['value']:.4f}", f"{e['low']:.4f} to {e['high']:.4f}", int(e["n"])) for name, e in predictions.scores.items()]
    print_table(
        f"{predictions.model} on {predictions.num_rows} {predictions.split} rows", ("metric", "value", "95 % interval", "rows"), rows
    )
    if looks is not None:
        console().print(Text(f"looks at these sealed rows so far: {looks}"))


def print_verdict(a: str, b: str, v: Verdict, looks: int) -> None:
    """`b` against `a`: the sentence, then the numbers."""
    console().print(Text(f"{b} against {a}: {v.sentence}", style="bold"))
    rows = [
        ("decision", v.decision),
        (f"{v.metric} of {a}", f"{v.baseline:.4f}"),
        (f"{v.metric} of {b}", f"{v.tuned:.4f}"),
        ("difference", f"{v.effect:+.4f} ({v.interval[0]:+.4f} to {v.interval[1]:+.4f})"),
        ("p", f"{v.p:.4g} ({v.test})"),
        ("rows", v.num_rows),
        ("looks so far", looks),
    ]
    print_table("", ("", ""), rows)
