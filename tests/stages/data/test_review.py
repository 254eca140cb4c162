"""The review without a screen: what is in the queue and in which order, sessions, outcomes, the file written, agreement."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import krippendorff
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from luthier.core.database import Database
from luthier.core.database.review import ReviewQueue
from luthier.core.errors import AnswerIsNo, UserError
from luthier.core.ledger import read_ledger
from luthier.parts.checks.steps import load_step
from luthier.parts.sources.mapping import mapping_from_text
from luthier.stages.data.review import ReviewPlan, content_of, open_queue
from luthier.stages.data.review_apply import apply_review, export_decisions, import_decisions, sample_rate
from luthier.stages.data.review_session import ReviewSession, agreement, edited, relabelled

MAP = "classification:text=text,label=label"
LINES = [
    {"text": "where is my card", "label": 1},
    {"text": "where is my card", "label": 0},
    {"text": "a clean row", "label": 0},
    {"text": "where is  my pin", "label": 2},
    {"text": "where is my card", "label": 1},
]
CHATS = [
    {"messages": [{"role": "user", "content": "Say hello"}, {"role": "assistant", "content": "Hello there."}]},
    {"messages": [{"role": "user", "content": "Add 2 and 3"}, {"role": "assistant", "content": "I'm sorry, but I can't help with that."}]},
    {
        "messages": [
            {"role": "user", "content": "Repeat this text word for word"},
            {"role": "assistant", "content": "Repeat this text word for word"},
        ]
    },
]


def silent(what: str, done: int, total: int) -> None:
    return


def queue_of(
    folder: Path, lines: list[dict[str, Any]] = LINES, mapping: str | None = MAP, checks: tuple[str, ...] = ("conflicts",)
) -> ReviewQueue:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    plan = ReviewPlan(path, mapping_from_text(mapping) if mapping else None, tuple(load_step(check) for check in checks))
    return open_queue(Database.in_folder(folder / ".luthier"), plan, silent)


def places(queue: ReviewQueue) -> list[str]:
    return [item.place for item in queue.items()]


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_queue_holds_suspected_rows_with_their_columns_and_is_found_again(tmp_path: Path) -> None:
    queue = queue_of(tmp_path)
    assert places(queue) == ["line 1", "line 2", "line 5"]
    item = queue.items()[1]
    assert (item.body["fields"], item.body["label"]) == (LINES[1], "0")
    assert "same text, label '0' here and '1' there" in item.body["findings"][0]["reason"]
    assert queue.body["labels"] == {"0": 0, "1": 1, "2": 2}
    assert queue_of(tmp_path).number == queue.number
    assert queue_of(tmp_path, checks=("conflicts", "length")).number != queue.number
    assert queue_of(tmp_path, LINES[:3]).number != queue.number
    assert queue.body["sha256"] != content_of(tmp_path / "rows.jsonl")


def test_answers_that_refuse_or_echo_are_in_the_same_queue(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, CHATS, None, ())
    assert [(i.place, i.body["findings"][0]["check"]) for i in queue.items()] == [("line 2", "refusals"), ("line 3", "echo")]
    assert any("label_errors was not asked" in note for note in queue.body["notes"])
    with pytest.raises(UserError, match="two labels"):
        queue_of(tmp_path, CHATS, None, ("label_errors",))
    with pytest.raises(UserError, match="did you mean"):
        queue_of(tmp_path, CHATS, None, ("refusal",))


def test_certain_findings_come_before_likely_label_errors_and_those_by_how_surely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from luthier.parts.duplicates import semantic

    def embedded(texts: list[str], encoder: str, progress: object = None) -> np.ndarray:
        off = np.random.default_rng(0).normal(scale=0.1, size=(len(texts), 2))
        return (np.array([["card" in text, "pin" in text] for text in texts]) + off).astype(np.float32)

    monkeypatch.setattr(semantic, "embedded", embedded)
    words = ("card", "pin")
    lines = [{"text": f"my {words[i % 2]} {i}", "label": words[(i + (i in (8, 21))) % 2]} for i in range(40)]
    lines.append({"text": "my card 0", "label": "pin"})
    queue = queue_of(tmp_path, lines, MAP, ())
    items = queue.items()
    assert {items[0].place, items[1].place} == {"line 1", "line 41"}
    assert items[0].place == "line 41"  # a conflict and a likely error: two findings before one
    assert [f["check"] for f in items[0].body["findings"]] == ["conflicts", "label_errors"]
    assert {"line 9", "line 22"} <= set(places(queue)[2:5])
    by_score = [max(f["score"] for f in item.body["findings"]) for item in items]
    assert by_score == sorted(by_score, reverse=True)
    suggested = {i.place: i.body["findings"][0]["suggestion"] for i in items}
    assert (suggested["line 9"], suggested["line 22"]) == ("card", "pin")


def test_rows_drawn_at_random_come_last_and_say_how_many_others_are_wrong(tmp_path: Path) -> None:
    lines = [*LINES, *({"text": f"text {i}", "label": i % 3} for i in range(40))]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    database = Database.in_folder(tmp_path / ".luthier")
    plan = ReviewPlan(path, mapping_from_text(MAP), (load_step("conflicts"),), sample=8)
    queue = open_queue(database, plan, silent)
    drawn = places(queue)[3:]
    assert places(queue)[:3] == ["line 1", "line 2", "line 5"]
    assert len(set(drawn)) == 8
    assert not set(drawn) & {"line 1", "line 2", "line 5"}
    assert open_queue(database, plan, silent).number == queue.number
    other = open_queue(database, ReviewPlan(path, mapping_from_text(MAP), (load_step("conflicts"),), sample=8, seed=14), silent)
    assert places(other)[3:] != drawn
    assert sample_rate(queue.items(), queue.decisions()) is None
    session = ReviewSession(queue, "anna")
    for action in ("reject", "reject", "reject", "reject", "accept", "accept", "skip"):
        session.decide(action)  # type: ignore[arg-type]
    found = sample_rate(queue.items(), queue.decisions())
    assert found is not None
    assert (found["drawn"], found["decided"], found["wrong"]) == (8, 3, 1)
    assert found["value"] == pytest.approx(1 / 3)
    assert found["low"] < found["value"] < found["high"]
    everything = open_queue(database, ReviewPlan(path, mapping_from_text(MAP), (load_step("conflicts"),), sample=500), silent)
    assert len(places(everything)) == 45


def test_a_session_goes_on_where_it_was_left_and_brings_back_what_was_skipped(tmp_path: Path) -> None:
    queue = queue_of(tmp_path)
    first = ReviewSession(queue, "anna")
    first.decide("skip")
    first.decide("accept")
    again = ReviewSession(queue, "anna")
    assert [item.place for item in again.order] == ["line 5", "line 1"]
    assert (again.done, again.skipped) == (1, 1)
    again.decide("reject")
    again.decide("relabel", relabelled("0"))
    assert again.current is None
    assert (again.done, again.skipped) == (3, 0)
    back = again.undo()
    assert back is not None
    assert (back.place, again.current) == ("line 1", back)
    assert (again.done, again.skipped) == (2, 1)
    earlier = ReviewSession(queue, "anna")
    earlier.undo()
    taken = earlier.undo()
    assert taken is not None
    assert (taken.place, earlier.current) == ("line 2", taken)
    assert [item.place for item in ReviewSession(queue, "ben").order] == ["line 1", "line 2", "line 5"]


@pytest.mark.parametrize(
    ("action", "body", "word"),
    [
        ("relabel", {"label": "9"}, "label of the file"),
        ("relabel", {"label": "1"}, "must change"),
        ("relabel", {}, "label of the file"),
        ("edit", {}, "texts"),
        ("edit", edited({("text",): "where is my card"}), "must change"),
        ("edit", edited({("label",): "x"}), "text of the row"),
        ("edit", edited({("text", "deeper"): "x"}), "text of the row"),
        ("approve", {}, "known action"),
    ],
)
def test_a_decision_that_cannot_be_applied_is_refused(tmp_path: Path, action: Any, body: dict[str, Any], word: str) -> None:
    session = ReviewSession(queue_of(tmp_path), "anna")
    with pytest.raises(UserError, match=word):
        session.decide(action, body)
    assert session.at == 0
    assert session.queue.decisions() == []


def test_the_file_is_written_as_decided_and_every_row_has_its_fate(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, [*LINES, {"text": "", "label": 1}])
    session = ReviewSession(queue, "anna")
    session.decide("relabel", relabelled("0"))
    session.decide("edit", edited({("text",): "where is my other card"}))
    session.decide("reject")
    before = (tmp_path / "rows.jsonl").read_bytes()
    done = apply_review(queue, tmp_path / "out.jsonl")
    assert read(tmp_path / "out.jsonl") == [
        {"text": "where is my card", "label": 0},
        {"text": "where is my other card", "label": 0},
        LINES[2],
        LINES[3],
        {"text": "", "label": 1},
    ]
    assert dict(done.fates) == {"changed": 2, "kept": 3, "dropped": 1}
    entries = list(read_ledger(done.ledger))
    assert [(e.source, e.step, e.fate, e.reason) for e in entries] == [
        ("rows.jsonl line 1", "review", "changed", "relabelled '1' -> '0' by anna"),
        ("rows.jsonl line 2", "review", "changed", "edited text by anna"),
        ("rows.jsonl line 3", "review", "kept", ""),
        ("rows.jsonl line 4", "review", "kept", ""),
        ("rows.jsonl line 5", "review", "dropped", "rejected by anna"),
        ("rows.jsonl line 6", "review", "kept", ""),
    ]
    assert (tmp_path / "rows.jsonl").read_bytes() == before
    with pytest.raises(UserError, match="new file"):
        apply_review(queue, tmp_path / "out.jsonl")
    table = apply_review(queue, tmp_path / "table.csv")
    with table.out.open(encoding="utf-8", newline="") as f:
        assert [row["label"] for row in csv.DictReader(f)] == ["0", "0", "0", "2", "1"]
    (tmp_path / "rows.jsonl").write_text('{"text": "x", "label": 1}\n', encoding="utf-8")
    with pytest.raises(UserError, match="has changed since"):
        apply_review(queue, tmp_path / "more.jsonl")
    assert not (tmp_path / "more.jsonl").exists()


def test_a_text_deep_inside_a_row_is_edited_in_place(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, CHATS, None, ("refusals",))
    ReviewSession(queue, "anna").decide("edit", edited({("messages", 1, "content"): "5"}))
    apply_review(queue, tmp_path / "out.jsonl")
    wanted = [CHATS[0], {"messages": [CHATS[1]["messages"][0], {"role": "assistant", "content": "5"}]}, CHATS[2]]
    assert read(tmp_path / "out.jsonl") == wanted
    with pytest.raises(UserError, match="with a label"):
        ReviewSession(queue, "ben").decide("relabel", relabelled("x"))


def test_what_reviewers_disagree_about_stops_until_it_is_settled(tmp_path: Path) -> None:
    queue = queue_of(tmp_path)
    for name, actions in {"anna": ("accept", "reject", "accept"), "ben": ("accept", "accept", "accept")}.items():
        session = ReviewSession(queue, name)
        for action in actions:
            session.decide(action)  # type: ignore[arg-type]
    with pytest.raises(AnswerIsNo, match=r"on 1 rows.*\n  line 2: reviewers disagree: rejected by anna; accepted by ben"):
        apply_review(queue, tmp_path / "out.jsonl")
    assert list(tmp_path.glob("out*")) == []
    kept = apply_review(queue, tmp_path / "kept.jsonl", "keep")
    assert (kept.fates["kept"], kept.disputed) == (5, 1)
    aside = apply_review(queue, tmp_path / "aside.jsonl", "set_aside")
    assert (aside.fates["kept"], aside.fates["set_aside"], len(read(aside.out))) == (4, 1, 4)
    third = ReviewSession(queue, "carl", {"line 2": "rejected by anna; accepted by ben"})
    assert [item.place for item in third.order] == ["line 2"]
    third.decide("reject")
    settled = apply_review(queue, tmp_path / "settled.jsonl")
    assert settled.fates["dropped"] == 1
    assert "rejected by anna, carl; accepted by ben" in settled.ledger.read_text(encoding="utf-8")


def test_decisions_travel_as_a_file(tmp_path: Path) -> None:
    queue = queue_of(tmp_path)
    assert export_decisions(queue, tmp_path / "none.jsonl") == 0
    assert import_decisions(queue, tmp_path / "none.jsonl", None) == (0, 0)
    session = ReviewSession(queue, "anna")
    session.decide("relabel", relabelled("0"))
    session.decide("edit", edited({("text",): "x"}))
    assert export_decisions(queue, tmp_path / "anna.jsonl") == 2
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    there = queue_of(elsewhere)
    assert import_decisions(there, tmp_path / "anna.jsonl", None) == (2, 0)
    assert import_decisions(there, tmp_path / "anna.jsonl", None) == (0, 2)
    assert [(d.reviewer, d.action, d.body, d.created) for d in there.decisions()] == [
        (d.reviewer, d.action, d.body, d.created) for d in queue.decisions()
    ]
    by_hand = tmp_path / "mine.jsonl"
    for line, word in (
        ({"at": "line 3", "action": "accept"}, "row of the queue"),
        ({"at": "line 1", "action": "relabel", "label": "7"}, "label of the file"),
        ({"at": "line 1", "action": "accept", "file": "0" * 64}, "file that is reviewed"),
    ):
        by_hand.write_text(json.dumps({"at": "line 5", "action": "accept"}) + "\n" + json.dumps(line) + "\n", encoding="utf-8")
        with pytest.raises(UserError, match=word):
            import_decisions(there, by_hand, "ben")
    with pytest.raises(UserError, match="whose"):
        import_decisions(there, by_hand, None)
    assert len(there.decisions()) == 2


def test_agreement_is_that_of_the_libraries(tmp_path: Path) -> None:
    lines = [{"text": f"text {i // 2}", "label": i % 2} for i in range(24)]
    queue = queue_of(tmp_path, lines)
    rng = np.random.default_rng(3)
    told: dict[str, list[str | None]] = {}
    for name in ("anna", "ben", "carl"):
        session, told[name] = ReviewSession(queue, name), []
        for item in queue.items():
            action = ("accept", "reject", "relabel", "skip")[rng.choice(4, p=(0.5, 0.2, 0.2, 0.1))]
            other = "0" if item.body["label"] == "1" else "1"
            session.decide(action, relabelled(other) if action == "relabel" else {})  # type: ignore[arg-type]
            told[name].append(None if action == "skip" else f"relabel {other}" if action == "relabel" else action)
    two = agreement([d for d in queue.decisions() if d.reviewer != "carl"])
    pairs = [(a, b) for a, b in zip(told["anna"], told["ben"], strict=True) if a and b]
    assert two["measure"] == "cohen_kappa"
    assert two["value"] == pytest.approx(cohen_kappa_score(*zip(*pairs, strict=True)), abs=1e-12)
    assert (two["items"], two["same"]) == (len(pairs), sum(a == b for a, b in pairs))
    kinds = sorted({v for values in told.values() for v in values if v})
    table = np.array([[np.nan if v is None else kinds.index(v) for v in values] for values in told.values()])
    three = agreement(queue.decisions())
    assert three["measure"] == "krippendorff_alpha"
    assert three["value"] == pytest.approx(krippendorff.alpha(table, level_of_measurement="nominal"), abs=1e-12)
    assert three["low"] <= three["value"] <= three["high"]
    alone = agreement([d for d in queue.decisions() if d.reviewer == "anna"])
    assert (alone["measure"], alone["items"]) == (None, 0)
