"""TSV: CSV with a tab between fields (quotes as in CSV).

One decision: it is the CSV reader with another delimiter, so both have the same guarantees.
"""

from __future__ import annotations

from collections.abc import Iterator

from luthier.parts.sources import read_csv
from luthier.parts.sources.rows import Item
from luthier.parts.sources.source import Source


def read(source: Source) -> Iterator[Item]:
    """Rows of a TSV file (`row N`)."""
    return read_csv.read(source, "\t")
