"""data clean|why|diff|freeze: what is done to rows, what was done to one, and how two versions differ."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from luthier.cli.options import DEFAULT, File, Json, Overrides
from luthier.cli.process import emit, guard, say, stoppable

InputFile = Annotated[Path, typer.Argument(help="A data file; it is only read.")]
Map = Annotated[str | None, typer.Option("--map", help="The mapping: classification:text=title,label=topic, or YAML in braces.")]
Repairs = Annotated[list[str] | None, typer.Option("--repair", help="A repair, or none; again for more. All of them when not given.")]
Checks = Annotated[list[str] | None, typer.Option("--check", help="A check: language:languages=en+de,fate=drop, or YAML in braces.")]
Out = Annotated[Path | None, typer.Option("--out", help="A new file (.jsonl, .csv, .tsv) for the rows; the changes go beside it.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done; write nothing.")]
Undo = Annotated[bool, typer.Option("--undo", help="FILE was cleaned: write the rows as they were to --out.")]
Listed = Annotated[int, typer.Option("--rows", "-n", min=0, max=10_000, help="How many rows to list.")]


def clean(
    file: InputFile,
    mapping: Map = None,
    repair: Repairs = None,
    check: Checks = None,
    out: Out = None,
    dry_run: DryRun = False,
    undo: Undo = False,
    rows: Listed = 20,
    json: Json = False,
) -> None:
    """Repair the texts of a file and judge its rows; show each change, and write what is left with --out."""

    def verb() -> int:
        if undo:
            return _undo(file, out, json)
        from luthier.cli.clean_tables import print_cleaning
        from luthier.parts.sources.mapping import mapping_from_text
        from luthier.stages.data.clean_file import FileJob, clean_file

        target = None if dry_run else out
        chosen = mapping_from_text(mapping) if mapping is not None else None
        done = _watched(lambda observer, flag: clean_file(file, chosen, _plan(repair, check), FileJob(target, observer, flag)))
        document = print_cleaning(done, target, rows)
        if json:
            emit(document)
        return 0

    guard(verb, json)


def _undo(file: Path, out: Path | None, json: bool) -> int:
    from luthier.cli.documents import DataUndoneDocument
    from luthier.core.errors import UserError
    from luthier.stages.data.clean_output import undo_file

    if out is None:
        raise UserError("--undo needs --out, a new file for the rows as they were")
    done = undo_file(file, out)
    if json:
        emit(DataUndoneDocument(file=str(file), rows=done.rows, unreadable=done.unreadable, out=str(out)))
    say(f"{done.rows:,} rows as they were before the cleaning: {out}")
    if done.unreadable:
        say(f"{done.unreadable:,} rows that could not be read are not among them; they are in the file that was cleaned")
    return 0


def _plan(repair: list[str] | None, check: list[str] | None) -> Any:
    """The plan of the options. Raises UserError with the nearest name."""
    from luthier.parts.checks.steps import step_from_text
    from luthier.parts.repairs.loading import load_repair
    from luthier.stages.data.cleaning import CleanPlan

    steps = tuple(step_from_text(text) for text in check or ())
    if repair is None:
        return CleanPlan(checks=steps)
    return CleanPlan(repairs=tuple(load_repair(name) for name in repair if name != "none"), checks=steps)


def _watched(work: Any) -> Any:
    from luthier.cli.display import Display

    with stoppable() as flag, Display() as display:
        return work(display, flag)


Row = Annotated[str, typer.Argument(help="A key, an id (or its beginning), or a place such as rows.csv:7.")]
OfRun = Annotated[str | None, typer.Option("--run", help="A run, by number or name; the project as it is when not given.")]


def why(row: Row, file: File = DEFAULT, run: OfRun = None, json: Json = False) -> None:
    """The story of one row: every step that decided about it, each change, what checks said, and the models' answers."""

    def verb() -> int:
        from luthier.cli.clean_tables import print_stories
        from luthier.pipeline.data_story import folders_of, stories_of
        from luthier.pipeline.workspace import Workspace

        document = print_stories(row, stories_of(folders_of(Workspace.open(file), run), row))
        if json:
            emit(document)
        return 0

    guard(verb, json)


A = Annotated[str, typer.Argument(help="A data file, a run (number or name), or a version (name@1).")]
B = Annotated[str, typer.Argument(help="What to compare it with.")]


def diff(a: A, b: B, mapping: Map = None, file: File = DEFAULT, rows: Listed = 20, json: Json = False) -> None:
    """Two versions of data: rows added, removed and changed, and how labels, lengths and findings moved."""

    def verb() -> int:
        from luthier.cli.clean_tables import print_diff
        from luthier.parts.sources.mapping import mapping_from_text
        from luthier.pipeline.data_versions import side_of

        chosen = mapping_from_text(mapping) if mapping is not None else None
        document = print_diff(side_of(a, file, chosen), side_of(b, file, chosen), rows)
        if json:
            emit(document)
        return 0

    guard(verb, json)


Version = Annotated[str, typer.Argument(help="The version's name; the same name again is the next number.")]


def freeze(version: Version, overrides: Overrides = None, file: File = DEFAULT, json: Json = False) -> None:
    """Give the project's divided data a name that never changes its meaning: NAME@1, NAME@2, ..."""

    def verb() -> int:
        from luthier.cli.documents import DataFrozenDocument
        from luthier.cli.run_verbs import watched
        from luthier.pipeline.data_versions import freeze as freeze_split
        from luthier.pipeline.workspace import Workspace

        space = Workspace.open(file, tuple(overrides or ()))
        built = watched(lambda o: space.store.build(space.graph.split, space.project.execution, o.observer, o.stop_flag), wait=False)
        done = freeze_split(space, version, built.key)
        if json:
            rows = built.result.counts
            emit(DataFrozenDocument(version_name=done.version, key=done.key, folder=str(done.folder), known=done.known, rows=rows))
        say(f"{done.version}: {', '.join(f'{n:,} {split}' for split, n in built.result.counts.items())} rows ({done.key[:12]})")
        if done.known:
            say("nothing has changed since this version")
        return 0

    guard(verb, json)
