"""What `luthier show` prints: runs, artifacts, and one run with its lineage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.tree import Tree

from luthier.cli.documents import ArtifactsDocument, RunsDocument, ShowRunDocument
from luthier.cli.process import say
from luthier.cli.tables import console, print_table
from luthier.core.record import RECORD
from luthier.pipeline.workspace import Workspace


def runs(workspace: Workspace) -> RunsDocument:
    """Every run, newest first."""
    rows = workspace.database.list_runs()
    print_table(
        "runs",
        ("run", "name", "state", "verdict", "created"),
        [(r["number"], r["name"], r["state"], r["decision"] or "", r["created"]) for r in rows],
    )
    return RunsDocument(runs=tuple(rows))


def artifacts(workspace: Workspace) -> ArtifactsDocument:
    """Every finished artifact, newest first."""
    rows = workspace.database.list_artifacts()
    print_table(
        "artifacts",
        ("stage", "key", "seconds", "created"),
        [(r["stage"], r["key"][:12], f"{r['seconds']:.1f}", r["created"]) for r in rows],
    )
    return ArtifactsDocument(artifacts=tuple(rows))


def one_run(workspace: Workspace, name: str) -> ShowRunDocument:
    """A run's verdict, folder, and the tree of artifacts it was made from."""
    run = workspace.database.find_run(name)
    folder = workspace.home / "runs" / f"{run['number']:04d}-{run['name']}"
    say(f"run {run['number']} {run['name']}: {run['state']}, {run['sentence'] or 'no verdict yet'}")
    report = folder / "report.json"
    body = json.loads(report.read_text(encoding="utf-8")) if report.is_file() else None
    records = _records(workspace, workspace.database.links(run["number"]))
    console().print(_tree(records, run))
    if body is not None:
        say(f"report: {folder / 'report.html'}")
    return ShowRunDocument(run=run, folder=str(folder), report=body, lineage=tuple(records.values()))


def _records(workspace: Workspace, links: dict[str, str]) -> dict[str, dict[str, Any]]:
    """role -> stage, key, seconds and inputs of each artifact of the run that is on disk."""
    by_key = {a["key"]: a for a in workspace.database.list_artifacts()}
    out = {}
    for role, key in links.items():
        path = workspace.home / Path(by_key[key]["path"]) / RECORD if key in by_key else None
        if path is not None and path.is_file():
            record = json.loads(path.read_text(encoding="utf-8"))
            out[role] = {"role": role, **{k: record[k] for k in ("stage", "key", "seconds", "inputs", "finished")}}
        else:
            out[role] = {"role": role, "stage": "missing on disk", "key": key, "seconds": 0.0, "inputs": {}, "finished": ""}
    return out


def _tree(records: dict[str, dict[str, Any]], run: dict[str, Any]) -> Tree:
    by_key = {r["key"]: r for r in records.values()}
    tree = Tree(f"run {run['number']}")

    def grow(branch: Tree, record: dict[str, Any]) -> None:
        below = branch.add(f"{record['stage']} {record['key'][:12]} ({record['seconds']:.1f} s)")
        for key in record["inputs"].values():
            if key in by_key:
                grow(below, by_key[key])

    used = {key for r in records.values() for key in r["inputs"].values()}
    for record in records.values():
        if record["key"] not in used:
            grow(tree, record)
    return tree
