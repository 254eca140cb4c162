"""harness: tasks of lm-evaluation-harness on Luthier's engine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from luthier.cli.options import Json
from luthier.cli.process import emit, guard

Model = Annotated[str, typer.Argument(help="A base model's name, a model folder, or an adapter folder.")]
Tasks = Annotated[str, typer.Option("--tasks", help="Names of the harness's tasks or groups, with commas between them.")]
Fewshot = Annotated[int | None, typer.Option("--num-fewshot", min=0, help="Examples in the prompt; the task's own number by default.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Rows of each task; all by default.")]
Include = Annotated[Path | None, typer.Option("--include-path", exists=True, file_okay=False, help="A folder with tasks of your own.")]


def harness(
    model: Model, tasks: Tasks, num_fewshot: Fewshot = None, limit: Limit = None, include_path: Include = None, json: Json = False
) -> None:
    """Run tasks of lm-evaluation-harness on a model (needs the extra: pip install 'luthier[harness]')."""

    def verb() -> int:
        from luthier.cli.documents import HarnessDocument
        from luthier.cli.tables import print_table
        from luthier.pipeline.harness import Wanted, run_harness

        names = tuple(name.strip() for name in tasks.split(",") if name.strip())
        results = run_harness(model, Wanted(names, num_fewshot, limit, include_path))
        if json:
            emit(HarnessDocument(model=model, tasks=names, num_fewshot=num_fewshot, limit=limit, results=results))
        rows = [(task, name, f"{v:.4f}") for task, found in results.items() for name, v in found.items() if isinstance(v, float)]
        print_table(model, ("task", "metric", "value"), rows)
        return 0

    guard(verb, json)
