"""One query on one SQLite file, as untrusted text: it can read, and nothing else.

One decision: three walls stand at once. The file is opened read-only and immutable, an authoriser allows SELECT, columns and harmless
functions only, and a clock ends what runs too long; values and patterns are bounded, so no single step outruns the clock.
"""

from __future__ import annotations

import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
FORBIDDEN_FUNCTIONS = {"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer", "randomblob", "zeroblob"}
MAX_ROWS = 100_000
_STEPS = 1000
_BOUNDS = (
    (sqlite3.SQLITE_LIMIT_LENGTH, 1_000_000),
    (sqlite3.SQLITE_LIMIT_SQL_LENGTH, 100_000),
    (sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 200),
    (sqlite3.SQLITE_LIMIT_ATTACHED, 0),
)

Rows = list[tuple[object, ...]]


class QueryFailed(ValueError):
    """Why a query gave no rows: its own fault, something that is not allowed, or time."""


def run_query(database: Path, query: str, seconds: float) -> Rows:
    """The rows of one statement; numbers that differ in the eleventh digit are one. Raises QueryFailed."""
    until = time.monotonic() + seconds
    try:
        uri = f"file:{quote(str(database.resolve()))}?mode=ro&immutable=1"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
            for what, limit in _BOUNDS:
                connection.setlimit(what, limit)
            connection.set_authorizer(_authorise)
            connection.set_progress_handler(lambda: int(time.monotonic() > until), _STEPS)
            rows = connection.execute(query).fetchmany(MAX_ROWS + 1)
    except (sqlite3.Error, sqlite3.Warning) as err:
        if time.monotonic() > until:
            raise QueryFailed(f"stopped after {seconds:g} s") from None
        raise QueryFailed(str(err)) from None
    except (ValueError, OverflowError) as err:  # a NUL or a lone surrogate in the text
        raise QueryFailed(str(err)) from None
    if len(rows) > MAX_ROWS:
        raise QueryFailed(f"more than {MAX_ROWS:,} rows")
    return [tuple(_plain(v) for v in row) for row in rows]


def is_ordered(query: str) -> bool:
    """Whether the statement itself, and not a part in brackets, has an ORDER BY."""
    bare = re.sub(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/", " ", query, flags=re.DOTALL)
    while (inner := re.sub(r"\([^()]*\)", " ", bare)) != bare:
        bare = inner
    return re.search(r"\border\s+by\b", bare, re.IGNORECASE) is not None


def _authorise(action: int, first: str | None, second: str | None, database: str | None, source: str | None) -> int:
    if action not in ALLOWED or (action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in FORBIDDEN_FUNCTIONS):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def _plain(value: object) -> object:
    return float(f"{value:.10g}") if isinstance(value, float) else value
