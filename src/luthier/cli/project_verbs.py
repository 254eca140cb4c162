"""init, import, plan, show, schema: the verbs that look and prepare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from luthier.cli.options import DEFAULT, File, Json, Overrides, Wait
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


JobFile = Annotated[Path, typer.Argument(help="The job file of the other tool (YAML or JSON).")]
ProjectOut = Annotated[Path, typer.Option("--out", help="The project file to write; must not exist.")]
JobKind = Annotated[str, typer.Option("--kind", help="axolotl, llamafactory, trl, unsloth, openai, or auto: told by its keys.")]


def import_file(job: JobFile, out: ProjectOut = DEFAULT, kind: JobKind = "auto", json: Json = False) -> None:
    """A luthier.yaml from the job file of another tool, with an account of every setting."""

    def verb() -> int:
        import dataclasses

        from luthier.cli.documents import ImportDocument
        from luthier.cli.tables import print_table
        from luthier.pipeline.importing import import_job

        done = import_job(job, out, kind)
        lines = tuple(dataclasses.asdict(line) for line in done.lines)
        if json:
            emit(ImportDocument(format=done.kind, file=str(done.file), lines=lines, trainable=not done.untrainable))
        rows = [(li.key, li.value, li.fate, li.to or li.note if not (li.to and li.note) else f"{li.to} ({li.note})") for li in done.lines]
        print_table(f"{job} ({done.kind})", ("setting", "value", "fate", ""), rows)
        for what in done.untrainable:
            say(f"warning: this job asks for what Luthier cannot train: {what}")
        say(f"wrote {done.file}; next: look at it, then luthier plan --file {done.file}")
        return 0

    guard(verb, json)


Probe = Annotated[bool, typer.Option("--probe", help="Measure the candidates of `luthier bench` and decide whether to fine-tune at all.")]


def plan(overrides: Overrides = None, file: File = DEFAULT, probe: Probe = False, wait: Wait = False, json: Json = False) -> None:
    """What would run: every stage with its key, and what is already built."""

    def verb() -> int:
        from luthier.cli.documents import PlanDocument, PlanStep
        from luthier.cli.tables import print_table
        from luthier.pipeline.estimate import estimate
        from luthier.pipeline.plan import advice, steps
        from luthier.pipeline.workspace import Workspace

        workspace = Workspace.open(file, tuple(overrides or ()))
        probed = probe_project(workspace, wait) if probe else None
        rows = tuple(PlanStep(role=r, stage=s, key=k, state=state) for r, s, k, state in steps(workspace))
        expected = estimate(workspace)
        words = (*advice(workspace), *(expected.lines() if expected else ()))
        figures = expected.model_dump(mode="json") if expected else None
        decision = probed.decision.model_dump(mode="json") if probed else None
        document = PlanDocument(project=workspace.project.name, steps=rows, advice=words, estimate=figures, probe=decision)
        if json:
            emit(document)
        print_table(workspace.project.name, ("step", "stage", "key", "state"), [(s.role, s.stage, s.key[:12], s.state) for s in rows])
        for line in document.advice:
            say(f"- {line}")
        if probed:
            show_decision(probed)
        return 0

    guard(verb, json)


def probe_project(workspace: Any, wait: bool) -> Any:
    """The measured candidates of the project."""
    from luthier.cli.run_verbs import watched
    from luthier.pipeline.bench import run_bench

    return watched(lambda options: run_bench(workspace, options), wait)


def show_decision(bench: Any) -> None:
    """The table, then whether to fine-tune."""
    from luthier.cli.bench_verb import print_bench

    print_bench(bench.table)
    for line in bench.decision.words:
        say(f"- {line}")


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


def schema() -> None:
    """The JSON Schema of luthier.yaml, for editors."""

    def verb() -> int:
        import json

        from luthier.pipeline.project import Project

        typer.echo(json.dumps(Project.model_json_schema(), indent=2))
        return 0

    guard(verb, False)
