"""How often each content id has been seen, for keys that are unique in a data set, in bounded memory.

One decision: ids are 64-bit numbers; the first ones are counted in memory, and from then on in SQLite's nameless temporary
database, which is on disk beyond a small cache and gone with the process.
"""

from __future__ import annotations

import sqlite3

IN_MEMORY = 200_000
_COUNT = "INSERT INTO seen VALUES (?, 1) ON CONFLICT (id) DO UPDATE SET times = times + 1 RETURNING times"


class Seen:
    """Counts ids of 16 hexadecimal digits."""

    def __init__(self, in_memory: int = IN_MEMORY) -> None:
        self._most = in_memory
        self._times: dict[int, int] = {}
        self._disk: sqlite3.Connection | None = None

    def number(self, record_id: str) -> int:
        """1 when the id is seen for the first time, 2 for the second time, and so on."""
        value = int(record_id, 16) - (1 << 63)  # as SQLite has numbers: signed
        if self._disk is None:
            times = self._times[value] = self._times.get(value, 0) + 1
            if len(self._times) >= self._most:
                self._to_disk()
            return times
        return self._disk.execute(_COUNT, (value,)).fetchone()[0]

    def _to_disk(self) -> None:
        self._disk = sqlite3.connect("", isolation_level=None)
        self._disk.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -32000")
        self._disk.execute("CREATE TABLE seen (id INTEGER PRIMARY KEY, times INTEGER NOT NULL)")
        self._disk.execute("BEGIN")  # never committed: the database is temporary
        self._disk.executemany("INSERT INTO seen VALUES (?, ?)", sorted(self._times.items()))
        self._times = {}
