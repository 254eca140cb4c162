"""doctor: is the machine fit, and is training correct on this project's own model and rows?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.options import DEFAULT, File, Json, Overrides, Wait
from luthier.cli.process import emit, guard, say

if TYPE_CHECKING:
    from luthier.pipeline.doctor.document import ProjectProofs, ProofLine

Run = Annotated[str | None, typer.Option("--run", help="Prove a run's own model: its number or name, or `latest`.", show_default=False)]
Machine = Annotated[bool, typer.Option("--machine", help="Look at the machine alone.")]


def doctor(
    overrides: Overrides = None, file: File = DEFAULT, run: Run = None, machine: Machine = False, wait: Wait = False, json: Json = False
) -> None:
    """Prove on the project's own model and rows that training is correct, and check the machine."""

    def verb() -> int:
        from luthier.cli.tables import print_table
        from luthier.core.errors import UserError
        from luthier.pipeline.doctor.document import DoctorDocument
        from luthier.pipeline.doctor.machine import examine

        if machine and (run is not None or overrides):
            raise UserError("--machine looks at no project", f"--run {run}" if run else (overrides or [""])[0], "luthier doctor")
        asked = run is not None or bool(overrides) or file != DEFAULT
        with_project = not machine and (asked or file.is_file())
        home = Path(os.environ.get("LUTHIER_HOME") or file.parent / ".luthier")
        proofs = _prove(file, tuple(overrides or ()), run, wait) if with_project else None
        document = DoctorDocument(checks=examine(home), project=proofs)
        if json:
            emit(document)
        rows = [(c.name, c.level, c.found, c.matters) for c in document.checks]
        print_table("this machine", ("check", "", "found", "why it matters"), rows)
        if proofs is not None:
            _print_proofs(proofs)
        elif not machine:
            say(f"no {DEFAULT} here: the machine alone was looked at")
        return 0 if document.healthy else 1

    guard(verb, json)


def _prove(file: Path, overrides: tuple[str, ...], run: str | None, wait: bool) -> ProjectProofs:
    from luthier.cli.run_verbs import watched
    from luthier.pipeline.doctor.project import open_project, open_subject, prove
    from luthier.pipeline.run import RunOptions

    def work(options: RunOptions) -> ProjectProofs:
        with open_subject(workspace, name, options) as subject:
            return prove(subject, options)

    workspace, name = open_project(file, overrides, run)
    return watched(work, wait)


def _print_proofs(proofs: ProjectProofs) -> None:
    """The table of proofs, a row as it is trained on, and what fails."""
    from rich.text import Text

    from luthier.cli.tables import console, print_table
    from luthier.stages.data.show import TRAINED_STYLE, visible

    out = console()
    columns = ("proof", "", "what was proven, and the error measured (with its bound)", "where it would hurt")
    rows = [(p.title, f"{p.answer}\n{p.seconds:.1f} s", _measured(p), p.hurts) for p in proofs.proofs]
    print_table(f"{proofs.project}: {proofs.model}", columns, rows)
    sample = Text("a stored row, trained tokens marked: ")
    for piece in proofs.sample:
        text = visible(piece.text)
        plain = piece.trained and not out.is_terminal
        sample.append(f"[[{text}]]" if plain else text, style=TRAINED_STYLE if piece.trained else "")
    out.print(sample, soft_wrap=True)
    failed = [p.title for p in proofs.proofs if p.answer == "fails"]
    held = sum(p.answer == "holds" for p in proofs.proofs)
    size = f"{proofs.rows} rows of up to {proofs.longest_row_tokens} tokens computed, {proofs.stored_rows:,} stored rows read"
    say(f"{held} of {len(proofs.proofs)} proofs hold in {proofs.seconds:.0f} s on the {proofs.engine} engine ({size})")
    if failed:
        say(f"fails: {', '.join(failed)}; do not trust a run of this project before that is understood")


def _measured(line: ProofLine) -> str:
    """What was proven, a line for each figure with its bound, then what is wrong."""
    proven = line.proven if line.answer != "fails" else f"NOT so: {line.proven}"
    return "\n".join(
        [proven, *(f"- {'' if f.keeps else 'WRONG: '}{f.text()}" for f in line.figures), *(f"- WRONG: {w}" for w in line.faults)]
    )
