"""Clean: texts are repaired as diffs, checks of every kind decide fates, nothing is lost, and the ledger follows each row."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from one_stage import Given, TestContext, dataset, example

from luthier.core.config import parse_config
from luthier.core.errors import UserError
from luthier.core.events import Progress
from luthier.core.ledger import read_ledger, stories
from luthier.core.records import Example, Message, Preference, Record, Source, Text, content_id, from_json, read_records
from luthier.parts.checks import discover, steps
from luthier.parts.checks.contract import RecordsCheck, RowFinding, TextCheck
from luthier.stages.data.clean import CHANGES, Clean
from luthier.stages.data.cleaning import CleanPlan, Edit, clean_record, repaired, undone
from luthier.stages.data.split import Split, SplitPlan

ROWS = [
    example("cafÃ© is <b>open</b>", "a", "row 1"),
    example("plain text", "b", "row 2"),
    example("café is open", "a", "row 3"),
    example("Ich möchte wissen, wo meine neue Karte ist.", "a", "row 4"),
    example("x", "b", "row 5"),
    example("plain text", "b", "row 6"),
    example("\u200b", "b", "row 7"),
]
PLAN = {"checks": [{"kind": "language", "fate": "drop", "roles": ["user"]}, {"kind": "length", "min_characters": 2, "roles": ["user"]}]}


def plan(data: Any) -> CleanPlan:
    return parse_config(CleanPlan, data)


def built(folder: Path, rows: Sequence[Example] = ROWS, data: Any = PLAN, **roles: Sequence[Example]) -> tuple[Any, Given, TestContext]:
    given_ = dataset(folder / "in", **(roles or {"any": rows}))
    ctx = TestContext(folder / "out")
    return ctx.get(Clean(dataset=given_, plan=plan(data))), given_, ctx


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_row_has_its_fate_and_every_change_its_diff(tmp_path: Path) -> None:
    out, _, ctx = built(tmp_path)
    kept = read_records(out.path / "any.jsonl")
    assert [r.messages[0].content for r in kept] == ["café is open", "plain text", "café is open", "plain text"]
    assert [r.messages[1].content for r in kept] == ["a", "b", "a", "b"]
    fates = {s: (story[-1].step, story[-1].fate) for s, story in stories(read_ledger(out.path / "ledger.jsonl")).items()}
    assert [fates[f"rows.csv row {i}"][1] for i in range(1, 8)] == ["changed", "kept", "kept", "dropped", "set_aside", "kept", "set_aside"]
    assert all(step == "clean" for step, _ in fates.values())
    assert out.result.counts == {"any": 4}
    assert out.result.ledger == {"kept": 3, "changed": 1, "set_aside": 2, "dropped": 1}
    assert [(c["field"], c["step"]) for c in lines(out.path / CHANGES)[:2]] == [("messages.0", "mojibake"), ("messages.0", "html")]
    assert [r.source.at for r in map(from_json, lines(out.path / "set_aside.jsonl"))] == ["row 5", "row 7"]
    assert [r.source.at for r in map(from_json, lines(out.path / "dropped.jsonl"))] == ["row 4"]
    assert any("3 kept, 1 changed, 2 set aside, 1 dropped" in note for note in ctx.notes)
    assert any(isinstance(e, Progress) and e.done == e.total == 7 for e in ctx.events)


def test_a_row_that_says_something_else_has_a_new_id_and_the_ledger_follows_it(tmp_path: Path) -> None:
    out, given_, _ = built(tmp_path)
    before = read_records(Path(given_.folder) / "any.jsonl")
    after = read_records(out.path / "any.jsonl")
    assert all(r.id == content_id(r) for r in after)
    assert len({r.key for r in after}) == len(after)
    assert [r.key for r in after[1:]] == [before[1].key, before[2].key, before[5].key]  # what was not changed keeps its key
    assert after[0].id == before[2].id  # two rows that say the same now
    entry = next(e for e in read_ledger(out.path / "ledger.jsonl") if e.step == "clean")
    assert (entry.was, entry.key, entry.id) == (before[0].key, f"{before[2].id}-2", before[2].id)
    assert entry.reason == "mojibake in messages.0; html in messages.0"


def test_every_change_can_be_undone(tmp_path: Path) -> None:
    out, given_, _ = built(tmp_path)
    edits: dict[str, list[Edit]] = {}
    for line in lines(out.path / CHANGES):
        edits.setdefault(line["key"], []).append(Edit(line["field"], line["step"], line["before"], line["after"]))
    rows = [from_json(r) for n in ("any", "set_aside", "dropped") for r in lines(out.path / f"{n}.jsonl")]
    back = {str(r.source): content_id(undone(r, edits.get(r.key, []))) for r in rows}
    assert back == {str(r.source): r.id for r in read_records(Path(given_.folder) / "any.jsonl")}


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(st.text(alphabet="aÃ©<b>&;\u200b\x00 \n`$", max_size=12), min_size=1, max_size=3))
def test_repairs_of_any_record_are_undone_by_their_edits(texts: list[str]) -> None:
    turns = tuple(Message("user" if i % 2 == 0 else "assistant", t) for i, t in enumerate(texts))
    source = Source("f", "row 1")
    records: list[Record] = [Example(turns, source), Text(texts[0], source), Preference(turns, turns[:1], turns[-1:], source)]
    for record in records:
        after, edits = repaired(record, CleanPlan().repairs)
        assert undone(after, edits) == record
        assert all(e.before != e.after for e in edits)


def test_an_answer_that_is_a_value_is_neither_repaired_nor_judged_as_a_text() -> None:
    labelled = example("a question that is long enough", " café\u200b ")
    strict = plan({"checks": [{"kind": "length", "min_words": 4}]})
    assert clean_record(labelled, strict).record == labelled
    assert clean_record(labelled, strict).failures == ()
    row = Example((Message("user", "how much in all, please?"), Message("assistant", " 4.5 ")), Source("f", "row 1"))
    assert clean_record(row, strict, "number").record == row
    assert clean_record(row, strict).failures[0].where == "messages.1"


def test_a_json_answer_stays_json() -> None:
    answer = '[{"text": "Tom &quot;T&quot;", "type": "person"}]'
    row = Example((Message("user", "Tom &quot;T&quot;"), Message("assistant", answer)), Source("f", "row 1"))
    after = clean_record(row, CleanPlan()).record
    assert isinstance(after, Example)
    assert (after.messages[0].content, after.reference) == ('Tom "T"', answer)


def test_warn_keeps_the_row_and_tells_it(tmp_path: Path) -> None:
    data = {"repairs": [], "checks": [{"kind": "language", "fate": "warn"}, "html_residue"]}
    out, _, _ = built(tmp_path, data=data)
    assert out.result.counts == {"any": 6}
    entry = next(e for e in read_ledger(out.path / "ledger.jsonl") if e.source == "rows.csv row 4" and e.step == "clean")
    assert (entry.fate, "found language: language: de" in entry.reason) == ("kept", True)
    findings = json.loads((out.path / "findings.json").read_text())
    assert [(f["check"], f["where"]) for f in findings] == [("html_residue", "messages.0"), ("language", "messages.0")]
    assert out.result.findings == 2


def test_the_first_check_that_takes_a_row_away_is_the_last_that_is_asked() -> None:
    both = plan({"checks": [{"kind": "length", "min_words": 9, "fate": "warn"}, {"kind": "length", "min_words": 9}, "language"]})
    german = Example((Message("user", "Wo ist meine neue Karte geblieben?"), Message("assistant", "Hier.")), Source("f", "row 1"))
    got = clean_record(german, both)
    assert [f.fate for f in got.failures] == ["warn", "warn", "set_aside", "set_aside"]
    assert got.fate == "set_aside"


class Twins(RecordsCheck):
    """Finds rows with the text of an earlier row."""

    least: int = 1

    def __call__(self, records: Sequence[Record]) -> list[RowFinding]:
        first: dict[str, int] = {}
        texts = [r.messages[0].content for r in records]  # type: ignore[union-attr]
        return [RowFinding(i, f"says what row {first[t]} says") for i, t in enumerate(texts) if first.setdefault(t, i) != i]


@pytest.fixture
def twins(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The step of a check of all records that another package might bring."""
    return steps._step_class("twins", Twins)


