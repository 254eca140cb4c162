"""What `luthier data check` and `luthier data show` print for people."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from luthier.cli.documents import DataShowDocument
from luthier.cli.tables import console, print_table
from luthier.stages.data.check import DataCheck

STYLES = {"accept": "green", "repair": "green", "warn": "yellow", "quarantine": "yellow", "reject": "red"}
MOST = 200


def print_check(document: DataCheck, name: str) -> None:
    """The verdict first, then every place (the first 200; `--json` has them all)."""
    out = console()
    lines = document.lines(name)
    for i, line in enumerate(lines[:MOST]):
        out.print(Text(line, style=f"bold {STYLES[document.verdict]}" if i == 0 else ""), soft_wrap=True)
    if len(lines) > MOST:
        out.print(Text(f"  ... and {len(lines) - MOST} more; --json lists them all"))


def print_rows(shown: Any) -> DataShowDocument:
    """Rendered rows with the trained tokens in colour (marked by brackets where there is none), then the length report."""
    from luthier.stages.data.show import coloured, lengths_table

    out = console()
    for row in shown.rows:
        out.print(Text(f"{row.key}  {row.source}  {row.num_tokens} tokens, {row.num_trained} trained", style="dim"))
        out.print(coloured(row, plain=not out.color_system), soft_wrap=True)
    print_table("lengths in tokens", ("", ""), lengths_table(shown.lengths))
    return DataShowDocument(split=shown.split, rows=tuple(r.to_json() for r in shown.rows), lengths=shown.lengths)
