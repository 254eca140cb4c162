"""The facts of all rows of a data set, in memory while they are few and in a temporary database on disk when they are many.

One decision: the database is SQLite's own nameless one, which is on disk beyond a small cache and gone with the process, so the memory
of a check of all rows does not grow with their number; only rows that repeat one another are ever held together.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import fields

from luthier.parts.checks.contract import RowFacts

IN_MEMORY = 50_000
_BATCH = 2_000
_NAMES = tuple(f.name for f in fields(RowFacts))


class FactStore(Sequence[RowFacts]):
    """Facts in the order in which they were added."""

    def __init__(self, in_memory: int = IN_MEMORY) -> None:
        self._most = in_memory
        self._held: list[RowFacts] = []
        self._stored = 0
        self._disk: sqlite3.Connection | None = None

    def append(self, row: RowFacts) -> None:
        """Add the facts of one row."""
        self._held.append(row)
        if len(self._held) >= (self._most if self._disk is None else _BATCH):
            self._flush()

    def __len__(self) -> int:
        return self._stored + len(self._held)

    def __iter__(self) -> Iterator[RowFacts]:
        disk = self._all_on_disk()
        if disk is None:
            yield from self._held
        else:
            yield from (RowFacts(*row) for row in disk.execute(f"SELECT {', '.join(_NAMES)} FROM facts ORDER BY number"))

    def __getitem__(self, at):  # type: ignore[no-untyped-def]  # one place or a slice, as for any sequence
        disk = self._all_on_disk()
        if disk is None or isinstance(at, slice):
            return (self._held if disk is None else list(self))[at]
        row = disk.execute(f"SELECT {', '.join(_NAMES)} FROM facts WHERE number = ?", (at % len(self),)).fetchone()
        return RowFacts(*row)

    def repeated(self, name: str) -> Iterator[list[RowFacts]]:
        """The rows whose field `name` is that of another row, together, in the order of each group's first row."""
        assert name in _NAMES
        disk = self._all_on_disk()
        if disk is None:
            yield from _groups(self._held, name)
            return
        columns = ", ".join(f"f.{n}" for n in _NAMES)
        repeats = f"SELECT {name} AS same, min(number) AS first FROM facts WHERE {name} IS NOT NULL GROUP BY {name} HAVING count(*) > 1"
        query = f"SELECT r.first, {columns} FROM facts f JOIN ({repeats}) r ON f.{name} = r.same ORDER BY r.first, f.number"
        group: list[RowFacts] = []
        begun = -1
        for first, *row in disk.execute(query):
            if first != begun and group:
                yield group
                group = []
            begun = first
            group.append(RowFacts(*row))
        if group:
            yield group

    def _all_on_disk(self) -> sqlite3.Connection | None:
        if self._disk is not None:
            self._flush()
        return self._disk

    def _flush(self) -> None:
        if self._disk is None:
            self._disk = sqlite3.connect("", isolation_level=None)  # SQLite's temporary database
            self._disk.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -8000")
            self._disk.execute(f"CREATE TABLE facts (number INTEGER PRIMARY KEY, {', '.join(_NAMES)})")
        places = ", ".join("?" * (len(_NAMES) + 1))
        rows = [(self._stored + i, *(getattr(row, name) for name in _NAMES)) for i, row in enumerate(self._held)]
        self._disk.execute("BEGIN")
        self._disk.executemany(f"INSERT INTO facts VALUES ({places})", rows)
        self._disk.execute("COMMIT")
        self._stored += len(rows)
        self._held = []


def repeated(rows: Sequence[RowFacts], name: str) -> Iterator[list[RowFacts]]:
    """`FactStore.repeated` of any sequence of facts."""
    return rows.repeated(name) if isinstance(rows, FactStore) else _groups(rows, name)


def _groups(rows: Sequence[RowFacts], name: str) -> Iterator[list[RowFacts]]:
    by_value: dict[object, list[RowFacts]] = {}
    for row in rows:
        value = getattr(row, name)
        if value is not None:
            by_value.setdefault(value, []).append(row)
    return (group for group in by_value.values() if len(group) > 1)
