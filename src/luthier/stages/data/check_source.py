"""A source that is no file here, judged by the data files that it gives, in a temporary folder.

One decision: what is brought is judged by the same reading as a file; nothing of it is kept, so a look costs no disk.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier.core.errors import UserError
from luthier.parts.origins.contract import Origin
from luthier.parts.origins.fetching import bring
from luthier.parts.sources.mapping import Mapping
from luthier.parts.sources.mapping_base import PLAIN
from luthier.stages.data.check_archive import check_files, with_changes
from luthier.stages.data.check_document import DataCheck
from luthier.stages.data.check_rows import check_rows


def check_source(origin: Origin, mapping: Mapping | None = None, also: Sequence[Any] = (), strict: bool = False) -> DataCheck:
    """Judge the rows of a source by the standing checks and the steps in `also`.

    Raises what bringing it raises: UserError when it is not there, MachineError when it is out of reach.
    """
    with tempfile.TemporaryDirectory(prefix="luthier-source-") as folder:
        brought = bring(origin, Path(folder))
        if len(brought.files) == 1:
            document = check_rows(brought.files[0], mapping, strict=strict, also=also)
        elif also:
            got = f"{len(brought.files):,} files"
            raise UserError("other checks than the standing ones judge one data file", got, origin.shown(), "name one of its files")
        else:
            named = [(file.name, file) for file in brought.files]
            document = check_files(origin.shown(), type(origin).__name__.lower(), named, mapping, PLAIN, strict)
    return with_changes(document, brought.notes)
