"""A folder with train, validation and test files, judged together: each file, and what leaks between them.

One decision: a test or validation row whose text is also in train (exactly, or but for case, punctuation and
spaces) is set aside, because a score on it proves nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from luthier.core.errors import UserError
from luthier.core.records import Record
from luthier.parts.duplicates.text import exact_text, normalised_text
from luthier.parts.sources.detect import claim_of
from luthier.parts.sources.mapping import Mapping
from luthier.parts.sources.mapping_base import Asking
from luthier.parts.sources.source import open_rows
from luthier.stages.data.check_document import DataCheck, Found, Placed, together
from luthier.stages.data.check_rows import check_rows, proposed
from luthier.stages.data.reading import ReadRow, read_rows

SPLITS = {
    "train": "train",
    "training": "train",
    "valid": "validation",
    "validation": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}


def check_folder(folder: Path, mapping: Mapping | None, asking: Asking) -> DataCheck:
    """Judge a folder's split files. A folder without any is a reject that says so."""
    files = split_files(folder)
    if not files:
        named = ", ".join(sorted(SPLITS))
        reason = f"{folder.name} is a folder, and no data file in it is named for a split ({named}); name the file"
        return DataCheck(
            verdict="reject",
            format="folder",
            mapping=None,
            rows=0,
            kept=0,
            findings=(Found(at="file", reason=reason, check="reading"),),
        )
    try:
        mapping = mapping or proposed(files[0][1])
    except UserError:
        mapping = None  # each file's own document says why
    whole = together(folder.name, "folder", [(path.name, check_rows(path, mapping, asking)) for _, path in files])
    return with_leaks(whole, folder, mapping, asking)


def with_leaks(whole: DataCheck, folder: Path, mapping: Mapping | None, asking: Asking) -> DataCheck:
    """The document of a folder's files with the rows that leak between its splits set aside. A rejected one is left as it is."""
    files = split_files(folder)
    if whole.verdict == "reject" or len({split for split, _ in files}) < 2:
        return whole
    leaks = list(find_leaks(files, mapping or proposed(files[0][1]), asking))
    if not leaks:
        return whole
    places = tuple(Placed(at=at, reason=reason) for at, reason in leaks)
    return whole.model_copy(update={"verdict": "quarantine", "set_aside": whole.set_aside + places, "kept": whole.kept - len(places)})


def split_files(folder: Path) -> list[tuple[str, Path]]:
    """(split, file) of every data file named for a split (`train.jsonl`, `my_test.csv`), train first."""
    found: list[tuple[str, Path]] = []
    for path in sorted(folder.iterdir()):
        words = path.name.lower().split(".")[0].replace("-", "_").split("_")
        split = next((SPLITS[w] for w in words if w in SPLITS), "")
        if split and path.is_file() and claim_of(path.name).format:
            found.append((split, path))
    order = ("train", "validation", "test")
    return sorted(found, key=lambda f: order.index(f[0]))


def find_leaks(files: list[tuple[str, Path]], mapping: Mapping, asking: Asking) -> Iterator[tuple[str, str]]:
    """(place, reason) of every row outside train whose prompt is also in an earlier split's file."""
    exact: dict[bytes, str] = {}
    normal: dict[bytes, str] = {}
    splits: dict[str, str] = {}
    for split, path in files:
        for at, record in _records(path, mapping, asking):
            place = f"{path.name} {at}"
            text = exact_text(record, "prompt")
            raw_hash, normal_hash = _hash(text), _hash(normalised_text(text))
            twin, how = exact.get(raw_hash), "an exact copy of"
            if twin is None:
                twin, how = normal.get(normal_hash), "a copy, but for case, punctuation or spaces, of"
            if twin is not None and splits[twin] != split:
                yield place, f"leak: {how} {twin}"
                continue
            exact.setdefault(raw_hash, place)
            normal.setdefault(normal_hash, place)
            splits[place] = split


def _records(path: Path, mapping: Mapping, asking: Asking) -> Iterator[tuple[str, Record]]:
    for item in read_rows(open_rows(path, mapping=mapping), mapping, path.name, asking):
        if isinstance(item, ReadRow):
            for record in item.records:
                yield item.at, record


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
