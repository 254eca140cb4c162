"""`data clean` on a file: its columns stay, every change is shown, the input is never touched, and the way back is exact."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from luthier.core.config import parse_config
from luthier.core.errors import UserError
from luthier.core.events import Progress
from luthier.core.records import Record
from luthier.core.store import Interrupted
from luthier.parts.checks import steps
from luthier.parts.checks.contract import RecordsCheck, RowFinding
from luthier.parts.sources.mapping import mapping_from
from luthier.stages.data.clean import Clean
from luthier.stages.data.clean_file import FileCleaning, FileJob, clean_file, text_columns
from luthier.stages.data.clean_output import changes_beside, undo_file
from luthier.stages.data.cleaning import CleanPlan

CSV = (
    'text,label,id\n"cafÃ© is <b>open</b>",a,1\nplain text,b,2\nx,b,3\n,b,4\n" spaces at the ends  ",a,5\n'
    '"Wo ist denn nun meine neue Karte?",a,6\n'
)
PLAN = {"checks": ["length:min_characters=2,roles=user", "language:languages=en,fate=drop"]}


def plan(data: dict[str, Any]) -> CleanPlan:
    checks = [steps.step_from_text(c) for c in data.get("checks", [])]
    return parse_config(CleanPlan, {**data, "checks": checks})


def cleaned(path: Path, data: dict[str, Any] | None = None, out: Path | None = None) -> FileCleaning:
    return clean_file(path, mapping_from({"kind": "classification"}), plan(PLAN if data is None else data), FileJob(out))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text(CSV, encoding="utf-8")
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_fates_and_changes_without_an_output(file: Path) -> None:
    done = cleaned(file)
    assert done.rows == 6
    assert dict(done.fates) == {"changed": 2, "kept": 1, "set_aside": 2, "dropped": 1}
    assert [(at, e.field, e.step) for at, e in done.edits] == [
        ("row 1", "text", "mojibake"),
        ("row 1", "text", "html"),
        ("row 5", "text", "white_space"),
    ]
    assert [(g.at, g.fate, g.check) for g in done.gone] == [
        ("row 3", "set_aside", "length"),
        ("row 4", "set_aside", "reading"),
        ("row 6", "dropped", "language"),
    ]
    assert list(file.parent.iterdir()) == [file]
    assert file.read_text(encoding="utf-8") == CSV


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv"])
def test_the_columns_stay_and_the_way_back_is_exact(file: Path, suffix: str) -> None:
    out, back = file.parent / f"clean{suffix}", file.parent / "back.csv"
    cleaned(file, out=out)
    assert cleaned(out, {"repairs": []}).rows == 3
    assert not cleaned(out).edits  # nothing is left to repair
    assert undo_file(out, back) == (6, 0)
    assert back.read_text(encoding="utf-8").replace('"', "") == CSV.replace('"', "")
    assert file.read_text(encoding="utf-8") == CSV


def test_only_texts_are_touched(tmp_path: Path) -> None:
    body = {
        "messages": [{"role": "user", "content": " <b>a</b> question"}, {"role": "assistant", "content": "an answer "}],
        "id": " <b>7</b> ",
    }
    call = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": "<b>x</b>"}'}}],
    }
    tool = {
        "messages": [
            {"role": "user", "content": "call it "},
            call,
            {"role": "tool", "tool_call_id": "c", "content": "4 "},
            body["messages"][1],
        ]
    }
    path, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    path.write_text(json.dumps(body) + "\n" + json.dumps(tool) + "\n", encoding="utf-8")
    clean_file(path, mapping_from({"kind": "messages", "id": "id"}), CleanPlan(), FileJob(out))
    first, second = lines(out)
    assert [m["content"] for m in first["messages"]] == ["a question", "an answer"]
    assert first["id"] == body["id"]
    assert second["messages"][1] == call
    assert [m["content"] for m in second["messages"]] == ["call it", "", "4", "an answer"]
    assert {c["field"] for c in lines(changes_beside(out))} == {f"messages.{i}.content" for i in (0, 1, 2, 3)}
    assert undo_file(out, tmp_path / "back.jsonl") == (2, 0)
    assert lines(tmp_path / "back.jsonl") == [body, tool]


@pytest.mark.parametrize(
    ("kind", "columns"),
    [
        ({"kind": "classification", "text": ["title", "body"], "label": "topic", "id": "n"}, {"title", "body"}),
        ({"kind": "alpaca"}, {"instruction", "input", "output", "system", "history"}),
        ({"kind": "entities"}, set()),
        ({"kind": "regression", "text": "a", "pair": "b"}, {"a", "b"}),
        ({"kind": "preference"}, {"prompt", "chosen", "rejected"}),
        ({"kind": "kto"}, {"prompt", "completion"}),
    ],
)
def test_the_mapping_says_which_columns_are_texts(kind: dict[str, Any], columns: set[str]) -> None:
    assert text_columns(mapping_from(kind)) == columns


class Twins(RecordsCheck):
    """Finds rows with the text of an earlier row."""

    def __call__(self, records: Sequence[Record]) -> list[RowFinding]:
        first: dict[str, int] = {}
        texts = [r.messages[0].content for r in records]  # type: ignore[union-attr]
        return [RowFinding(i, f"says what row {first[t]} says") for i, t in enumerate(texts) if first.setdefault(t, i) != i]


def test_checks_of_all_rows_come_last(tmp_path: Path) -> None:
    path, out = tmp_path / "rows.csv", tmp_path / "out.jsonl"
    path.write_text("text,label\ncafé,a\nb,a\ncafÃ©,b\nc,b\n", encoding="utf-8")
    step: Any = steps._step_class("twins", Twins)(fate="drop")
    whole = plan({"checks": ["conflicts:fate=warn"]})
    done = clean_file(
        path, mapping_from({"kind": "classification"}), whole.model_copy(update={"checks": (*whole.checks, step)}), FileJob(out)
    )
    assert [(g.at, g.check, g.fate) for g in done.gone] == [("row 3", "twins", "dropped")]
    assert [r["text"] for r in lines(out)] == ["café", "b", "c"]
    assert done.findings.counts == {"conflicts": 2, "twins": 1}


def test_a_stop_leaves_nothing_behind(file: Path) -> None:
    with pytest.raises(Interrupted, match="nothing was written"):
        clean_file(file, None, CleanPlan(), FileJob(file.parent / "out.jsonl", stop_flag=lambda: True))
    assert list(file.parent.iterdir()) == [file]


def test_progress_is_told_in_bytes(file: Path) -> None:
    events: list[Any] = []
    clean_file(file, None, CleanPlan(), FileJob(observer=events.append))
    assert any(isinstance(e, Progress) and e.unit == "bytes" and e.total == file.stat().st_size for e in events)


@pytest.mark.parametrize(
    ("out", "said"),
    [("rows.csv", "must be a new file"), ("taken.jsonl", "must be a new file"), ("out.parquet", "must be named"), ("out", "must be named")],
)
def test_nothing_is_ever_overwritten(file: Path, out: str, said: str) -> None:
    (file.parent / "taken.changes.jsonl").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match=said):
        cleaned(file, out=file.parent / out)
    assert (file.parent / "taken.changes.jsonl").read_text(encoding="utf-8") == "mine"
    assert {p.name for p in file.parent.iterdir()} == {"rows.csv", "taken.changes.jsonl"}


def test_a_file_of_which_nothing_is_left_is_an_error(file: Path) -> None:
    with pytest.raises(UserError, match="rows must be left after cleaning"):
        cleaned(file, {"checks": ["length:min_words=50"]}, file.parent / "out.jsonl")
    assert list(file.parent.iterdir()) == [file]


def test_changes_of_another_file_are_refused(file: Path) -> None:
    out = file.parent / "out.jsonl"
    cleaned(file, out=out)
    rows = lines(out)
    rows[0]["text"] = "something else"
    out.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    with pytest.raises(UserError, match="belong to the file beside them"):
        undo_file(out, file.parent / "back.jsonl")
    out.write_text(json.dumps(rows[0]) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match="belong to the file beside them"):
        undo_file(out, file.parent / "back.jsonl")
    changes_beside(out).unlink()
    with pytest.raises(UserError, match="must lie beside"):
        undo_file(out, file.parent / "back.jsonl")


def test_the_file_and_the_stage_agree(file: Path) -> None:
    """What the verb shows for a file is what a run would do with it."""
    from one_stage import TestContext

    from luthier.core.keys import SourceFile
    from luthier.core.ledger import read_ledger
    from luthier.stages.data.ingest import DataFile, Ingest

    ingest = Ingest(files=(DataFile(source=SourceFile(path=str(file))),), mapping=mapping_from({"kind": "classification"}))
    out = TestContext(file.parent / "out").get(Clean(dataset=ingest, plan=plan(PLAN)))
    done = cleaned(file)
    story = {e.source: e.fate for e in read_ledger(out.path / "ledger.jsonl")}
    assert {f"rows.csv {g.at}": g.fate for g in done.gone} == {s: f for s, f in story.items() if f in ("set_aside", "dropped")}
    assert [(e.step, e.before, e.after) for _, e in done.edits] == [
        (c["step"], c["before"], c["after"]) for c in lines(out.path / "changes.jsonl")
    ]
