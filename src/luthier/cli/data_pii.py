"""`luthier data pii`: personal data in a file by kind and place, and a redacted copy of it.

One decision: exit code 1 says that there is some and nothing was done about it; a redacted copy, or nothing found, is 0.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from luthier.cli.documents import DataPiiDocument, PiiKind
from luthier.cli.options import DEFAULT
from luthier.cli.tables import console, print_table

if TYPE_CHECKING:
    from luthier.parts.privacy.redact import Redactor
    from luthier.stages.data.pii import PiiReport


class Style(str, Enum):  # noqa: UP042 - typer shows the values
    """How a value is replaced."""

    tag = "tag"
    fake = "fake"


class Also(str, Enum):  # noqa: UP042
    """What else is looked for."""

    names = "names"
    thorough = "thorough"


Redact = Annotated[Path | None, typer.Option("--redact", help="Write a redacted copy: a new .jsonl, .csv or .tsv file.")]
StyleOption = Annotated[Style, typer.Option("--style", help="Tags such as [EMAIL_BCDFGHJKL], or fakes of the same layout.")]
AlsoOption = Annotated[list[Also] | None, typer.Option("--also", help="names (a heuristic), thorough (presidio as well; slower).")]
KEY_FILE = "redaction.key"


def run(path: Path, mapping: str | None, copy: Path | None, style: Style, also: list[Also]) -> DataPiiDocument:
    """Scan the file. Raises UserError, and MachineError where a library is missing."""
    from luthier.parts.sources.mapping import mapping_from_text
    from luthier.stages.data.pii import scan_file

    known = mapping_from_text(mapping) if mapping is not None else None
    redactor, key = _redactor(style, also, keep=copy is not None)
    report = scan_file(path, redactor, known, copy)
    return _document(path, report, copy, style, key if copy is not None else "none")


def _redactor(style: Style, also: list[Also], keep: bool) -> tuple[Redactor, str]:
    """A redactor with the key of the project in this folder (`keep`, and there is one) or a fresh one, and whose key it is."""
    from luthier.parts.privacy.find import STRUCTURED, find_values
    from luthier.parts.privacy.redact import Find, Redactor, new_key, project_key

    find: Find = find_values
    if Also.thorough in also:
        from luthier.parts.privacy.thorough import Thorough

        find = Thorough()
    look = "fake" if style is Style.fake else "tag"
    kinds = (*STRUCTURED, "name") if Also.names in also else STRUCTURED
    if keep and DEFAULT.is_file():
        from luthier.pipeline.workspace import Workspace

        return Redactor(project_key(Workspace.open(DEFAULT).home / KEY_FILE), look, kinds, find), "project"
    return Redactor(new_key(), look, kinds, find), "fresh"


def _document(path: Path, report: PiiReport, copy: Path | None, style: Style, key: str) -> DataPiiDocument:
    kinds = sorted(report.kinds.items(), key=lambda pair: -pair[1].values)
    return DataPiiDocument(
        file=str(path),
        format=report.format,
        rows=report.rows,
        rows_with=report.rows_with,
        unreadable=tuple(report.unreadable),
        kinds=tuple(
            PiiKind(name=k, values=c.values, distinct=len(c.seen), rows=c.rows, columns=dict(c.columns), places=tuple(c.places))
            for k, c in kinds
        ),
        copy_file=str(copy) if copy is not None else None,
        style=style.value,
        key=key,  # type: ignore[arg-type]
    )


def show(document: DataPiiDocument) -> int:
    """The table for people; the exit code."""
    out = console()
    if document.kinds:
        rows = [
            (
                k.name,
                f"{k.values:,}",
                f"{k.distinct:,}",
                f"{k.rows:,}",
                ", ".join(k.columns),
                "; ".join(k.places[:3]) + ("; …" if k.values > 3 else ""),
            )
            for k in document.kinds
        ]
        print_table("personal data and secrets (values are not shown)", ("kind", "values", "distinct", "rows", "columns", "places"), rows)
    found = (
        f"{document.rows_with:,} of {document.rows:,} rows hold personal data or secrets"
        if document.kinds
        else f"nothing found in {document.rows:,} rows"
    )
    out.print(Text(f"{Path(document.file).name}: {found}", style="bold"))
    for line in document.unreadable[:5]:
        out.print(Text(f"  could not be read{', not in the copy' if document.copy_file else ''}: {line}"), soft_wrap=True)
    if len(document.unreadable) > 5:
        out.print(Text(f"  ... and {len(document.unreadable) - 5:,} more; --json lists them all"), soft_wrap=True)
    if document.copy_file is not None:
        why = "the project's key: the same value has the same pseudonym in every file redacted here"
        fresh = "a key made for this copy and thrown away: another copy will have other pseudonyms"
        out.print(
            Text(f"redacted copy: {document.copy_file} ({document.style}s, under {why if document.key == 'project' else fresh})"),
            soft_wrap=True,
        )
        return 0
    if document.kinds:
        suffix = Path(document.file).suffix
        copy = f"redacted{suffix if suffix in ('.csv', '.tsv') else '.jsonl'}"
        out.print(Text(f"fix: luthier data pii {document.file} --redact {copy}"), soft_wrap=True)
    return 1 if document.kinds else 0
