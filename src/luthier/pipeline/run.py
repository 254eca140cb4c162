"""A run: build the graph stage by stage, count the look, and leave a folder that a person can read.

One decision: the same project with nothing changed is the same run; its number, verdict and report are
found again instead of being made twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from luthier.core.artifacts import BaseModel, Dataset
from luthier.core.errors import Interrupted, LeaseHeld, LuthierError, from_os_error
from luthier.core.events import Event, Metric, Note, Observer, Progress, StageFinished
from luthier.core.files import append_bytes, write_atomic, write_json
from luthier.core.lease import acquire
from luthier.core.rows import read_split
from luthier.core.stage import Built
from luthier.engine.methods.fits import check_method
from luthier.pipeline.looks import demand_reason, take_look
from luthier.pipeline.plan import few_test_rows
from luthier.pipeline.project import doubts_of_base, legal_doubts
from luthier.pipeline.tracking import ended_of, tracked, unsent
from luthier.pipeline.workspace import Workspace
from luthier.report.files import read_report
from luthier.report.model import RunReport

KEYS = "keys.json"
"""In a run's folder: the key of each of its stages, known before any is built."""


@dataclass(frozen=True)
class RunOptions:
    """How a verb wants its run: who watches, when to stop, whether to wait for another process, why the sealed rows are looked at again."""

    observer: Observer
    stop_flag: Callable[[], bool]
    wait: bool = False
    reason: str | None = None


@dataclass(frozen=True)
class RunOutcome:
    """A finished run: its number, folder and report."""

    number: int
    folder: Path
    report: RunReport
    cached: bool


def run(workspace: Workspace, options: RunOptions) -> RunOutcome:
    """Build everything to the verdict and write the run folder. Raises LuthierError; a stopped run goes on later.

    A further look at the sealed rows without a reason is refused before anything is built.
    """
    key = workspace.graph.run_key()[:12]
    workspace.store.prepare()
    lease = acquire(workspace.store.work / f"run-{key}", f"the run {workspace.project.name} ({key})", options.wait)
    try:
        demand_reason(workspace, options.reason)
        number, finished = _number(workspace)
        folder = folder_of(workspace, number)
        if finished and (folder / "report.json").is_file() and _is_whole(workspace):
            report = read_report(folder / "report.json")
            if unsent(workspace, folder):
                _track_finished(workspace, options, folder, report)
            return RunOutcome(number, folder, report, cached=True)
        report = _carry_out(workspace, options, number, folder)
        return RunOutcome(number, folder, report, cached=False)
    finally:
        lease.__exit__(None, None, None)


def _is_whole(workspace: Workspace) -> bool:
    """True when every artifact is there; each is verified on the way. Raises CorruptArtifact."""
    return all([workspace.store.find(stage) is not None for stage in workspace.graph.roles().values()])  # noqa: C419 - verify all


def _carry_out(workspace: Workspace, options: RunOptions, number: int, folder: Path) -> RunReport:
    """Build, write the folder, and record how it ended."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "config.resolved.yaml", resolved_yaml(workspace, folder).encode())
        write_json(folder / KEYS, {role: stage.key() for role, stage in workspace.graph.roles().items()})
        logged = with_log(folder / "log.txt", options.observer)
        with tracked(workspace, folder.name, folder, logged) as tracking:
            built = build_all(workspace, replace(options, observer=tracking.observer), number, folder)
            report = _write_folder(workspace, number, folder, built)
            tracking.ended = ended_of(report, folder, built["train"].path)
    except (Interrupted, LeaseHeld):
        _close(workspace, options, number, "stopped")
        raise
    except LuthierError as err:
        _close(workspace, options, number, "failed", str(err))
        raise
    except OSError as err:
        told = from_os_error(err, "writing the run's folder")
        _close(workspace, options, number, "failed", str(told))
        raise told from err
    workspace.database.close_run(number, "done", report.verdict.decision, _sentence(report))
    return report


def _sentence(report: RunReport) -> str:
    """The verdict in words, how many bars are met, and what the project refuses."""
    from luthier.report.numbers import bars_sentence, refused_sentence

    return " ".join(filter(None, (report.verdict.sentence, bars_sentence(report.bars), refused_sentence(report.refused))))


def _track_finished(workspace: Workspace, options: RunOptions, folder: Path, report: RunReport) -> None:
    """Give a run that is done to trackers that do not have it: they were named later, or were down."""
    with tracked(workspace, folder.name, folder, with_log(folder / "log.txt", options.observer)) as tracking:
        tracking.replay()
        tracking.ended = ended_of(report, folder, workspace.store.folder_of(workspace.graph.train))


def train_only(workspace: Workspace, options: RunOptions) -> Built[Any]:
    """Everything up to the adapter, under the project's trackers; no run is numbered."""
    stage, execution = workspace.graph.train, workspace.project.execution
    name = f"train-{stage.key()[:12]}"
    base = workspace.store.build(workspace.graph.base, execution, options.observer, options.stop_flag, options.wait)
    _check_base(workspace, base, options.observer)
    with tracked(workspace, name, workspace.home / "tracking" / name, options.observer) as tracking:
        return workspace.store.build(stage, execution, tracking.observer, options.stop_flag, options.wait)


def _close(workspace: Workspace, options: RunOptions, number: int, state: str, sentence: str | None = None) -> None:
    """Record an end that is already an error: when even that fails, the first error stays the one that is raised."""
    try:
        workspace.database.close_run(number, state, sentence=sentence)
    except LuthierError as err:
        options.observer(Note(f"the end of run {number} could not be recorded: {err}", "warning"))


def folder_of(workspace: Workspace, number: int) -> Path:
    """`.luthier/runs/<number>-<name>/`."""
    return workspace.home / "runs" / f"{number:04d}-{workspace.project.name}"


