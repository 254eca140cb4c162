"""data report: one HTML page about a data file, and the findings with their fixes in the terminal.

One decision: the page is a new file, `data_report.html` in this folder unless `--out` says otherwise; one that is there is never
overwritten.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.options import Json
from luthier.cli.process import emit, guard

if TYPE_CHECKING:
    from luthier.report.data_model import DataReport

DataFile = Annotated[Path, typer.Argument(help="A data file; it is only read.")]
Map = Annotated[str | None, typer.Option("--map", help="The mapping: classification:text=title,label=topic, or YAML in braces.")]
Out = Annotated[Path, typer.Option("--out", help="The page, a new .html file.")]


def report(file: DataFile, mapping: Map = None, out: Out = Path("data_report.html"), json: Json = False) -> None:
    """One HTML page about a data file: what cleaning would do, lengths, languages, labels, copies, and each finding with its fix."""

    def verb() -> int:
        from luthier.cli.display import Display
        from luthier.core.errors import UserError
        from luthier.core.events import Progress
        from luthier.core.files import write_atomic
        from luthier.parts.sources.mapping import mapping_from_text
        from luthier.report.data_page import render_data_page
        from luthier.stages.data.data_report import report_file

        if out.suffix != ".html" or out.exists():
            raise UserError("the page must be a new .html file", str(out), "--out", "choose another name")
        chosen = (mapping_from_text(mapping), mapping) if mapping is not None else None
        with Display() as display:
            found = report_file(
                file,
                str(file),
                chosen,
                lambda what, done, total: display(Progress(what, done, total, "bytes" if what == "reading" else "rows")),
            )
        found = found.model_copy(update={"page": str(out)})
        write_atomic(out, render_data_page(found).encode())
        if json:
            emit(found)
        print_report(found)
        return 0

    guard(verb, json)


def print_report(found: DataReport) -> None:
    """The steps, each kind of finding with its fix, and where the page is."""
    from rich.text import Text

    from luthier.cli.tables import console, print_table

    out = console()
    steps = [(s.step, f"{s.reached:,}", f"{s.kept:,}", f"{s.changed:,}", f"{s.set_aside:,}", f"{s.dropped:,}") for s in found.ledger]
    out.print(Text(f"{found.file}: {found.num_rows:,} rows; what cleaning would do:", style="bold"), soft_wrap=True)
    print_table("", ("step", "rows", "kept", "changed", "set aside", "dropped"), steps)
    for finding in found.findings:
        at, reason = finding.places[0] if finding.places else ("", "")
        words = f"{finding.num:,}, for example {at}: {reason}" if finding.num else reason
        out.print(Text(f"{finding.check}: {words}"), soft_wrap=True)
        out.print(Text(f"  fix: {finding.fix.command or finding.fix.words}", style="green"), soft_wrap=True)
    out.print(Text(f"the page: {found.page}"), soft_wrap=True)
