"""The files that `luthier data clean --out` writes: the rows that are left, and everything that was changed or taken away.

One decision: both are written aside and renamed at the end, so a stop leaves nothing half done; with the two of them the rows
of the input can be made again (`undo_file`).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

from luthier.core.errors import UserError
from luthier.core.files import fsync_path, writing
from luthier.parts.sources.rows import RawRow
from luthier.parts.sources.source import open_rows
from luthier.stages.data.cleaning import Edit

FORMATS = {".jsonl": "", ".csv": ",", ".tsv": "\t"}
CHANGES = ".changes.jsonl"


@dataclass
class Output:
    """Where rows and changes go; nowhere when there is no file."""

    path: Path | None = None
    columns: list[str] = field(default_factory=list)
    _rows: IO[str] | None = None
    _changes: IO[str] | None = None

    @classmethod
    @contextmanager
    def at(cls, path: Path | None, source: Path, changes: bool = True) -> Iterator[Output]:
        """An output that is there when the block ends well. Raises UserError for a name that is taken or of no known format."""
        if path is None:
            yield cls()
            return
        finals = (path, changes_beside(path)) if changes else (path,)
        if path.suffix not in FORMATS:
            raise UserError("the output must be named .jsonl, .csv or .tsv", path.name, "--out")
        taken = next((p for p in finals if p.exists()), None)
        if taken is not None or path.resolve() == source.resolve():
            raise UserError("the output must be a new file", str(taken or path), "--out", "choose another name")
        asides = [p.with_name(f".{p.name}.aside") for p in finals]
        try:
            with writing(path), ExitStack() as stack:
                yield cls(path, [], *(stack.enter_context(p.open("w", encoding="utf-8", newline="")) for p in asides))
            for aside, final in zip(asides, finals, strict=True):
                fsync_path(aside)
                aside.replace(final)
            fsync_path(path.resolve().parent)
        finally:
            for aside in asides:
                aside.unlink(missing_ok=True)

    def row(self, fields: dict[str, Any], at: str) -> None:
        """Write one row. Raises UserError for a row whose columns a table cannot hold."""
        if self._rows is None or self.path is None:
            return
        delimiter = FORMATS[self.path.suffix]
        if not delimiter:
            self._rows.write(json.dumps(fields, ensure_ascii=False) + "\n")
            return
        writer = csv.writer(self._rows, delimiter=delimiter, lineterminator="\n")
        if not self.columns:
            self.columns = list(fields)
            writer.writerow(self.columns)
        if list(fields) != self.columns:
            raise UserError("a table needs the same columns in every row", ", ".join(fields), at, "name the output .jsonl")
        writer.writerow([_cell(value) for value in fields.values()])

    def change(self, row: int, at: str, edit: Edit) -> None:
        """Write one text before and after one repair."""
        self._line({"row": row, "at": at, **asdict(edit)})

    def removed(self, row: int, at: str, body: dict[str, Any]) -> None:
        """Write a row that was taken away, as it was."""
        self._line({"row": row, "at": at, **body})

    def _line(self, body: dict[str, Any]) -> None:
        if self._changes is not None:
            self._changes.write(json.dumps(body, ensure_ascii=False) + "\n")


def _cell(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def changes_beside(path: Path) -> Path:
    """`cleaned.jsonl` -> `cleaned.changes.jsonl`."""
    return path.with_name(path.stem + CHANGES)


class Undone(NamedTuple):
    """Rows that were made again, and rows that could not be read in the input and so are not among them."""

    rows: int
    unreadable: int


def undo_file(path: Path, out: Path) -> Undone:
    """Make the rows of the input again from a cleaned file and the changes beside it.

    Raises UserError when the changes are missing or belong to another file.
    """
    changes = changes_beside(path)
    if not changes.is_file():
        raise UserError("the changes must lie beside the cleaned file", str(changes), "--undo")
    edits: dict[int, list[dict[str, Any]]] = {}
    removed: dict[int, dict[str, Any]] = {}
    for line in changes.read_text(encoding="utf-8").splitlines():
        body = json.loads(line)
        if "fate" in body:
            removed[body["row"]] = body["fields"]
        else:
            edits.setdefault(body["row"], []).append(body)
    kept = [item.fields for item in open_rows(path).items if isinstance(item, RawRow)]
    total = len(kept) + len(removed)
    if max([*edits, *removed], default=0) >= total:
        raise UserError("the changes must belong to the file beside them", f"row {max([*edits, *removed])} of {total}", str(changes))
    left = iter(kept)
    with Output.at(out, path, changes=False) as output:
        done = Undone(0, 0)
        for row in range(total):
            fields = removed[row] if row in removed else next(left)
            for body in reversed(edits.get(row, [])):
                _put_back(fields, body, str(changes))
            if fields:
                output.row(fields, f"row {row + 1}")
            done = Undone(done.rows + bool(fields), done.unreadable + (not fields))
    return done


def _put_back(fields: Any, body: dict[str, Any], where: str) -> None:
    """Set the text at a place (`text`, `messages.0.content`) back to what it was."""
    column = next((c for c in sorted(fields, key=len, reverse=True) if f"{body['field']}.".startswith(f"{c}.")), None)
    rest = body["field"][len(column) + 1 :].split(".") if column is not None else []
    here, step, found = fields, column, None
    try:
        for part in filter(None, rest):
            here, step = here[step], int(part) if isinstance(here[step], list) else part
        found = here[step]
    except (KeyError, IndexError, TypeError, ValueError):
        pass  # another row stands here: told below
    if column is None or found != body["after"]:
        raise UserError("the changes must belong to the file beside them", f"{body['field']} of {body['at']} differs", where)
    here[step] = body["before"]
