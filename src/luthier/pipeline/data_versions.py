"""Names for versions of a project's data, and what `luthier data diff` compares: files, runs, or named versions.

One decision: a version is a name and a number for the key of a finished split; both are only ever added (`v` becomes `v@2`, and
`v@1` stays what it was), so a name in a report means the same rows for good.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.core.errors import UserError, did_you_mean
from luthier.core.record import verify
from luthier.core.records import read_records
from luthier.parts.sources.detect import claim_of
from luthier.parts.sources.mapping import Mapping
from luthier.parts.sources.mapping_base import PLAIN
from luthier.parts.sources.source import open_rows
from luthier.pipeline.workspace import Workspace
from luthier.stages.data.check_rows import proposed
from luthier.stages.data.compare_rows import Side
from luthier.stages.data.reading import ReadRow, read_rows

PREFIX = "data/"
"""Before the names of data versions among the aliases of a project."""


@dataclass(frozen=True)
class Frozen:
    """A named version: `name@number`, its split's key and folder, and whether it was there already."""

    version: str
    key: str
    folder: Path
    known: bool


def freeze(workspace: Workspace, name: str, key: str) -> Frozen:
    """Name the split `key`; the newest version of that name is found again when it is this very key."""
    if not name or not all(c.isalnum() or c in "._-" for c in name):
        raise UserError("a version's name must be letters, digits, dot, dash and underscore", repr(name))
    numbers = workspace.database.aliases(PREFIX + name)
    if numbers and numbers[max(numbers)] == key:
        return Frozen(f"{name}@{max(numbers)}", key, folder_of_key(workspace, key), known=True)
    number = workspace.database.add_alias(PREFIX + name, key)
    return Frozen(f"{name}@{number}", key, folder_of_key(workspace, key), known=False)


def folder_of_key(workspace: Workspace, key: str) -> Path:
    """Where the artifact of a key is. Raises UserError when the project does not have it any more."""
    found = next((a["path"] for a in workspace.database.list_artifacts() if a["key"] == key), None)
    if found is None or not (workspace.home / found).is_dir():
        raise UserError("the artifact must be in this project", key[:12], fix="build it again with `luthier run`")
    return workspace.home / found


def side_of(name: str, file: Path, mapping: Mapping | None = None) -> Side:
    """The rows that a name stands for: a data file, a run of the project `file` (number or name), or `version@number`."""
    path = Path(name)
    if path.is_file():
        return _of_file(path, mapping)
    if claim_of(path.name).format or "/" in name:
        raise UserError("the data file must exist", name)
    if not file.is_file():
        raise UserError("a data file, or a run or version of a project, is wanted", repr(name), fix=f"there is no {file} here")
    workspace = Workspace.open(file)
    version, at, number = name.partition("@")
    numbers = workspace.database.aliases(PREFIX + version)
    if at or numbers:
        wanted = max(numbers, default=0) if not at else int(number) if number.isdigit() else 0
        if wanted not in numbers:
            known = [f"{version}@{n}" for n in sorted(numbers)]
            raise UserError("a version of this project is wanted", repr(name), fix=did_you_mean(name, known))
        return _of_split(f"{version}@{wanted}", folder_of_key(workspace, numbers[wanted]))
    run = workspace.database.find_run(name)
    links = workspace.database.links(run["number"])
    if "split" not in links:
        raise UserError("the run must have divided its data", f"run {run['number']} is {run['state']}", fix="finish it with `luthier run`")
    return _of_split(f"run {run['number']}", folder_of_key(workspace, links["split"]))


def _of_file(path: Path, mapping: Mapping | None) -> Side:
    mapping = mapping or proposed(path)
    rows = read_rows(open_rows(path, mapping=mapping), mapping, path.name, PLAIN)
    records: list[Any] = [record for item in rows if isinstance(item, ReadRow) for record in item.records]
    if not records:
        raise UserError("the file must hold usable rows", "none", path.name, f"look at it with `luthier data check {path}`")
    return Side(str(path), tuple(records))


def _of_split(name: str, folder: Path) -> Side:
    files = verify(folder)["result"]["files"]
    pairs = [(split, record) for split, file in files.items() for record in read_records(folder / file)]
    return Side(name, tuple(r for _, r in pairs), tuple(s for s, _ in pairs))


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Every line of a JSONL file of ours; none when it is not there."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []
