"""`luthier data report`: what is counted, that every fix works as it is pasted, and that the input is only read."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from luthier.cli.main import app
from luthier.core.config import parse_config, parse_yaml
from luthier.core.errors import UserError
from luthier.parts.checks.discover import check_classes
from luthier.report.data_model import DataReport
from luthier.stages.data.cleaning import CleanPlan
from luthier.stages.data.data_report import report_file
from luthier.stages.data.fixes import fix_for

TEXTS = [
    ("Where is my new card, it has not arrived yet?", "card"),
    ("<p>Why was my transfer declined today?</p>", "transfer"),
    ("My cafÃ© payment was taken twice from the account", "transfer"),
    ("Write to jane.doe@example.com about the missing card", "card"),
    ("How do I close the account that I do not use?", "account"),
    ("How do I close the account that I do not use?", "account"),
    ("How do I close the account that I do not use!!", "account"),
    ("", "card"),
    ("Wo ist meine neue Karte, die ich letzte Woche bestellt habe?", "card"),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my rows.csv"
    path.write_text("text,label\n" + "".join(f'"{t}",{label}\n' for t, label in TEXTS), encoding="utf-8")
    return path


def silent(what: str, done: int, total: int) -> None:
    pass


def test_what_a_file_holds(file: Path) -> None:
    before = file.read_bytes()
    got = report_file(file, str(file), None, silent)
    assert [(s.step, s.kept, s.changed, s.set_aside, s.dropped) for s in got.ledger] == [
        ("reading", 8, 0, 1, 0),
        ("repairs", 6, 2, 0, 0),
        ("copies", 6, 0, 0, 2),
    ]
    assert got.num_rows == len(TEXTS)
    assert got.copies.kinds == {"normalised": 2}
    assert got.copies.sizes == {3: 1}
    assert got.languages == {"en": 7, "de": 1}
    assert got.labels == {"account": 3, "card": 3, "transfer": 2}
    assert {f.check: f.num for f in got.findings} == {
        "html_residue": 1, "mojibake": 1, "personal_data": 1, "reading": 1, "near_duplicates": 0, "language": 0,
    }  # fmt: skip
    assert [c.name for c in got.lengths] == ["prompt", "answer"]
    assert sum(b.num_rows for b in got.lengths[0].histogram) == 8
    assert "jane.doe" not in got.model_dump_json()
    assert file.read_bytes() == before
    assert DataReport.model_validate_json(got.model_dump_json()) == got


def test_each_fix_works_as_it_is_pasted(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    for finding in report_file(file, file.name, None, silent).findings:
        if finding.fix.words:
            continue
        for name in ("cleaned.csv", "cleaned.changes.jsonl", "distinct.csv", "redacted.csv"):
            Path(name).unlink(missing_ok=True)
        done = CliRunner().invoke(app, shlex.split(finding.fix.command)[1:])
        assert done.exit_code == 0, (finding.fix.command, done.stderr)
        after = next(p for p in Path().iterdir() if p.name in ("cleaned.csv", "distinct.csv", "redacted.csv"))
        again = report_file(after, after.name, None, silent)
        assert finding.check not in {f.check for f in again.findings}, finding.fix.command
        plan = parse_config(CleanPlan, parse_yaml(finding.fix.yaml, "")["clean"], "data.clean")
        assert plan.checks or plan.repairs


def test_every_check_has_a_fix() -> None:
    for check in check_classes():
        fix = fix_for(check, "a b.tsv", "text:text=x")
        assert fix.words or parse_config(CleanPlan, parse_yaml(fix.yaml, "")["clean"], "data.clean")
        assert fix.words or fix.command.startswith("luthier data ")
        assert fix.words or "'a b.tsv' --map text:text=x" in fix.command


def test_the_verb_writes_a_page_that_asks_for_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    done = CliRunner().invoke(app, ["data", "report", file.name, "--json"])
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["kind"], document["page"]) == ("data_report", "data_report.html")
    page = Path("data_report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") or page.lstrip().startswith("<!doctype html>")
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert "https://" not in page
    assert "jane.doe" not in page
    assert "--repair html" in page
    assert CliRunner().invoke(app, ["data", "report", file.name]).exit_code == 2
    assert CliRunner().invoke(app, ["data", "report", "absent.csv", "--out", "b.html"]).exit_code == 2
    assert not Path("b.html").exists()


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("", encoding="utf-8")
    with pytest.raises(UserError):
        report_file(path, path.name, None, silent)


def test_a_file_of_texts_and_a_file_of_conversations(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "one"}\n{"text": "two words"}\n', encoding="utf-8")
    texts = report_file(path, path.name, None, silent)
    assert [c.name for c in texts.lengths] == ["text"]
    assert texts.labels == {}
    turns = {"messages": [{"role": "user", "content": "<b>hello</b>"}, {"role": "assistant", "content": "good day"}]}
    path.write_text(json.dumps(turns) + "\n", encoding="utf-8")
    assert [f.check for f in report_file(path, path.name, None, silent).findings] == ["html_residue"]
