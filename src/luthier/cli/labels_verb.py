"""data labels: the rows of a file whose label is probably wrong, as a table.

One decision: the table begins with how often the classifier agrees with the labels, because that says what the rest is worth.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.options import Json
from luthier.cli.process import emit, guard, say

if TYPE_CHECKING:
    from luthier.stages.data.label_errors import DataLabels

DataFile = Annotated[Path, typer.Argument(help="A data file; it is only read.")]
Map = Annotated[str | None, typer.Option("--map", help="The mapping: classification:text=title,label=topic, or YAML in braces.")]
Top = Annotated[int | None, typer.Option("--top", min=1, help="How many to list, worst first: 20 in the table, all with --json.")]
Threshold = Annotated[
    float | None, typer.Option("--threshold", help="How surely the label must be wrong, from 0 to 1.", show_default=False)
]
SHOWN = 20


def labels(file: DataFile, mapping: Map = None, top: Top = None, threshold: Threshold = None, json: Json = False) -> None:
    """Rows whose label is probably wrong, worst first, each with the label that it looks like."""

    def verb() -> int:
        from luthier.cli.display import Display
        from luthier.core.config import parse_config
        from luthier.core.events import Progress
        from luthier.parts.checks.label_errors import LabelErrors
        from luthier.parts.sources.mapping import mapping_from_text
        from luthier.stages.data.label_errors import find_label_errors

        check = parse_config(LabelErrors, {} if threshold is None else {"threshold": threshold})
        chosen = mapping_from_text(mapping) if mapping is not None else None
        with Display() as display:
            found = find_label_errors(
                file,
                chosen,
                check,
                lambda what, done, total: display(Progress(what, done, total, "bytes" if what == "reading" else "rows")),
            )
        if json:
            emit(found if top is None else found.model_copy(update={"errors": found.errors[:top]}))
        print_labels(found, top or SHOWN)
        return 0

    guard(verb, json)


def print_labels(found: DataLabels, top: int) -> None:
    """What was judged, the worst rows as a table, and what to do next."""
    from luthier.cli.duplicates_verb import shortened
    from luthier.cli.tables import print_table
    from luthier.stages.data.show import visible

    a = found.agreement
    say(f"{found.file}: {found.num_errors:,} of {found.judged:,} labels are probably wrong")
    say(f"the classifier, which never saw the row, gives the row's label for {a['value']:.1%} ({a['low']:.1%} to {a['high']:.1%})")
    if found.unjudged:
        names = ", ".join(sorted(found.unjudged)[:5])
        rows = sum(found.unjudged.values())
        say(f"not judged: {rows:,} rows of {len(found.unjudged):,} labels with fewer than {found.settings['folds']} rows ({names})")
    if found.unlabelled or found.set_aside:
        say(f"not judged: {found.unlabelled:,} rows without a label, {found.set_aside:,} rows that could not be read")
    if not found.errors:
        return
    rows = [
        (e.at, visible(e.given), visible(e.suggested), f"{e.suggested_probability:.2f}", shortened(visible(e.text)))
        for e in found.errors[:top]
    ]
    print_table("", ("row", "label", "looks like", "surely", "text"), rows)
    if found.num_errors > top:
        say(f"and {found.num_errors - top:,} more; --top N or --json lists them")
