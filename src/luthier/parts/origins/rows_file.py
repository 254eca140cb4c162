"""Rows of a query or of a hub set as a JSON lines file, the same bytes for the same rows.

One decision: a value that JSON does not have is written as its one standard text (ISO 8601 for times, digits for decimals) or is
refused with its row and column; nothing is rounded, cut or left out.
"""

from __future__ import annotations

import datetime
import decimal
import json
import math
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from luthier.core.errors import UserError
from luthier.core.files import writing


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], where: str) -> int:
    """Write rows, one object a line; returns how many. Raises UserError for a value that no JSON has, or no rows at all."""
    number = 0
    with writing(path), path.open("wb") as f:
        for row in rows:
            number += 1
            body = {name: _plain(value, f"row {number}, column {name}", where) for name, value in row.items()}
            try:
                f.write(json.dumps(body, ensure_ascii=False).encode() + b"\n")
            except UnicodeEncodeError:
                raise UserError("text must be valid Unicode", "half of a character", f"{where} row {number}") from None
    if not number:
        raise UserError("a source must have rows", "none", where)
    return number


def _plain(value: Any, at: str, where: str) -> Any:
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        raise UserError("numbers must be finite", str(value), f"{where} {at}", "replace it where the rows are made")
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (decimal.Decimal, uuid.UUID)):
        return str(value)
    if isinstance(value, Mapping):
        return {str(k): _plain(v, at, where) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v, at, where) for v in value]
    fix = "leave the column out, or turn it into text where the rows are made"
    raise UserError("columns must hold text, numbers, lists or times", f"a {type(value).__name__}", f"{where} {at}", fix)
