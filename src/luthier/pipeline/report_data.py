"""From finished artifacts to the document behind every report (`report.RunReport`).

One decision: everything is read back from the artifacts, so a report can be made again at any time and
says the same.
"""

from __future__ import annotations

import json
import os
import platform
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier.core.config import flat
from luthier.core.ledger import GONE, LedgerEntry, read_ledger
from luthier.core.record import read_record
from luthier.core.records import read_records
from luthier.core.stage import Built
from luthier.parts.legal.fit import Rights
from luthier.parts.legal.licences import allows
from luthier.pipeline.looks import looks_at
from luthier.pipeline.project import FileEntry
from luthier.pipeline.report_evaluation import bars_of, candidates_of, evaluation_of, robustness_of
from luthier.pipeline.workspace import Workspace
from luthier.report.diagnose import diagnose
from luthier.report.further import further
from luthier.report.model import ModelInfo, Objective, Run, RunReport, Verdict
from luthier.report.sections import (
    Bin,
    Cost,
    CurvePoint,
    Data,
    Finding,
    LedgerStep,
    Lengths,
    LineageStep,
    Machine,
    Reason,
    Sample,
    SampleAnswer,
    SourceFile,
    SplitCount,
    StageCost,
    Training,
)
from luthier.report.side_effects import SideEffects
from luthier.stages.data.clean import STEP as CLEAN
from luthier.stages.data.ingest import display_names
from luthier.stages.train.ranges import settings_of

Artifacts = dict[str, Built[Any]]


def assemble(workspace: Workspace, number: int, folder: Path, built: Artifacts) -> RunReport:
    """The report of a finished run."""
    records = {role: read_record(b.path) for role, b in built.items()}
    verdict = built["verdict"].result.model_dump(mode="json")
    looked = looks_at(workspace)
    looks = len(looked)
    effects = _side_effects(built)
    return RunReport(
        verdict=Verdict.model_validate({**verdict, "looks": looks}),
        run=_run(workspace, number, records),
        objective=_objective(workspace),
        model=_model(workspace, folder, built),
        data=_data(workspace, built),
        lengths=_lengths(workspace, built),
        training=_training(workspace, built, records),
        side_effects=effects,
        refused=effects.found(workspace.project.watch.refuse) if effects else (),
        candidates=candidates_of(built),
        evaluation=evaluation_of(workspace, built),
        looks=looked,
        bars=bars_of(workspace, built),
        robustness=robustness_of(workspace, built),
        cost=_cost(built, records),
        lineage=_lineage(built, records),
        machine=_machine(records["verdict"]),
        limits=_limits(built["base"].result.kind, looks, effects, "robustness" in built),
    )


def _run(workspace: Workspace, number: int, records: dict[str, Any]) -> Run:
    resolved = Path(workspace.home.name) / "runs" / f"{number:04d}-{workspace.project.name}" / "config.resolved.yaml"
    commands = (f"cd {workspace.root.resolve().name} && luthier run --file {resolved}",)
    finished, seed = records["verdict"]["finished"], workspace.project.train.seed
    return Run(
        number=number, name=workspace.project.name, project=str(workspace.file.name), finished=finished, seed=seed, commands=commands
    )


def _objective(workspace: Workspace) -> Objective:
    objective = workspace.project.objective
    scorer = objective.primary()
    return Objective(
        name=workspace.project.name,
        task=objective.task,
        goal=objective.goal,
        metric=scorer.name,
        unit=scorer.unit,
        higher_is_better=scorer.higher_is_better,
        constraints=objective.constraints,
        affected=objective.affected,
        use=objective.use.words() if objective.use else "",
    )


def _model(workspace: Workspace, folder: Path, built: Artifacts) -> ModelInfo:
    base, checkpoint = built["base"].result, built["train"].result
    method = dict(checkpoint.method)
    return ModelInfo(
        base=base.name,
        source=base.source,
        licence=base.licence,
        architecture=base.architecture,
        kind=base.kind,
        labels=built["prepared"].result.labels if base.kind == "encoder" else (),
        num_parameters=base.num_parameters,
        context_length=base.context_length,
        method=str(method.pop("kind")),
        settings={k: v if isinstance(v, (str, int, float, bool, type(None))) else json.dumps(v) for k, v in method.items()},
        num_trainable=checkpoint.num_trainable,
        adapter=os.path.relpath(built["train"].path / "adapter", workspace.root),
        adapter_sha256=checkpoint.adapter_sha256,
    )


