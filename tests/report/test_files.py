"""Files of a report: complete, atomic, readable again; the CSV runs no formula."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import pytest

from luthier.core.errors import MachineError, UserError
from luthier.report.csvfile import COLUMNS, cell, errors_csv
from luthier.report.files import read_report, write_report
from luthier.report.model import RunReport

NAMES = ["report.html", "report.json", "report.md", "model_card.md", "data_card.md", "errors.csv"]


def test_all_files_and_back(rich: RunReport, tmp_path: Path) -> None:
    written = write_report(rich, tmp_path / "new" / "run")
    assert [p.name for p in written] == NAMES
    assert sorted(p.name for p in (tmp_path / "new" / "run").iterdir()) == sorted(NAMES)
    assert all(p.stat().st_size for p in written)
    assert read_report(tmp_path / "new" / "run" / "report.json") == rich


def test_writing_again_gives_the_same_bytes(rich: RunReport, tmp_path: Path) -> None:
    first = {p.name: p.read_bytes() for p in write_report(rich, tmp_path)}
    assert {p.name: p.read_bytes() for p in write_report(rich, tmp_path)} == first


def test_a_full_disk_leaves_the_old_report_whole(
    rich: RunReport, minimal: RunReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_report(rich, tmp_path)

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device", str(tmp_path))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MachineError, match="disk full while writing the report"):
        write_report(minimal, tmp_path)
    assert read_report(tmp_path / "report.json") == rich


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{", "must be JSON"), (b"[]", "must be"), (b"\xff", "UTF-8"), (b'{"kind": "run_report", "version": 2}', "version")],
)
def test_what_is_no_report(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_report(path)


def test_a_missing_report(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must exist"):
        read_report(tmp_path / "report.json")


def test_csv_has_every_error_in_order(rich: RunReport) -> None:
    rows = list(csv.DictReader(io.StringIO(errors_csv(rich), newline="")))
    assert [r["key"] for r in rows] == [a.key for a in rich.evaluation.errors]
    assert tuple(rows[0]) == COLUMNS
    assert [float(r["probability"]) for r in rows] == [a.probability for a in rich.evaluation.errors]
    assert [r["prompt"] for r in rows] == [a.prompt for a in rich.evaluation.errors]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "  ="])
def test_csv_runs_no_formula(start: str, rich: RunReport) -> None:
    text = start + 'cmd|"/c calc"!A1'
    assert cell(text) == "'" + text
    bad = rich.evaluation.errors[0].model_copy(update={"prompt": text, "tuned": text, "source": text})
    report = rich.model_copy(update={"evaluation": rich.evaluation.model_copy(update={"errors": (bad,)})})
    row = next(csv.DictReader(io.StringIO(errors_csv(report), newline="")))
    assert row["prompt"] == row["tuned"] == row["source"] == "'" + text


def test_csv_leaves_other_cells_alone() -> None:
    assert cell("plain, text") == "plain, text"
    assert cell(-0.25) == "-0.25"
    assert cell(None) == ""
