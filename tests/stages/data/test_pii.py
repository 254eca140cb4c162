"""`luthier data pii`: counts and places without values, redacted copies, exit codes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from luthier.cli.main import app
from luthier.core.errors import UserError
from luthier.parts.privacy.redact import Redactor
from luthier.stages.data.pii import scan_file

VALUES = ("jane.doe@example.com", "4111 1111 1111 1111", "4111111111111111", "Jane.Doe@Example.com")
ROWS = [
    {"messages": [{"role": "user", "content": f"I am {VALUES[0]}"}, {"role": "assistant", "content": "ok"}], "n": 3, "note": None},
    {"messages": [{"role": "user", "content": f"card {VALUES[1]}"}], "n": 4111111111111111, "note": VALUES[3]},
    {"messages": [{"role": "user", "content": "nothing 😀"}], "n": 5, "note": ""},
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in ROWS), encoding="utf-8")
    return path


def test_a_copy_is_redacted_in_every_place_and_the_input_is_untouched(file: Path, tmp_path: Path) -> None:
    before = file.read_bytes()
    report = scan_file(file, Redactor(bytes(32)), copy=tmp_path / "deep" / "out.jsonl")
    assert file.read_bytes() == before
    rows = [json.loads(line) for line in (tmp_path / "deep" / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [list(r) for r in rows] == [list(r) for r in ROWS]
    assert rows[2] == ROWS[2]
    assert rows[0]["messages"][0]["content"].removeprefix("I am ") == rows[1]["note"]
    assert rows[1]["messages"][0]["content"].removeprefix("card ") == rows[1]["n"]
    assert not any(v in json.dumps(rows) for v in VALUES)
    assert (report.rows, report.rows_with) == (3, 2)
    email, card = report.kinds["e-mail address"], report.kinds["card number"]
    assert (email.values, len(email.seen), email.rows) == (2, 1, 2)
    assert (card.values, len(card.seen), card.rows) == (2, 1, 1)
    assert email.places == ["line 1, messages.0.content", "line 2, note"]
    assert card.columns == {"messages": 1, "n": 1}
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["out.jsonl"]


def test_tables_keep_their_columns(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('text,label\n"mail a@b.org, now",x\nplain,y\n', encoding="utf-8")
    scan_file(path, Redactor(bytes(32)), copy=tmp_path / "out.tsv")
    with (tmp_path / "out.tsv").open(encoding="utf-8", newline="") as f:
        rows = list(csv.reader(f, delimiter="\t"))
    assert rows[0] == ["text", "label"]
    assert rows[1][0].startswith("mail [EMAIL_")
    assert rows[1][0].endswith("], now")
    assert rows[2] == ["plain", "y"]


def test_a_copy_that_cannot_be_made_is_refused_and_leaves_nothing(file: Path, tmp_path: Path) -> None:
    for copy, said in ((file, "is the input"), (tmp_path / "x.parquet", ".jsonl, .csv, .tsv"), (tmp_path / "x.csv", "nesting")):
        with pytest.raises(UserError, match=said):
            scan_file(file, Redactor(bytes(32)), copy=copy)
    assert [p.name for p in tmp_path.iterdir()] == ["rows.jsonl"]


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, *args: str):
    monkeypatch.chdir(folder)
    return CliRunner().invoke(app, ["data", "pii", *args])


def test_exit_codes_and_no_value_in_any_output(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = run(tmp_path, monkeypatch, file.name, "--json")
    copied = run(tmp_path, monkeypatch, file.name, "--redact", "out.jsonl", "--json")
    clean = run(tmp_path, monkeypatch, "out.jsonl", "--json")
    assert (seen.exit_code, copied.exit_code, clean.exit_code) == (1, 0, 0)
    assert run(tmp_path, monkeypatch, file.name, "--redact", "out.jsonl").exit_code == 2
    assert run(tmp_path, monkeypatch, "absent.jsonl").exit_code == 2
    for done in (seen, copied, clean):
        assert not any(v in done.stdout + done.stderr for v in VALUES)
    document = json.loads(seen.stdout)
    assert {k["name"]: k["values"] for k in document["kinds"]} == {"e-mail address": 2, "card number": 2}
    assert json.loads(copied.stdout)["key"] == "fresh"
    assert not (tmp_path / ".luthier").exists()


def test_a_mapping_narrows_the_columns_and_names_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "Dear Anna Keller, hello", "label": "x", "extra": "a@b.org"}\n', encoding="utf-8")
    mapping = "classification:text=text,label=label"
    assert run(tmp_path, monkeypatch, path.name, "--map", mapping).exit_code == 0
    assert run(tmp_path, monkeypatch, path.name).exit_code == 1
    named = run(tmp_path, monkeypatch, path.name, "--map", mapping, "--also", "names", "--json")
    assert [k["name"] for k in json.loads(named.stdout)["kinds"]] == ["name"]
    wrong = run(tmp_path, monkeypatch, path.name, "--map", "classification:text=txt,label=label")
    assert wrong.exit_code == 2
    assert "txt" in wrong.stderr


def test_a_project_has_one_key(file: Path, tmp_path: Path, finished_toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("luthier.yaml", "rows.csv"):
        (tmp_path / name).write_bytes((finished_toy / name).read_bytes())
    for name in ("one.jsonl", "two.jsonl"):
        done = run(tmp_path, monkeypatch, file.name, "--redact", name, "--style", "fake", "--json")
        assert done.exit_code == 0, done.stderr
        assert json.loads(done.stdout)["key"] == "project"
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()
    assert (tmp_path / ".luthier" / "redaction.key").stat().st_size == 32
    assert b"@example.com" in (tmp_path / "one.jsonl").read_bytes()


def test_a_row_that_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a"}\n{"text": \n{"text": "b"}\n', encoding="utf-8")
    done = run(tmp_path, monkeypatch, path.name, "--redact", "out.jsonl")
    assert done.exit_code == 0
    assert "could not be read, not in the copy: line 2" in done.stderr
    assert len((tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()) == 2