@pytest.mark.parametrize("fate", ["drop", "set_aside", "warn"])
def test_a_check_of_all_records_runs_last_by_its_name(tmp_path: Path, twins: Any, fate: str) -> None:
    given_ = dataset(tmp_path / "in", any=ROWS)
    step = twins(fate=fate)
    whole = plan({"checks": ["conflicts", {"kind": "length", "min_characters": 2, "roles": ["user"]}]})
    ctx = TestContext(tmp_path / "out")
    stage = Clean(dataset=given_, plan=whole.model_copy(update={"checks": (*whole.checks, step)}))
    out = ctx.get(stage)
    gone = {"drop": "dropped", "set_aside": "set_aside"}.get(fate, "")
    assert out.result.counts == {"any": 3 if gone else 5}
    entries = [e for e in read_ledger(out.path / "ledger.jsonl") if e.step == "clean"]
    assert len(entries) == len(ROWS) == len({e.key for e in entries})
    twin = next(e for e in entries if e.source == "rows.csv row 3")
    assert twin.fate == (gone or "kept")
    assert "says what row 0 says" in twin.reason
    assert len(read_records(out.path / "any.jsonl")) == out.result.counts["any"]
    if gone:
        assert "rows.csv row 3" in [str(from_json(r).source) for r in lines(out.path / f"{gone}.jsonl")]


