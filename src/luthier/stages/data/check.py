"""`luthier data check`: one document that judges a file, a list of files, weights, or a folder of splits.

One decision: whatever is given, the answer is a document: nothing is left behind, and nothing that could run code
is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier.core.errors import UserError
from luthier.parts.sources.archive import kind_of_archive
from luthier.parts.sources.detect import claim_of
from luthier.parts.sources.mapping import Mapping
from luthier.parts.sources.mapping_base import PLAIN, Asking
from luthier.parts.sources.rows import BadRow, Limits, RawRow
from luthier.parts.sources.source import Opened, open_rows
from luthier.stages.data.check_archive import check_archive
from luthier.stages.data.check_document import DataCheck, Found, Placed, VerdictWord, exit_code, together
from luthier.stages.data.check_folder import check_folder
from luthier.stages.data.check_rows import check_rows, rejected

__all__ = ["DataCheck", "check_file", "check_with", "exit_code"]
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib")


def check_file(
    path: Path, mapping: Mapping | None = None, asking: Asking = PLAIN, strict: bool = False, limits: Limits | None = None
) -> DataCheck:
    """Judge one file or folder; without `mapping` a proposed one is used and shown. `strict` rejects what has bad rows.

    User errors become a `reject`; only a fault of the machine (a library missing, the disk) is raised.
    """
    if path.is_dir() and not claim_of(path.name).format:
        return check_folder(path, mapping, asking)
    if path.suffix.lower() in WEIGHTS and path.is_file():
        return _check_weights(path)
    try:
        if path.is_file() and kind_of_archive(path):
            return check_archive(path, mapping, asking, strict)
        opened = open_rows(path, limits)
    except UserError as err:
        return rejected(path, str(err))
    if opened.format == "manifest":
        return _check_manifest(path, opened, mapping, asking)
    return check_rows(path, mapping, asking, strict, limits)


def check_with(path: Path, mapping: Mapping | None, also: Sequence[Any], strict: bool = False) -> DataCheck:
    """Judge one data file by the standing checks and the steps in `also`; its rows are held in memory. Raises UserError for a folder."""
    if path.is_dir():
        raise UserError("other checks than the standing ones judge one data file", "a folder", str(path), "name one of its files")
    return check_rows(path, mapping, strict=strict, also=also)


def _check_weights(path: Path) -> DataCheck:
    """Weights are judged by their header and values; a pickle is never opened."""
    from luthier.engine.models.safety import check_weights_file

    problems = check_weights_file(path)
    empty = path.stat().st_size == 0
    words = (("cut off", "truncated"), ("pickle", "unsafe pickle"), ("NaN", "not finite"))
    findings: list[Found] = []
    for problem in problems:
        word = "empty file" if empty else next((w for mark, w in words if mark in problem.reason), "")
        findings.append(
            Found(at="file", reason=f"{path.name}: {word}{': ' if word else ''}{problem.reason}", check="weights", where=problem.where)
        )
    rejected = any(p.verdict == "reject" for p in problems)
    verdict: VerdictWord = "reject" if rejected else "warn" if problems else "accept"
    kind = "safetensors" if path.suffix.lower() == ".safetensors" else "pickle"
    return DataCheck(verdict=verdict, format=kind, mapping=None, rows=0, kept=0, findings=tuple(findings))


def _check_manifest(path: Path, opened: Opened, mapping: Mapping | None, asking: Asking) -> DataCheck:
    """A list of files: refused as a whole when an entry is outside its folder; else each file is judged."""
    entries = list(opened.items)
    bad = [Placed(at=e.at, reason=e.reason) for e in entries if isinstance(e, BadRow)]
    if bad:
        reason = f"{path.name}: {len(bad)} of {len(entries)} listed files are outside the data folder; none was opened"
        found = (Found(at="file", reason=reason, check="reading"),)
        return DataCheck(
            verdict="reject",
            format="manifest",
            mapping=None,
            rows=len(entries),
            kept=0,
            set_aside=tuple(bad),
            findings=found,
        )
    files = [Path(e.fields["path"]) for e in entries if isinstance(e, RawRow)]
    return together(path.name, "manifest", [(file.name, check_rows(file, mapping, asking)) for file in files])
