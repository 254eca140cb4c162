"""Arrow IPC files (also Feather 2), batch by batch, memory-mapped.

One decision: rows become plain Python values at once, so nothing above this file knows of Arrow.
"""

from __future__ import annotations

from collections.abc import Iterator

from luthier.parts.sources.read_parquet import BATCH, check_columns, damaged, import_pyarrow
from luthier.parts.sources.rows import Item, RawRow
from luthier.parts.sources.source import Source


def read(source: Source) -> Iterator[Item]:
    """Rows of an Arrow file; the place of a row is `row N`."""
    pyarrow = import_pyarrow()
    try:
        with pyarrow.memory_map(str(source.path)) as mapped, pyarrow.ipc.open_file(mapped) as file:
            check_columns(file.schema.names, source.name)
            number = 0
            for i in range(file.num_record_batches):
                batch = file.get_batch(i)
                batch.validate(full=True)
                for start in range(0, batch.num_rows, BATCH):
                    for fields in batch.slice(start, BATCH).to_pylist():
                        number += 1
                        yield RawRow(f"row {number}", fields)
                source.meter.done = source.meter.total * (i + 1) // file.num_record_batches
    except (pyarrow.ArrowException, OSError, ValueError) as err:
        raise damaged("Arrow", err, source.name) from None
