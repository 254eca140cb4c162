"""Parquet, batch by batch, as plain Python values.

One decision: pyarrow is asked only after both magic numbers were seen, so a cut file is called cut instead
of failing inside the library.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from luthier.core.errors import MachineError, UserError
from luthier.parts.sources.rows import Item, RawRow
from luthier.parts.sources.source import Source

BATCH = 256


def read(source: Source) -> Iterator[Item]:
    """Rows of a parquet file; the place of a row is `row N`."""
    with source.path.open("rb") as f:
        f.seek(max(0, source.meter.total - 4))
        if f.read(4) != b"PAR1":
            raise UserError(
                "a parquet file must end with its footer", "a truncated file: no parquet footer", source.name, "fetch or write it again"
            )
    pyarrow = import_pyarrow()
    import pyarrow.parquet as parquet

    try:
        with parquet.ParquetFile(source.path) as file:
            check_columns(file.schema_arrow.names, source.name)
            number, total = 0, max(1, file.metadata.num_rows)
            for batch in file.iter_batches(batch_size=BATCH):
                for fields in batch.to_pylist():
                    number += 1
                    yield RawRow(f"row {number}", fields)
                source.meter.done = source.meter.total * number // total
    except (pyarrow.ArrowException, OSError, ValueError) as err:
        raise damaged("parquet", err, source.name) from None


def import_pyarrow() -> Any:
    """The pyarrow module. Raises MachineError with the command that installs it."""
    try:
        import pyarrow
    except ImportError:
        raise MachineError("reading parquet and Arrow files needs pyarrow: pip install 'luthier[data]'") from None
    return pyarrow


def check_columns(names: list[str], file: str) -> None:
    """Raise UserError when a column name is used twice."""
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise UserError("column names must differ", f"duplicate column `{twice[0]}`", file, "rename one of them")


def damaged(what: str, err: Exception, file: str) -> UserError:
    """The library's complaint as a UserError."""
    if isinstance(err, UserError):
        return err
    return UserError(
        f"the {what} file must be readable", f"damaged data: {str(err).splitlines()[0][:200]}", file, "fetch or write it again"
    )
