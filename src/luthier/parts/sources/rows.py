"""What a reader yields: rows with their place, rows that cannot be read, and what was noticed or changed.

One decision: a row's place is what a person can look up: the physical line for JSONL (`line 7`, blank lines
count), the data row for tables and arrays (`row 7`), so every later message can name it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

WHOLE_FILE = "file"
"""The place of a finding or change that is about the file and not about one row."""


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row as it stood in the file: column names to plain values."""

    at: str
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is set aside, and why."""

    at: str
    reason: str


@dataclass(frozen=True, slots=True)
class Change:
    """A safe change that was made while reading, and why."""

    at: str
    reason: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Something a person should know; the row is kept. `where` is the part of the row, `check` who says so."""

    at: str
    reason: str
    check: str = "reading"
    where: str = ""


Item = RawRow | BadRow | Change | Finding


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that keep memory flat. Bytes are of decompressed text; `max_ratio` applies past `ratio_from` bytes."""

    max_row_bytes: int = 16 << 20
    max_depth: int = 64
    max_ratio: int = 250
    ratio_from: int = 256 << 20


@dataclass(slots=True)
class Meter:
    """How much of the file has been read, for progress: `done` of `total` bytes on disk."""

    total: int
    done: int = 0
