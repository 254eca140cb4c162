"""data check|show and their siblings: look at data before anything is trained on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from luthier.cli import clean_verbs
from luthier.cli.data_pii import AlsoOption, Redact, Style, StyleOption
from luthier.cli.data_report import report
from luthier.cli.duplicates_verb import duplicates
from luthier.cli.labels_verb import labels
from luthier.cli.options import DEFAULT, File, Json, Overrides
from luthier.cli.process import emit, guard
from luthier.cli.review_verb import review

app = typer.Typer(no_args_is_help=True, add_completion=False)
app.command("duplicates", context_settings={"ignore_unknown_options": True})(duplicates)
app.command("labels", context_settings={"ignore_unknown_options": True})(labels)
app.command("review", context_settings={"ignore_unknown_options": True})(review)
app.command("clean", context_settings={"ignore_unknown_options": True})(clean_verbs.clean)
app.command("report", context_settings={"ignore_unknown_options": True})(report)
app.command("why")(clean_verbs.why)
app.command("diff")(clean_verbs.diff)
app.command("freeze")(clean_verbs.freeze)
DataPath = Annotated[Path, typer.Argument(help="A data file, or a folder with train and test files.")]
DataSource = Annotated[
    str,
    typer.Argument(
        help="A data file, an archive, a folder with train and test files, an address, hub://org/name?split=train, or a database."
    ),
]


Map = Annotated[str | None, typer.Option("--map", help="The mapping: classification:text=title,label=topic, or YAML in braces.")]
Query = Annotated[str | None, typer.Option("--query", help="The SELECT to read, when SOURCE is the address of a database.")]
Strict = Annotated[bool, typer.Option("--strict", help="Reject a file that has any bad row.")]


Also = Annotated[list[str] | None, typer.Option("--check", help="Another check by name, or YAML in braces; again for more.")]


@app.command("check", context_settings={"ignore_unknown_options": True})
def check(
    source: DataSource, mapping: Map = None, query: Query = None, strict: Strict = False, also: Also = None, json: Json = False
) -> None:
    """Judge a data file or source: accept, repair, warn (exit 0), quarantine (1) or reject (2)."""

    def verb() -> int:
        from luthier.cli.data_tables import print_check
        from luthier.parts.checks.steps import step_from_text
        from luthier.parts.origins.loading import origin_of
        from luthier.parts.sources.mapping import mapping_from_text
        from luthier.stages.data.check import check_file, check_with, exit_code
        from luthier.stages.data.check_source import check_source

        origin, path = origin_of(source, query), Path(source)
        chosen = mapping_from_text(mapping) if mapping is not None else None
        steps = [step_from_text(text) for text in also or ()]
        if origin is not None:
            document = check_source(origin, chosen, steps, strict)
        else:
            document = check_with(path, chosen, steps, strict) if steps else check_file(path, chosen, strict=strict)
        if json:
            emit(document)
        print_check(document, path.name if origin is None else origin.shown())
        return exit_code(document.verdict)

    guard(verb, json)


Rows = Annotated[int, typer.Option("--rows", "-n", min=1, max=10_000, help="How many rows.")]


@app.command("show")
def show(overrides: Overrides = None, file: File = DEFAULT, split: str = "train", rows: Rows = 3, json: Json = False) -> None:
    """Rendered rows of the project with the trained tokens coloured, and the length report."""

    def verb() -> int:
        from luthier.cli.data_tables import print_rows
        from luthier.cli.run_verbs import watched
        from luthier.pipeline.workspace import Workspace
        from luthier.stages.data.show import show as show_rows

        workspace = Workspace.open(file, tuple(overrides or ()))
        execution = workspace.project.execution
        prepared = watched(lambda o: workspace.store.build(workspace.graph.prepared, execution, o.observer, o.stop_flag), wait=False)
        dataset = workspace.store.build(workspace.graph.split, execution)
        document = print_rows(show_rows(prepared, dataset, split, rows))
        if json:
            emit(document)
        return 0

    guard(verb, json)


@app.command("pii")
def pii(
    path: DataPath, mapping: Map = None, redact: Redact = None, style: StyleOption = Style.tag, also: AlsoOption = None, json: Json = False
) -> None:
    """Personal data and secrets by kind and place, never shown (exit 1 when there is some); --redact writes a copy without it."""

    def verb() -> int:
        from luthier.cli import data_pii

        document = data_pii.run(path, mapping, redact, style, also or [])
        if json:
            emit(document)
        return data_pii.show(document)

    guard(verb, json)
