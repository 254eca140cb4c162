"""`luthier data duplicates`: the clusters of copies in one file, and the file without them.

One decision: the input is never touched; the rows that stay are written to a new file, with every column as it was read,
and a file that is already there is refused.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pydantic

from luthier.core.errors import UserError
from luthier.core.files import fsync_path, replacing, writing
from luthier.core.records import Record
from luthier.parts.checks.near_duplicates import NearDuplicates
from luthier.parts.checks.semantic_duplicates import SemanticDuplicates
from luthier.parts.duplicates.text import messages_of
from luthier.parts.sources.mapping import Mapping, mapping_from, shown_mapping
from luthier.parts.sources.mapping_base import PLAIN
from luthier.parts.sources.rows import BadRow, RawRow
from luthier.parts.sources.source import open_rows
from luthier.stages.data.check_rows import proposed
from luthier.stages.data.reading import ReadRow, read_rows

Say = Callable[[str, int, int], None]
SHOWN_CHARACTERS = 2000
_EVERY = 2000


class _Document(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class DuplicateRow(_Document):
    """A row of a cluster. fate: stays or goes; how, of, likeness: the kind of copy, of which row, and how alike; text: its beginning."""

    at: str
    fate: Literal["stays", "goes"]
    how: Literal["exact", "normalised", "near", "semantic"] | None = None
    of: str | None = None
    likeness: float | None = None
    text: str


class DuplicateCluster(_Document):
    """Rows that are copies of each other: those that stay, best first, then those that go."""

    size: int
    rows: tuple[DuplicateRow, ...]


class DataDuplicates(_Document):
    """`luthier data duplicates --json`. set_aside: rows that could not be read as the mapping says, which are not compared."""

    kind: Literal["data_duplicates"] = "data_duplicates"
    version: Literal[1] = 1
    file: str
    mapping: dict[str, Any]
    check: str
    settings: dict[str, Any]
    rows: int
    stay: int
    copies: dict[str, int]
    set_aside: int
    clusters: tuple[DuplicateCluster, ...]
    out: str | None = None


def find_duplicates(path: Path, mapping: Mapping | None, check: NearDuplicates | SemanticDuplicates, say: Say) -> DataDuplicates:
    """Every cluster of copies in a file; without `mapping` the proposed one is used and shown. Raises UserError or MachineError."""
    mapping = mapping or proposed(path)
    records, set_aside = read_all(path, mapping, say)
    if not records:
        raise UserError("the file must hold rows", f"none that can be compared, {set_aside:,} set aside", path.name)
    clusters = check.clusters(records, say)
    copies = Counter(copy.kind for cluster in clusters for copy in cluster.copies)
    shown = []
    for cluster in clusters:
        rows = [DuplicateRow(at=records[i].source.at, fate="stays", text=words_of(records[i])) for i in cluster.kept]
        for c in cluster.copies:
            place, of, text = records[c.row].source.at, records[c.of].source.at, words_of(records[c.row])
            rows.append(DuplicateRow(at=place, fate="goes", how=c.kind, of=of, likeness=c.likeness, text=text))
        shown.append(DuplicateCluster(size=cluster.size, rows=tuple(rows)))
    return DataDuplicates(
        file=path.name,
        mapping=shown_mapping(mapping),
        check="semantic_duplicates" if isinstance(check, SemanticDuplicates) else "near_duplicates",
        settings=check.model_dump(mode="json"),
        rows=len(records),
        stay=len(records) - copies.total(),
        copies=dict(copies),
        set_aside=set_aside,
        clusters=tuple(shown),
    )


def words_of(record: Record) -> str:
    """What a row says, its turns one after another; the first 2,000 characters."""
    text = "\n".join(m.content for m in messages_of(record, "row")) or getattr(record, "text", "")
    return text[:SHOWN_CHARACTERS]


def read_all(path: Path, mapping: Mapping, say: Say) -> tuple[list[Record], int]:
    """Every record of the file, and how many rows cannot be read as the mapping says. Raises UserError."""
    opened = open_rows(path, mapping=mapping)
    if opened.format == "manifest":
        raise UserError("rows of data are wanted", "a list of files", path.name)
    records: list[Record] = []
    set_aside = 0
    for i, item in enumerate(read_rows(opened, mapping, path.name, PLAIN)):
        if isinstance(item, ReadRow):
            records += item.records
        set_aside += isinstance(item, BadRow)
        if i % _EVERY == 0:
            say("reading", opened.meter.done, opened.meter.total)
    return records, set_aside


def check_out(out: Path, option: str = "--out") -> None:
    """Raise UserError for a file that rows cannot be written to; asked before the work begins."""
    if out.suffix.lower() not in WRITERS:
        raise UserError(f"`{option}` must end in {' or '.join(WRITERS)}", repr(out.name), option)
    if out.exists() or out.is_symlink():
        raise UserError(f"`{option}` must be a new file: nothing is written over", str(out), option, "choose another name")
    if not out.parent.is_dir():
        raise UserError(f"the folder of `{option}` must exist", str(out.parent), option)


def write_distinct(path: Path, found: DataDuplicates, out: Path) -> int:
    """Write the rows of `path` that stay to `out` (.jsonl or .csv), every column as it was read; returns how many.

    Rows that the mapping could not read are written as they are; what is no row of the format at all is not.
    Raises UserError when `out` cannot hold the rows.
    """
    check_out(out)
    writer = WRITERS[out.suffix.lower()]
    fates: dict[str, set[str]] = defaultdict(set)
    for cluster in found.clusters:
        for row in cluster.rows:
            fates[row.at].add(row.fate)
    gone = {at for at, told in fates.items() if told == {"goes"}}
    num = 0
    with writing(out), replacing(out) as aside:
        with aside.open("wb") as f:
            items = open_rows(path, mapping=mapping_from(found.mapping)).items
            for line in writer(item for item in items if isinstance(item, RawRow) and item.at not in gone):
                f.write(line)
                num += 1
        fsync_path(aside)
    return num - (writer is _as_csv)


def _as_jsonl(rows: Iterator[RawRow]) -> Iterator[bytes]:
    for row in rows:
        yield (json.dumps(row.fields, ensure_ascii=False) + "\n").encode()


def _as_csv(rows: Iterator[RawRow]) -> Iterator[bytes]:
    columns: Sequence[str] = ()
    for row in rows:
        if not columns:
            columns = list(row.fields)
            yield _csv_line(columns)
        nested = next((k for k, v in row.fields.items() if k not in columns or isinstance(v, (list, dict))), None)
        if nested is not None:
            raise UserError("a CSV file must have the same plain columns in every row", f"{nested!r}", row.at, "write to a .jsonl file")
        yield _csv_line([row.fields.get(c) for c in columns])


def _csv_line(values: Sequence[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(["" if v is None else v for v in values])
    return text.getvalue().encode("utf-8", "surrogatepass")


WRITERS = {".jsonl": _as_jsonl, ".csv": _as_csv}
"""The lines of a file of rows by its ending."""
