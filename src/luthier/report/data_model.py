"""The document behind `luthier data report`: what a file holds, what cleaning it would do, and how each finding is put right.

One decision: a finding carries its fix as text to paste (a command for the file, a line for a project), so the page, the JSON
document and the terminal offer the same one.
"""

from __future__ import annotations

from typing import Any, Literal

from luthier.report.sections import Bin, LedgerStep, Part


class DataFix(Part):
    """How a finding is put right: words, or a command for the file and the same as YAML under `data` of a project."""

    words: str = ""
    command: str = ""
    yaml: str = ""


class DataFinding(Part):
    """What one check found: how often (0 for something about the file as a whole), the first places with their reasons, and the fix."""

    check: str
    num: int
    places: tuple[tuple[str, str], ...] = ()
    fix: DataFix = DataFix()


class DataColumn(Part):
    """Lengths in characters of the prompts, the answers or the texts. percentiles: by the nearest rank, named 50, 90, 99, 100."""

    name: str
    mean: float
    percentiles: dict[str, float]
    histogram: tuple[Bin, ...]


class DataCopies(Part):
    """Copies by kind, how many clusters there are of each size, and the beginnings of the largest ones, personal data masked."""

    kinds: dict[str, int] = {}
    sizes: dict[int, int] = {}
    largest: tuple[tuple[int, str], ...] = ()


class DataReport(Part):
    """`luthier data report --json`, and all that its page shows. languages: of `num_judged` rows that are long enough to tell."""

    kind: Literal["data_report"] = "data_report"
    version: Literal[1] = 1
    file: str
    format: str
    mapping: dict[str, Any]
    num_rows: int
    ledger: tuple[LedgerStep, ...]
    findings: tuple[DataFinding, ...] = ()
    lengths: tuple[DataColumn, ...] = ()
    languages: dict[str, int] = {}
    num_judged: int = 0
    labels: dict[str, int] = {}
    copies: DataCopies = DataCopies()
    page: str | None = None
