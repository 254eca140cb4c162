"""An archive judged by its data files, which are unpacked in a temporary folder for as long as that takes.

One decision: an archive is its data files together, as a folder is: the worst verdict counts, files named for a split are looked at
for leaks, and what was left in the archive is said.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from luthier.core.errors import UserError
from luthier.parts.sources.archive import kind_of_archive
from luthier.parts.sources.mapping import Mapping
from luthier.parts.sources.mapping_base import Asking
from luthier.parts.sources.unpack import unpack, without_texts
from luthier.stages.data.check_document import DataCheck, Placed, together
from luthier.stages.data.check_folder import with_leaks
from luthier.stages.data.check_rows import check_rows, rejected

_NAMED = 5


def check_archive(path: Path, mapping: Mapping | None, asking: Asking, strict: bool = False) -> DataCheck:
    """Judge a zip or tar. An unsafe or damaged one is a reject with its reason."""
    with tempfile.TemporaryDirectory(prefix="luthier-archive-") as folder:
        root = Path(folder) / "rows"
        try:
            unpacked = unpack(path, root)
        except UserError as err:
            return rejected(path, str(err))
        files = without_texts(unpacked.files)
        texts = [file for file in unpacked.files if file not in files]
        for text in texts:
            text.unlink()
        left = [*unpacked.left, *(text.relative_to(root).as_posix() for text in texts)]
        named = [(file.relative_to(root).as_posix(), file) for file in files]
        whole = check_files(path.name, kind_of_archive(path), named, mapping, asking, strict)
    return with_changes(whole, left_words(left))


def check_files(
    name: str, format_: str, named: Sequence[tuple[str, Path]], mapping: Mapping | None, asking: Asking, strict: bool = False
) -> DataCheck:
    """Several files as one document, with the leaks between those of one folder that are named for a split."""
    whole = together(name, format_, [(shown, check_rows(file, mapping, asking, strict)) for shown, file in named])
    for folder in sorted({file.parent for _, file in named}):
        whole = with_leaks(whole, folder, mapping, asking)
    return whole


def left_words(left: Sequence[str]) -> tuple[str, ...]:
    """The names of members that hold no rows, in words; nothing when there are none."""
    more = f" and {len(left) - _NAMED:,} more" if len(left) > _NAMED else ""
    return (f"left in the archive, for they are no data files: {', '.join(left[:_NAMED])}{more}",) if left else ()


def with_changes(document: DataCheck, reasons: Sequence[str]) -> DataCheck:
    """The document with changes of the whole added; what was accepted is then a repair."""
    if not reasons:
        return document
    verdict = "repair" if document.verdict == "accept" else document.verdict
    changes = tuple(Placed(at="file", reason=reason) for reason in reasons)
    return document.model_copy(update={"verdict": verdict, "changes": changes + document.changes})
