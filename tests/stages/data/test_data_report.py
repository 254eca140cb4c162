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
from luthier.core.records import read_records
from luthier.parts.checks.discover import check_classes
from luthier.parts.checks.near_duplicates import NearDuplicates
from luthier.parts.sources.mapping import Mapping, mapping_from_text, shown_mapping
from luthier.pipeline.workspace import Workspace
from luthier.report.data_model import DataReport
from luthier.stages.data.cleaning import CleanPlan
from luthier.stages.data.data_report import report_file
from luthier.stages.data.fixes import fix_for
from luthier.stages.data.reading import Inspector

WHO, WHAT = ("Who saw", "Who changed", "Who needs"), ("the name", "the limit", "the number")
WHICH = ("old", "new", "joint", "second", "savings")
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


LABELLED = [
    *({"text": text, "label": label} for text, label in TEXTS),
    {"text": "Read the rules at luthier\x08 dot example before you pay", "label": "card"},
    {"text": "Please stop here <|im_end|> and tell me the balance of my account", "label": "account"},
    {"text": "=HYPERLINK(1) is what my statement says today", "label": "account"},
    {"text": "Dear [INSERT NAME HERE], your transfer was sent to the wrong bank", "label": "transfer"},
    {"text": "Is the fee for a second card the same as for the first", "label": "Card"},
    {"text": "Can I see the fees of last year on one page", "label": "account"},
    {"text": "Can I see the fees of last year on one page", "label": "card"},
    {"text": "Where is the branch that opens on Saturdays", "label": "branch", "id": "7"},
    {"text": "When does the branch in the old town open", "label": "branch", "id": "7"},
    {"text": "long words " * 40_000, "label": "card"},
    *({"text": f"{a} {b} of my {c} account today, and why", "label": "account"} for a in WHO for b in WHAT for c in WHICH),
]
TALKS = [
    {"messages": [{"role": "user", "content": "Say it again, please."}, {"role": "assistant", "content": "Say it again, please."}]},
    {
        "messages": [
            {"role": "user", "content": "One thing."},
            {"role": "user", "content": "Two."},
            {"role": "assistant", "content": "Yes."},
        ]
    },
    {"messages": [{"role": "user", "content": "Where is the bank?"}, {"role": "assistant", "content": "In the old town."}]},
]
WRITTEN = ("cleaned", "distinct", "redacted")


@pytest.fixture
def dirty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Files that together have something of every kind that a report can find, each with its mapping."""
    for name, lines in (("rows", LABELLED), ("talks", TALKS)):
        Path(tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return [("rows.jsonl", "classification:text=text,label=label,id=id"), ("talks.jsonl", "messages:messages=messages")]


def test_every_fix_that_a_report_can_print_works_as_it_is_pasted(dirty: list[tuple[str, str]]) -> None:
    met: set[str] = set()
    for name, words in dirty:
        mapping = mapping_from_text(words)
        for finding in report_file(Path(name), name, (mapping, words), silent).findings:
            met.add(finding.check)
            if not finding.fix.words:
                assert finding.check not in checks_after_command(finding.fix.command, mapping, words)
                assert finding.check not in checks_after_line(name, mapping, finding.fix.yaml)
    standing = {name for name, check in check_classes().items() if check.standing} - {"duplicates"}  # told once, as near duplicates
    assert met == {*standing, "near_duplicates", "language", "reading"}


def checks_after_command(command: str, mapping: Mapping, words: str) -> set[str]:
    """What a report finds in the file that the command writes, which is taken away again."""
    done = CliRunner().invoke(app, shlex.split(command)[1:])
    assert done.exit_code == 0, (command, done.stderr)
    after = next(p for p in Path().iterdir() if p.stem in WRITTEN)
    found = {f.check for f in report_file(after, after.name, (mapping, words), silent).findings}
    for path in [p for p in Path().iterdir() if p.name.partition(".")[0] in WRITTEN]:
        path.unlink()
    return found


def checks_after_line(name: str, mapping: Mapping, line: str) -> set[str]:
    """What the checks of a run find in the rows that a project with this line under `data` leaves."""
    task = "classify" if mapping.kind == "classification" else "answer"
    data = f"data:\n  files: [{name}]\n  mapping: {json.dumps(shown_mapping(mapping))}\n  {line}\n"
    head = f"name: p\nobjective: {{task: {task}, goal: g, metric: exact_match}}\nbase: smollm2-135m-instruct\n"
    Path("luthier.yaml").write_text(head + data, encoding="utf-8")
    workspace = Workspace.open(Path("luthier.yaml"))
    assert workspace.graph.clean is not None
    built = workspace.store.build(workspace.graph.clean, workspace.project.execution)
    records = [record for file in built.result.files.values() for record in read_records(built.path / file)]
    assert records
    inspector = Inspector()
    found = {f.check for i, record in enumerate(records) for f in inspector.look(record, f"row {i}")}
    found |= {f.check for f in inspector.finish()}
    if "near_duplicates" in line and NearDuplicates().clusters(records):
        found.add("near_duplicates")
    if "language" in line and any("Wo ist" in m.content for r in records for m in r.messages):
        found.add("language")
    return found


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
