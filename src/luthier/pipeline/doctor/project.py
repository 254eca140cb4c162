"""The proofs on a project: which project and model are meant, its subject, and every proof in turn.

One decision: which model is proven is said and never guessed: the adapter that this very project file trains if it is
built, an untrained one otherwise, and a run's only when it is named (`--run`).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from luthier.core.errors import AnswerIsNo, Interrupted, UserError
from luthier.core.events import Note, Progress
from luthier.core.stage import Stage
from luthier.pipeline.doctor.document import ProjectProofs, ProofLine, SamplePiece
from luthier.pipeline.doctor.plain import answer_in_words
from luthier.pipeline.doctor.proof import Finding, Proof, find_proofs
from luthier.pipeline.doctor.subject import StoredRow, Subject, untrained
from luthier.pipeline.run import RunOptions
from luthier.pipeline.workspace import Workspace

LATEST = "latest"


def open_project(file: Path, overrides: tuple[str, ...], run: str | None) -> tuple[Workspace, str]:
    """The project to prove and the name of its run (empty without one). Raises UserError for a run that has no trained model."""
    if run is None:
        return Workspace.open(file, overrides), ""
    if overrides:
        raise UserError("a run is proven with its own settings", f"--run {run} and {overrides[0]}", "luthier doctor", "leave one out")
    workspace = Workspace.open(file)
    found = _latest(workspace) if run == LATEST else workspace.database.find_run(run)
    name = f"run {found['number']} ({found['name']})"
    resolved = workspace.home / "runs" / f"{found['number']:04d}-{found['name']}" / "config.resolved.yaml"
    if not resolved.is_file():
        raise UserError("a run's settings must be in its folder", f"none for {name}", str(resolved), "run it again with `luthier run`")
    opened = Workspace.open(resolved)
    if not opened.store.is_built(opened.graph.train):
        got = f"none for {name}: it is {found['state']}, or its data or base changed since"
        raise UserError("a run must have a trained model to be proven", got, "--run", _known(workspace))
    return opened, name


def _latest(workspace: Workspace) -> dict[str, Any]:
    trained = _trained(workspace)
    if not trained:
        raise UserError("a run must have been trained", "none", f"--run {LATEST}", "leave --run out to prove the untrained project")
    return trained[0]


def _trained(workspace: Workspace) -> list[dict[str, Any]]:
    """Runs with a trained model, newest first."""
    return [r for r in workspace.database.list_runs() if "train" in workspace.database.links(r["number"])]


def _known(workspace: Workspace) -> str:
    return "runs with a trained model: " + (", ".join(str(r["number"]) for r in _trained(workspace)) or "none")


@contextmanager
def open_subject(workspace: Workspace, run: str, options: RunOptions) -> Iterator[Subject]:
    """The subject, with a temporary folder that is gone afterwards. Builds base, rows and prepared rows when they are not there."""

    def build(stage: Stage[Any]) -> Any:
        return workspace.store.build(stage, workspace.project.execution, options.observer, options.stop_flag, options.wait)

    graph = workspace.graph
    base = build(graph.base)
    dataset, prepared = build(graph.split), build(graph.prepared)
    trained = workspace.store.is_built(graph.train)
    with tempfile.TemporaryDirectory(prefix="luthier-doctor-") as work:
        start = untrained(workspace.project, base, prepared, Path(work))
        if trained:
            checkpoint = build(graph.train)
            model = f"the adapter of {run or 'this project file'} (train-{checkpoint.key[:12]})"
        else:
            checkpoint = start
            model = f"an untrained adapter whose weights were moved by seed {workspace.project.train.seed}"
            model += f" (this project file is not trained yet; {_known(workspace)})"
        options.observer(Note(f"proving on {model}"))
        yield Subject(model, trained, workspace.project, base, dataset, prepared, checkpoint, start, Path(work))


def prove(subject: Subject, options: RunOptions) -> ProjectProofs:
    """Carry out every proof, a line each; the proofs go on after one that fails. Raises Interrupted after Ctrl-C."""
    proofs, lines, began = find_proofs(), [], time.monotonic()
    for done, proof in enumerate(proofs):
        if options.stop_flag():
            raise Interrupted(f"stopped after {done} of {len(proofs)} proofs; nothing of the project was changed")
        options.observer(Progress("doctor", done, len(proofs), f"proofs: {proof.title}"))
        line = carry_out(proof, subject)
        lines.append(line)
        options.observer(Note(f"{done + 1}/{len(proofs)} {line.title}: {line.answer} ({line.seconds:.1f} s)"))
    return ProjectProofs(
        project=subject.project.name,
        model=subject.model,
        trained=subject.trained,
        engine=subject.engine.name,
        rows=len(subject.rows),
        longest_row_tokens=max(len(s.tokens) for s in subject.sequences),
        stored_rows=len(subject.stored_rows),
        sample=_sample(subject.rows[0], subject),
        proofs=tuple(lines),
        seconds=round(time.monotonic() - began, 1),
    )


def carry_out(proof: Proof, subject: Subject) -> ProofLine:
    """One proof's line. An input error inside it is a fault of the subject; the machine's errors end the verb."""
    from luthier.engine.contract import NonFiniteLoss

    start = time.monotonic()
    try:
        finding = proof(subject)
    except (UserError, AnswerIsNo, NonFiniteLoss) as err:
        finding = Finding("it could not be proven", faults=(str(err),))
    holds = not finding.faults and all(f.keeps for f in finding.figures)
    return ProofLine(
        kind=proof.model_dump()["kind"],
        title=proof.title,
        answer="does not apply" if not finding.applies else "holds" if holds else "fails",
        proven=finding.proven,
        figures=finding.figures,
        faults=finding.faults,
        hurts=proof.hurts,
        seconds=round(time.monotonic() - start, 1),
    )


def _sample(row: StoredRow, subject: Subject) -> tuple[SamplePiece, ...]:
    """The row's stored tokens spelled out, cut where training begins and ends; an encoder's answer in words."""
    pieces: list[SamplePiece] = []
    tokenizer, sequence = subject.renderer.tokenizer, row.sequence
    edges = [0, *[i for i in range(1, len(sequence.tokens)) if bool(sequence.weights[i]) != bool(sequence.weights[i - 1])]]
    for start, end in zip(edges, [*edges[1:], len(sequence.tokens)], strict=True):
        trained, ids = bool(sequence.weights[start]), sequence.tokens[start:end]
        in_words = trained and subject.kind == "encoder"
        pieces.append(SamplePiece(text=answer_in_words(ids, subject) if in_words else tokenizer.spell(ids), trained=trained))
    return tuple(pieces)
