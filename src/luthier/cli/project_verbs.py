"""init, plan, show, doctor, schema: the verbs that look and prepare."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from luthier.cli.options import DEFAULT, File, Json, Overrides
from luthier.cli.process import emit, guard, say

Folder = Annotated[Path, typer.Argument(help="The folder to create.")]
Example = Annotated[str | None, typer.Option("--example", help="A shipped example: banking-intents or entity-extraction.")]
DataFile = Annotated[Path | None, typer.Option("--data", help="Your data file: the project file is written for its columns.")]


def init(folder: Folder, example: Example = None, data: DataFile = None, json: Json = False) -> None:
    """A project folder with a commented luthier.yaml."""

    def verb() -> int:
        from luthier.cli.documents import InitDocument
        from luthier.pipeline.init import create

        files = create(folder, example, data)
        if json:
            emit(InitDocument(folder=str(folder), files=tuple(files)))
        say(f"created {folder} with {', '.join(files)}")
        say(f"next: cd {folder} && luthier plan && luthier run")
        return 0

    guard(verb, json)


def plan(overrides: Overrides = None, file: File = DEFAULT, json: Json = False) -> None:
    """What would run: every stage with its key, and what is already built."""

    def verb() -> int:
        from luthier.cli.documents import PlanDocument, PlanStep
        from luthier.cli.tables import print_table
        from luthier.pipeline.plan import advice, steps
        from luthier.pipeline.workspace import Workspace

        workspace = Workspace.open(file, tuple(overrides or ()))
        rows = tuple(PlanStep(role=r, stage=s, key=k, state=state) for r, s, k, state in steps(workspace))
        document = PlanDocument(project=workspace.project.name, steps=rows, advice=tuple(advice(workspace)))
        if json:
            emit(document)
        print_table(workspace.project.name, ("step", "stage", "key", "state"), [(s.role, s.stage, s.key[:12], s.state) for s in rows])
        for line in document.advice:
            say(f"- {line}")
        return 0

    guard(verb, json)


What = Annotated[str, typer.Argument(help="runs, artifacts, or a run's number or name.")]


def show(what: What = "runs", file: File = DEFAULT, json: Json = False) -> None:
    """Runs, artifacts, or one run with its verdict and lineage."""

    def verb() -> int:
        from luthier.cli import show as views
        from luthier.pipeline.workspace import Workspace

        workspace = Workspace.open(file)
        known = {"runs": views.runs, "artifacts": views.artifacts}
        document = known[what](workspace) if what in known else views.one_run(workspace, what)
        if json:
            emit(document)
        return 0

    guard(verb, json)


def doctor(file: File = DEFAULT, json: Json = False) -> None:
    """Check the machine: libraries, SQLite, disk, memory, arithmetic, models."""

    def verb() -> int:
        from luthier.cli.tables import print_table
        from luthier.pipeline.doctor import examine

        home = Path(os.environ.get("LUTHIER_HOME") or file.parent / ".luthier")
        document = examine(home)
        if json:
            emit(document)
        print_table(
            "this machine", ("check", "", "found", "why it matters"), [(c.name, c.level, c.found, c.matters) for c in document.checks]
        )
        return 0 if document.healthy else 1

    guard(verb, json)


def schema() -> None:
    """The JSON Schema of luthier.yaml, for editors."""

    def verb() -> int:
        import json

        from luthier.pipeline.project import Project

        typer.echo(json.dumps(Project.model_json_schema(), indent=2))
        return 0

    guard(verb, False)
