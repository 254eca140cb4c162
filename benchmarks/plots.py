"""The plot of a benchmark: one bar for each arm with its range."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def bars(arms: dict[str, dict[str, Any]], title: str, path: Path, unit: str = "rows_per_second") -> None:
    """Write an SVG. Each arm has `unit` (the median), `least` and `most`."""
    import altair

    axis = unit.replace("_per_", "/").replace("second", "s")
    rows = [{"arm": a, axis: v[unit], "low": v["least"], "high": v["most"]} for a, v in arms.items()]
    base = altair.Chart(altair.Data(values=rows), title=title, width=360)
    drawn = base.mark_bar().encode(y=altair.Y("arm:N", sort="-x", title=None), x=altair.X(f"{axis}:Q"))
    span = base.mark_rule(strokeWidth=2).encode(y=altair.Y("arm:N", sort="-x"), x="low:Q", x2="high:Q")
    (drawn + span).save(str(path))
