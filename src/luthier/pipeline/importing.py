"""luthier import: another tool's job file becomes a luthier.yaml, with an account of every setting.

One decision: the project file is validated before it is written, and what could not be carried over stands in it as
comments, so that the account travels with the file.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml

from luthier.core.config import parse_config, parse_yaml
from luthier.core.errors import UserError, did_you_mean, from_os_error
from luthier.core.files import write_atomic
from luthier.pipeline.import_job import Job, Line
from luthier.pipeline.project import Project

MAX_BYTES = 4 << 20


class Importer(Protocol):
    """A module of `pipeline/importers`."""

    NAME: str

    def fits(self, data: dict[str, Any]) -> int: ...

    def carry(self, job: Job) -> None: ...


@dataclass(frozen=True, slots=True)
class Imported:
    """A finished import. untrainable: what the job asked for that Luthier cannot train at all."""

    kind: str
    file: Path
    lines: tuple[Line, ...]
    untrainable: tuple[str, ...]


@functools.cache
def importers() -> dict[str, Importer]:
    """Every format by name: the modules of `pipeline/importers`."""
    import luthier.pipeline.importers as package

    modules = [importlib.import_module(f"{package.__name__}.{m.name}") for m in pkgutil.iter_modules(package.__path__)]
    return {m.NAME: m for m in sorted(modules, key=lambda m: m.NAME)}  # type: ignore[misc]


def import_job(path: Path, out: Path, kind: str = "auto") -> Imported:
    """Read `path`, write the project file `out`. Raises UserError: unreadable, of no known format, or `out` exists."""
    if out.exists():
        raise UserError("the project file must be new", str(out), "--out", "nothing is overwritten: choose another name")
    data = _read(path)
    name = _kind(data, kind, path)
    job = Job(data, path.resolve().parent, out.resolve().parent)
    project_name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._") or "imported"
    job.put("name", project_name[:100])
    job.put("objective", {"task": "chat", "goal": f"Say here what the model is for (imported from {path.name})."})
    importers()[name].carry(job)
    job.finish(data)
    ordered = {k: job.project[k] for k in Project.model_fields if k in job.project}
    parse_config(Project, ordered, f"{path} as a project")
    try:
        write_atomic(out, _text(ordered, job, name, path).encode("utf-8"))
    except OSError as err:
        raise from_os_error(err, "writing the project file") from None
    return Imported(name, out, tuple(job.lines), tuple(dict.fromkeys(job.untrainable)))


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"a job file must be at most {MAX_BYTES} bytes", path.stat().st_size, str(path))
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError("a job file must be UTF-8 text", "something else", str(path)) from None
    except OSError as err:
        raise from_os_error(err, "reading the job file") from None
    data = parse_yaml(text, str(path))
    if not isinstance(data, dict) or not data:
        raise UserError("a job file must be a mapping of settings (YAML or JSON)", type(data).__name__, str(path))
    return {str(k): v for k, v in data.items()}


def _kind(data: dict[str, Any], kind: str, path: Path) -> str:
    """The format asked for, or the one whose own keys the file has most of. Raises UserError when there is none, or a tie."""
    known = importers()
    if kind != "auto":
        if kind not in known:
            raise UserError("a known format is wanted", repr(kind), "--kind", did_you_mean(kind, known))
        return kind
    scores = {name: module.fits(data) for name, module in known.items()}
    best = max(scores.values())
    first = [name for name, score in scores.items() if score == best]
    if best < 2 or len(first) > 1:
        found = ", ".join(list(data)[:8])
        raise UserError("the format must be clear from the keys", found, str(path), f"say it with --kind: {', '.join(known)}")
    return first[0]


def _text(project: dict[str, Any], job: Job, name: str, path: Path) -> str:
    """The project file below the account of what it lacks; a comment is one line, whatever the foreign file's keys hold."""
    lost = [f"- {line.key}{f' = {line.value}' if line.value else ''}: {line.note}" for line in job.lines if line.fate == "not carried"]
    said = "What was not carried over, and why:" if lost else "Everything was carried over."
    head = "".join(f"# {' '.join(text.split())}\n" for text in (f"Imported from {path.name} ({name}). {said}", *lost))
    return head + yaml.safe_dump(project, sort_keys=False, allow_unicode=True, width=120)
