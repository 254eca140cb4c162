"""A report as files: `report.json`, `report.html`, `report.md`, the two cards and the errors as CSV.

One decision: each file is written beside its place and renamed, so a reader never sees half a report.
"""

from __future__ import annotations

import json
from pathlib import Path

from luthier.core.config import parse_config
from luthier.core.errors import UserError, from_os_error
from luthier.core.files import write_atomic
from luthier.report.cards import data_card, model_card
from luthier.report.csvfile import errors_csv
from luthier.report.markdown import verdict_comment
from luthier.report.model import RunReport
from luthier.report.page import render_page


def write_report(report: RunReport, folder: Path) -> tuple[Path, ...]:
    """Write every file of the report into `folder` (made when absent); returns their paths, `report.html` first.

    Raises MachineError when the disk is full or the folder cannot be written.
    """
    texts = {
        "report.html": render_page(report),
        "report.json": report.model_dump_json(indent=2) + "\n",
        "report.md": verdict_comment(report),
        "model_card.md": model_card(report),
        "data_card.md": data_card(report),
        "errors.csv": errors_csv(report),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_atomic(folder / name, text.encode())
        return tuple(folder / name for name in texts)
    except OSError as err:
        raise from_os_error(err, "writing the report") from err


def read_report(path: Path) -> RunReport:
    """Read a `report.json`. Raises UserError when it is missing or is no run report of this version."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError("the report must be UTF-8 text", where=str(path)) from None
    except OSError as err:
        raise from_os_error(err, "reading the report") from err
    try:
        data = json.loads(text)
    except ValueError as err:
        raise UserError(f"the report must be JSON: {err}", where=str(path)) from None
    return parse_config(RunReport, data, str(path))
