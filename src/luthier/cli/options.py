"""Options that several verbs share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

File = Annotated[Path, typer.Option("--file", "-f", help="The project file.")]
Json = Annotated[bool, typer.Option("--json", help="Print one machine-readable document on stdout.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for another process that builds the same thing.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Overrides such as train.learning_rate=1e-4.", show_default=False)]
Reason = Annotated[
    str | None,
    typer.Option("--reason", help="Why the sealed test rows are looked at again; a further look needs it, the report prints it."),
]
Nproc = Annotated[int | None, typer.Option("--nproc", help="Processes that share each optimiser step; as execution.nproc.")]
DEFAULT = Path("luthier.yaml")


def overridden(overrides: list[str] | None, nproc: int | None) -> tuple[str, ...]:
    """The overrides of a verb that takes `--nproc`."""
    return (*(overrides or ()), *(() if nproc is None else (f"execution.nproc={nproc}",)))