def _data(workspace: Workspace, built: Artifacts) -> Data:
    entries = list(read_ledger(built["prepared"].path / "ledger.jsonl"))
    located = workspace.located
    names = display_names([f.path for f in located])
    seen = Counter(e.source.rpartition(" ")[0].rpartition(" ")[0] for e in {e.source: e for e in entries}.values())
    sources = tuple(
        SourceFile(file=f.shown, num_rows=seen.get(name, 0), sha256=_sha256(f.path), allows=allows(f.entry.licence), **rights_of(f.entry))
        for f, name in zip(located, names, strict=True)
    )
    dataset = built["split"]
    splits = []
    for split, name in dataset.result.files.items():
        rows = read_records(dataset.path / name)
        classes = Counter(r.label for r in rows if getattr(r, "label", None) is not None)
        splits.append(SplitCount(split=split, num_rows=len(rows), classes=dict(sorted(classes.items()))))  # type: ignore[arg-type]
    read, cleaned = (_findings(built[role].path / "findings.json") if role in built else () for role in ("rows", "clean"))
    findings = told_once(read, cleaned, entries)
    return Data(sources=sources, ledger=ledger_steps(entries), splits=tuple(splits), findings=findings)


def rights_of(entry: FileEntry) -> dict[str, str | None]:
    """What is known of the right to use a source, by field."""
    return {name: getattr(entry, name) for name in Rights.model_fields}


def _sha256(path: Path) -> str:
    from luthier.core.keys import file_sha256

    return file_sha256(path)


def ledger_steps(entries: list[LedgerEntry]) -> tuple[LedgerStep, ...]:
    """Counts by step and fate, in the order in which the steps first appear."""
    steps: dict[str, list[LedgerEntry]] = {}
    for entry in entries:
        steps.setdefault(entry.step, []).append(entry)
    out = []
    for step, rows in steps.items():
        fates = Counter(r.fate for r in rows)
        reasons = Counter((r.fate, _reason_kind(r.reason)) for r in rows if r.fate != "kept")
        words = {"changed": "changed", "set_aside": "set aside", "dropped": "dropped"}
        listed = tuple(Reason(fate=words[f], reason=r, num_rows=n) for (f, r), n in reasons.most_common(12))  # type: ignore[arg-type]
        out.append(LedgerStep(step=step, **{f: fates.get(f, 0) for f in ("kept", "changed", "set_aside", "dropped")}, reasons=listed))
    return tuple(out)


def _reason_kind(reason: str) -> str:
    return reason.split(": ")[0] if len(reason) > 80 else reason


def told_once(read: Sequence[Finding], cleaned: Sequence[Finding], entries: Sequence[LedgerEntry]) -> tuple[Finding, ...]:
    """The findings of reading and of cleaning, each once.

    Of a row that the cleaning took away only its own reason is told; of a row that it changed, what was found before is called so.
    """
    fates = {e.source: e.fate for e in entries if e.step == CLEAN}
    again = {(f.text, f.where) for f in cleaned}
    out = [f for f in read if fates.get(f.where) not in GONE and (f.text, f.where) not in again]
    before = [f.model_copy(update={"text": f"{f.text} (before cleaning)"}) if fates.get(f.where) == "changed" else f for f in out]
    return (*before, *cleaned)


def _findings(path: Path) -> tuple[Finding, ...]:
    if not path.exists():
        return ()
    body = json.loads(path.read_text(encoding="utf-8"))
    return tuple(Finding(level=f.get("level", "warning"), text=f["reason"], where=str(f.get("at") or "")) for f in body)


def _lengths(workspace: Workspace, built: Artifacts) -> Lengths:
    body = json.loads((built["prepared"].path / "lengths.json").read_text(encoding="utf-8"))
    return Lengths(
        histogram=tuple(Bin(**b) for b in body["histogram"]),
        percentiles={p: n for p, n in body["percentiles"].items() if p in ("50", "90", "99", "100")},
        max_length=body["max_length"],
        policy=body["policy"],
        trained_share=body["trained_share"],
        num_cut=body["num_cut"],
        num_dropped=body["num_dropped"],
    )


