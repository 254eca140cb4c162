"""The data of a foreign job: local files with their mapping, and hub ids that must be fetched first.

One decision: a project has one mapping. Files of another form than the first are left out and said; the form is what the
other tool declares, or what the columns leave no doubt about, and never a guess.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.core.errors import UserError
from luthier.parts.sources.detect import claim_of
from luthier.parts.sources.mapping import shown_mapping
from luthier.pipeline.import_job import Fate, Job, Line, shown
from luthier.pipeline.init import NOT_TRAINED

_DEFAULT = {"kind": "messages"}


@dataclass(frozen=True, slots=True)
class DataFile:
    """One data set of a job. mapping: what the other tool declares, None when the columns must tell; split: as in a project."""

    path: str
    mapping: dict[str, Any] | None
    split: str = "any"
    key: str = "datasets"


def carry_base(job: Job, key: str) -> None:
    """The base model: an embedded name where it is that model, a local folder, or the hub id as it stands. Raises UserError."""
    from luthier.engine.models.embedded import EMBEDDED

    name = job.get(key)
    if not isinstance(name, str) or not name:
        raise UserError("the job must name its base model", repr(name), key)
    embedded = next((e.name for e in EMBEDDED if e.name == name.rsplit("/", 1)[-1].lower()), None)
    if embedded is not None:
        job.carry_as(key, "base", embedded, "the embedded model of that name" if embedded != name else "")
    elif (job.folder / name).is_dir() and not Path(name).is_absolute():
        job.carry_as(key, "base", Path(os.path.relpath(job.folder / name, job.out)).as_posix(), "a folder beside the job file")
    else:
        note = "" if Path(name).is_dir() else "from the hub: it must be safetensors, and `luthier models pull` fetches it"
        job.carry_as(key, "base", name, note)


def carry_files(job: Job, files: Sequence[DataFile], key: str) -> None:
    """Write `data.files` and `data.mapping`; one line for each file. Raises UserError when the job names no data."""
    if not files:
        raise UserError("the job must name its data", "none", key)
    entries: list[dict[str, Any]] = []
    chosen: dict[str, Any] | None = None
    for file in files:
        path, found = _place(job, file)
        mapping, why = (file.mapping, "") if file.mapping else _proposed(found) if found else (None, "the file is not here to look at")
        if chosen is not None and mapping is not None and mapping != chosen:
            _tell(job, file, "not carried", "", f"a project has one mapping ({chosen['kind']}), this file needs {mapping}")
            continue
        if mapping is None and chosen is None:
            note = f"its columns are not known ({why}): the mapping written is a stand-in, correct it"
            _tell(job, file, "not carried", "data.mapping", note)
        chosen = chosen or mapping
        entries.append({"path": path} | ({"split": file.split} if file.split != "any" else {}))
        if found is None:
            _tell(job, file, "not carried", f"data.files = {path}", "not a local file: fetch its rows and put them there")
        else:
            _tell(job, file, "carried" if path == file.path else "changed", f"data.files = {path}")
    mapping = chosen or _DEFAULT
    job.put("data.files", entries)
    job.put("data.mapping", mapping)
    job.lines.append(Line("", "", "default", f"data.mapping = {mapping['kind']}", "as the columns say" if chosen else "a stand-in"))
    if mapping["kind"] in (*NOT_TRAINED, "text"):
        job.stop(files[0].key, f"rows of kind {mapping['kind']}: Luthier trains on rows with a prompt and an answer")


def _tell(job: Job, file: DataFile, fate: Fate, to: str, note: str = "") -> None:
    job.lines.append(Line(job.paths.get(file.key, file.key), shown(file.path), fate, to, note))


def _place(job: Job, file: DataFile) -> tuple[str, Path | None]:
    """(path for the project file, where the rows are now; None when they are not on this machine)."""
    for root in (job.folder, Path.cwd()):
        found = root / file.path
        if found.is_file():
            return Path(os.path.relpath(found, job.out)).as_posix(), found
    if claim_of(file.path).format:
        return file.path, None
    name = re.sub(r"[^A-Za-z0-9._-]+", "--", file.path).strip("-.") or "rows"
    return f"data/{name}.jsonl", None


def _proposed(path: Path) -> tuple[dict[str, Any] | None, str]:
    """(mapping that the columns leave no doubt about, "") or (None, why not). Raises UserError for a file that is no data."""
    from luthier.parts.sources.propose import propose, sample_of
    from luthier.parts.sources.source import open_rows

    proposal = propose(*sample_of(open_rows(path).items, 200))
    return (shown_mapping(proposal.mapping), "") if proposal.mapping is not None else (None, proposal.reason)