def resolved_yaml(workspace: Workspace, folder: Path) -> str:
    """The project with every default filled in, as YAML; its paths are read from `folder`, like those of any project file."""
    body = workspace.project.model_dump(mode="json")
    others = workspace.project.evaluate.out_of_domain
    written = [*body["data"]["files"], *(body["evaluate"]["out_of_domain"][name] for name in others)]
    for entry, given in zip(written, (*workspace.project.data.files, *others.values()), strict=True):
        local = given.path if given.source is None else given.source.local(workspace.root)
        moved = os.path.relpath(workspace.root / local, folder) if local else ""
        if given.source is None:
            entry["path"] = moved
        elif moved:
            entry["source"] = given.source.at(moved).model_dump(mode="json")
    for entry in body["data"]["against"]:
        entry["path"] = os.path.relpath(workspace.root / entry["path"], folder)
    body["base"] = _placed(workspace.root, body["base"], folder)
    if project_probe := workspace.project.watch.probe:
        body["watch"]["probe"] = os.path.relpath(workspace.root / project_probe, folder)
    bench = body["bench"]
    bench["bases"] = [_placed(workspace.root, name, folder) for name in bench["bases"]]
    bench["encoder"] = _placed(workspace.root, bench["encoder"], folder)
    objective = body["objective"]
    for scorer in [objective["metric"] or {}, *objective["metrics"]]:
        if scorer.get("kind") == "custom":
            scorer["file"]["path"] = os.path.relpath(scorer["file"]["path"], folder)
    return yaml.safe_dump(body, sort_keys=False, allow_unicode=True)


def _placed(root: Path, name: str, folder: Path) -> str:
    """A base's path read from `folder`; any other name as it is."""
    return os.path.relpath(root / name, folder) if (root / name).exists() else name


def _number(workspace: Workspace) -> tuple[int, bool]:
    """The run of this very graph (and whether it is done), or a new one."""
    root_key = workspace.graph.run_key()
    for known in workspace.database.list_runs():
        if known["root_key"] == root_key and known["name"] == workspace.project.name:
            if known["state"] != "done":
                workspace.database.reopen_run(known["number"])
            return known["number"], known["state"] == "done"
    return workspace.database.new_run(workspace.project.name, root_key), False


def build_all(workspace: Workspace, options: RunOptions, number: int, folder: Path) -> dict[str, Built[Any]]:
    """Every stage of the graph by role; links each artifact into the run folder. Counts the look before it is made."""
    built: dict[str, Built[Any]] = {}
    for doubt in legal_doubts(workspace.project):
        options.observer(Note(f"{doubt.source}: {doubt.reason}; {doubt.fix}", "warning"))
    for role, stage in workspace.graph.roles().items():
        if role == "baseline":
            take_look(workspace, number, options.reason)
        built[role] = workspace.store.build(stage, workspace.project.execution, options.observer, options.stop_flag, options.wait)
        if role == "base":
            _check_base(workspace, built[role], options.observer)
        if role == "split":
            _check_test_rows(workspace, built[role], options.observer)
        workspace.database.link(number, role, built[role].key)
        _link(folder / role, built[role].path)
    return built


def _check_base(workspace: Workspace, base: Built[BaseModel], observer: Observer) -> None:
    """Before the data is read or anything asked: its licence allows the intended use and it can take the method. Raises UserError."""
    for doubt in doubts_of_base(workspace.project, base.result.name, base.result.licence):
        observer(Note(f"{doubt.source}: {doubt.reason}; {doubt.fix}", "warning"))
    if not workspace.store.is_built(workspace.graph.train):
        check_method(Path(base.result.folder), base.result.kind, workspace.project.train.method.spec())


def _check_test_rows(workspace: Workspace, split: Built[Dataset], observer: Observer) -> None:
    """Before anything is trained: every metric can score the sealed rows (UserError), and they are enough for a verdict (a warning)."""
    objective, rows = workspace.project.objective, read_split(split, "test")
    for scorer in (objective.primary(), *objective.others()):
        scorer.check(rows)
    for said in few_test_rows(split.result.counts, workspace.project.evaluate.alpha):
        observer(Note(said, "warning"))


def _link(link: Path, target: Path) -> None:
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.relpath(target, link.parent))


def with_log(path: Path, outer: Observer) -> Observer:
    """An observer that also writes a line per event (not per progress tick) to the run's log."""
    from luthier.core.database import now

    def observe(event: Event) -> None:
        if not isinstance(event, (Progress, Metric)) and not (isinstance(event, StageFinished) and event.cached):
            text = event.text if isinstance(event, Note) else repr(event)
            append_bytes(path, f"{now()} {text}\n".encode())
        outer(event)

    return observe


def _write_folder(workspace: Workspace, number: int, folder: Path, built: dict[str, Built[Any]]) -> RunReport:
    """Copies of the small files that people open, then the report in every form."""
    from luthier.pipeline.report_data import assemble
    from luthier.report.files import write_report

    copies = {
        "predictions.jsonl": built["tuned"].path / "predictions.jsonl",
        "baseline_predictions.jsonl": built["baseline"].path / "predictions.jsonl",
        "metrics.jsonl": built["train"].path / "metrics.jsonl",
        "samples.jsonl": built["train"].path / "samples.jsonl",
        "ledger.jsonl": built.get("planted", built["prepared"]).path / "ledger.jsonl",
    }
    for name, source in copies.items():
        if name != "samples.jsonl" or source.exists():  # a run may keep no samples
            write_atomic(folder / name, source.read_bytes())
    report = assemble(workspace, number, folder, built)
    write_report(report, folder)
    return report