def test_a_check_of_facts_takes_the_rows_that_it_names(tmp_path: Path) -> None:
    rows = [example("same", "a", "row 1"), example("same", "b", "row 2"), example("other", "a", "row 3")]
    out, _, _ = built(tmp_path, rows, {"checks": [{"kind": "conflicts", "fate": "drop"}, "class_balance"]})
    assert [r.messages[0].content for r in read_records(out.path / "any.jsonl")] == ["other"]
    assert [f["at"] for f in json.loads((out.path / "findings.json").read_text())] == ["rows.csv row 1", "rows.csv row 2"]


def test_roles_stay_apart_and_an_emptied_one_is_an_error(tmp_path: Path) -> None:
    out, _, _ = built(tmp_path, train=ROWS[:2], test=ROWS[2:3])
    assert out.result.counts == {"test": 1, "train": 2}
    with pytest.raises(UserError, match=r"none of the test rows \(1 x length\)"):
        built(tmp_path / "again", train=ROWS[:2], test=ROWS[4:5])


def test_the_split_divides_what_is_left_and_tells_the_whole_story(tmp_path: Path) -> None:
    rows = [*ROWS, *[example(f"an ordinary question number {i}", "a", f"row {i}") for i in range(8, 40)]]
    given_ = dataset(tmp_path / "in", any=rows)
    ctx = TestContext(tmp_path / "out")
    out = ctx.get(Split(dataset=Clean(dataset=given_, plan=plan(PLAN)), plan=SplitPlan(validation=3, test=5)))
    entries = stories(read_ledger(out.path / "ledger.jsonl"))
    assert [e.step for e in entries["rows.csv row 1"]] == ["ingest", "clean", "split"]
    assert [e.step for e in entries["rows.csv row 4"]] == ["ingest", "clean"]
    assert sum(out.result.counts.values()) == len(rows) - 3
    assert sum(out.result.ledger.values()) == len(rows)


def test_a_stop_is_asked_for_between_rows_and_the_next_build_is_whole(tmp_path: Path) -> None:
    given_ = dataset(tmp_path / "in", any=ROWS)
    stage = Clean(dataset=given_, plan=plan(PLAN))
    ctx = TestContext(tmp_path / "work")
    ctx.root.mkdir()
    ctx.stop_requested = lambda: True  # type: ignore[method-assign]
    with pytest.raises(AssertionError, match="cleaning rows"):
        stage.build(ctx)  # type: ignore[arg-type]
    del ctx.stop_requested
    assert stage.build(ctx).counts == {"any": 4}  # type: ignore[arg-type]
    assert len(lines(tmp_path / "work" / "ledger.jsonl")) == 2 * len(ROWS)


NEEDED = {"relevance": {"to": "questions to a bank"}}
"""The options without a default."""


def test_every_check_of_the_folder_can_be_a_step() -> None:
    assert set(steps.step_classes()) == set(discover.check_classes())
    for name, cls in steps.step_classes().items():
        needed = NEEDED.get(name, {})
        step: Any = cls(**needed)  # type: ignore[call-arg]
        assert (step.kind, step.fate) == (name, "set_aside")
        assert hasattr(step, "roles") == isinstance(step, TextCheck)
        assert steps.load_step({"kind": name, **needed} if needed else name) == step
        assert steps.load_step(step.model_dump(mode="json")) == step
