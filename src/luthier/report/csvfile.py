"""The worst errors as CSV, for a spreadsheet.

One decision: a cell that a spreadsheet would run as a formula gets an apostrophe in front, so opening a
file of untrusted texts runs nothing (OWASP, CSV injection).
"""

from __future__ import annotations

import csv
import io

from luthier.report.model import RunReport

COLUMNS = ("key", "source", "prompt", "reference", "baseline", "tuned", "probability", "margin")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def errors_csv(report: RunReport) -> str:
    """The worst errors, worst first, with a header line (RFC 4180, UTF-8)."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for answer in report.evaluation.errors:
        writer.writerow([cell(getattr(answer, name)) for name in COLUMNS])
    return out.getvalue()


def cell(value: str | float | None) -> str:
    """A value as text that no spreadsheet takes for a formula; numbers stay numbers."""
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value.lstrip(" ").startswith(_FORMULA_STARTS) else value
    return repr(value)