def _training(workspace: Workspace, built: Artifacts, records: dict[str, Any]) -> Training:
    points = tuple(CurvePoint(**json.loads(line)) for line in (built["train"].path / "metrics.jsonl").read_text().splitlines())
    checkpoint, recipe = built["train"].result, workspace.project.train.model_dump(mode="json")
    config = {k: v for k, v in flat(recipe).items() if v is not None}
    spent = [p.value for p in points if p.name == "seconds_per_step" and p.value]
    unique = [p.value for p in points if p.name == "unique_tokens" and p.value]
    curves = tuple(p for p in points if p.name not in ("seconds_per_step", "unique_tokens"))
    per_epoch = workspace.project.train.steps_per_epoch(built.get("planted", built["prepared"]).result.counts["train"])
    settings = {k: v for k, v in settings_of(workspace.project.train).items() if v is not None}
    diagnosis = diagnose(curves, settings, per_epoch)
    return Training(
        curves=curves,
        num_steps=checkpoint.steps,
        best_step=checkpoint.best_step,
        stopped=checkpoint.stopped,
        diagnosis=diagnosis,
        further=further(curves, diagnosis, settings, per_epoch),
        samples=samples_of(built["train"].path / "samples.jsonl"),
        config=config,
        engine=checkpoint.engine,
        tokens_per_second=sum(unique) / sum(spent) if spent else None,
        seconds=records["train"]["seconds"],
        peak_memory_mb=records["train"]["cost"]["peak_memory_mb"],
        energy_wh=records["train"]["cost"]["energy_wh_estimate"],
    )


def _side_effects(built: Artifacts) -> SideEffects | None:
    if "side_effects" not in built:
        return None
    return SideEffects.model_validate_json((built["side_effects"].path / "side_effects.json").read_bytes())


def samples_of(path: Path) -> tuple[Sample, ...]:
    """The rows of `samples.jsonl`, each with its answers by step; none where a run kept none."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    by_key: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        by_key.setdefault(line["key"], []).append(line)
    return tuple(
        Sample(
            key=key,
            prompt=rows[0]["prompt"],
            reference=rows[0]["reference"],
            answers=tuple(SampleAnswer(step=r["step"], text=r["answer"]) for r in rows),
        )
        for key, rows in by_key.items()
    )


def _cost(built: Artifacts, records: dict[str, Any]) -> Cost:
    stages = tuple(StageCost(stage=role, seconds=records[role]["seconds"], cached=b.cached) for role, b in built.items())
    costs = [r["cost"] for r in records.values()]
    tokens = {"training rows": sum(built["prepared"].result.tokens.values()), "trained": built["train"].result.trained_tokens}
    return Cost(
        stages=stages,
        total_seconds=sum(s.seconds for s in stages),
        peak_memory_mb=max(c["peak_memory_mb"] for c in costs),
        tokens=tokens,
        energy_wh=max(c["energy_wh_estimate"] for c in costs),
    )


def _lineage(built: Artifacts, records: dict[str, Any]) -> tuple[LineageStep, ...]:
    return tuple(
        LineageStep(
            stage=b.stage,
            key12=b.key[:12],
            inputs=tuple(key[:12] for key in records[role]["inputs"].values()),
            seconds=records[role]["seconds"],
            cached=b.cached,
        )
        for role, b in built.items()
    )


def _machine(record: dict[str, Any]) -> Machine:
    seen = record["provenance"]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = {"luthier": seen["luthier"], "python": seen["python"], **seen["packages"]}
    return Machine(
        cpu=seen["processor"],
        cores=seen["cores"],
        memory_gb=round(memory, 1),
        system=f"{seen['system']} ({platform.python_implementation()})",
        git_revision=seen["git"],
        versions=versions,
    )


def _limits(kind: str, looks: int, effects: SideEffects | None, robustness: bool) -> tuple[str, ...]:
    tried = "other inputs were tried only as far as the section on robustness goes" if robustness else "other inputs were not tried"
    out = [
        f"Measured on rows like the ones given; {tried}.",
        "Bias and toxicity were not measured." if robustness else "Bias, toxicity and robustness were not measured.",
        "Energy is estimated from CPU time at 10 W a core, not measured.",
    ]
    if kind == "encoder":
        out.append(
            "An encoder cannot be prompted: the opponent is the best, on validation rows, of a constant answer and linear models "
            "(logistic or ridge regression) on the embeddings of the frozen encoder."
        )
    if effects is not None and effects.planted_rows:
        out.append(
            f"{effects.planted_rows} rows with made-up secrets (canaries) were planted among the training rows: do not release the model."
        )
    if looks > 1:
        out.append(f"The sealed rows have been looked at {looks} times; each look makes a chance gain more likely.")
    return tuple(out)
