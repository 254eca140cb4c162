"""Ingest: files become one data set, every input row has a ledger line, and what cannot be learned from is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from one_stage import TestContext

from luthier.core.artifacts import Dataset
from luthier.core.errors import UserError
from luthier.core.events import Progress
from luthier.core.keys import SourceFile
from luthier.core.ledger import FATES, LedgerEntry, append_ledger, count_fates, final_fate, merge_ledgers, read_ledger, stories
from luthier.core.records import read_records, with_ids
from luthier.parts.sources.mapping import mapping_from
from luthier.parts.sources.prompt import PromptTemplate
from luthier.stages.data.ingest import DataFile, Ingest, display_names

ROWS = 'text,label\nGood film,pos\nBad film,neg\nGood film,pos\n,neg\nfine,pos\n"no, label"\n'
PROMPT = PromptTemplate(system="Labels: {labels}.", user="{text}?")


def stage(tmp_path: Path, files: dict[str, str], roles: tuple[str, ...] = (), **more: Any) -> Ingest:
    entries = []
    for i, (name, content) in enumerate(files.items()):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
        entries.append(DataFile(source=SourceFile(path=str(path)), role=roles[i] if roles else "any"))  # type: ignore[arg-type]
    more.setdefault("mapping", mapping_from({"kind": "classification"}))
    return Ingest(files=tuple(entries), **more)


def built(tmp_path: Path, ingest: Ingest) -> tuple[Dataset, Path, TestContext]:
    ctx = TestContext(tmp_path / "out")
    got = ctx.get(ingest)
    return got.result, got.path, ctx


def test_every_row_is_in_the_ledger_and_good_rows_are_records(tmp_path: Path) -> None:
    result, folder, ctx = built(tmp_path, stage(tmp_path, {"rows.csv": ROWS}))
    assert result == Dataset(
        kind="example",
        files={"any": "any.jsonl"},
        counts={"any": 4},
        labels=("neg", "pos"),
        ledger={"kept": 4, "changed": 0, "set_aside": 2, "dropped": 0},
        findings=1,
    )
    records = read_records(folder / "any.jsonl")
    assert [r.reference for r in records] == ["pos", "neg", "pos", "pos"]
    assert [r.key for r in records] == [r.key for r in with_ids(records)]
    assert records[2].key == records[0].key + "-2"
    entries = list(read_ledger(folder / "ledger.jsonl"))
    assert [(e.source, e.fate) for e in entries] == [(f"rows.csv row {i}", "set_aside" if i in (4, 6) else "kept") for i in range(1, 7)]
    assert [e.key for e in entries if e.key] == [r.key for r in records]
    assert entries[3].reason == "empty text"
    assert "1 field, 2 wanted" in entries[5].reason
    findings = json.loads((folder / "findings.json").read_text())
    assert [f["check"] for f in findings] == ["duplicates"]
    assert any("2 of 6 rows set aside" in note for note in ctx.notes)
    assert any(isinstance(e, Progress) and e.done == e.total > 0 for e in ctx.events)


def test_roles_keep_their_own_files_and_keys_are_unique_over_all_of_them(tmp_path: Path) -> None:
    files = {"train.csv": "text,label\na,x\nb,y\n", "test.jsonl": '{"text": "a", "label": "x"}\n'}
    result, folder, _ = built(tmp_path, stage(tmp_path, files, ("train", "test")))
    assert result.counts == {"test": 1, "train": 2}
    keys = [r.key for role in ("train", "test") for r in read_records(folder / result.files[role])]
    assert len(set(keys)) == 3
    assert keys[2] == keys[0] + "-2"


def test_the_prompt_shows_the_labels_of_the_data(tmp_path: Path) -> None:
    result, folder, _ = built(tmp_path, stage(tmp_path, {"rows.csv": ROWS}, prompt=PROMPT))
    first = read_records(folder / "any.jsonl")[0]
    assert [m.content for m in first.messages] == ["Labels: neg, pos.", "Good film?", "pos"]
    assert result.labels == ("neg", "pos")


def test_listed_labels_keep_their_order_and_their_words(tmp_path: Path) -> None:
    prompt = PROMPT.model_copy(update={"label_text": {"pos": "positive"}})
    result, folder, _ = built(tmp_path, stage(tmp_path, {"rows.csv": ROWS}, prompt=prompt, labels=("pos", "neg")))
    first = read_records(folder / "any.jsonl")[0]
    assert first.messages[0].content == "Labels: positive, neg."
    assert (first.label, first.reference, first.meta) == ("positive", "positive", {"label": "pos"})
    assert result.labels == ("positive", "neg")


def test_label_words_without_listed_labels(tmp_path: Path) -> None:
    prompt = PromptTemplate(user="{text}", label_text={"pos": "positive"})
    result, _, _ = built(tmp_path, stage(tmp_path, {"rows.csv": ROWS}, prompt=prompt))
    assert result.labels == ("neg", "positive")


def test_safe_repairs_are_announced_and_ledgered_or_refused(tmp_path: Path) -> None:
    rows = '\ufeff{"messages": [{"role": "User", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
    ingest = stage(tmp_path, {"a.jsonl": rows}, mapping=mapping_from({"kind": "messages"}))
    result, folder, ctx = built(tmp_path, ingest)
    assert result.ledger["changed"] == 1
    assert "role 'User'" in next(read_ledger(folder / "ledger.jsonl")).reason
    assert any("BOM removed" in note for note in ctx.notes)
    assert "BOM removed" in (folder / "findings.json").read_text()
    with pytest.raises(UserError, match="no repair is allowed"):
        built(tmp_path, ingest.model_copy(update={"repairs": False}))


def test_a_tree_has_a_ledger_line_for_each_of_its_paths(tmp_path: Path) -> None:
    replies = [{"role": "assistant", "text": t, "replies": []} for t in ("x", "y")]
    row = json.dumps({"message_tree_id": "t", "prompt": {"role": "prompter", "text": "Q", "replies": replies}})
    result, folder, _ = built(
        tmp_path, stage(tmp_path, {"a.jsonl": row + "\n"}, mapping=mapping_from({"kind": "oasst", "best_only": False}))
    )
    assert [e.source for e in read_ledger(folder / "ledger.jsonl")] == ["a.jsonl line 1 path 1", "a.jsonl line 1 path 2"]
    assert result.counts == {"any": 2}


@pytest.mark.parametrize(
    ("files", "more", "said"),
    [
        ({"a.csv": ROWS}, {"strict": True}, r"a\.csv row 4.*set data.strict to false"),
        ({"a.csv": "text,label\n"}, {}, r"must hold usable rows.*a\.csv"),
        ({"a.csv": "text,label\n,x\n,y\n"}, {}, "none kept: empty text"),
        ({"a.csv": "text,label\na,x\nb,x\n"}, {}, "at least two classes, got only one class: 'x'"),
        ({"a.csv": "title,label\na,x\nb,y\n"}, {}, "column `text` not found"),
        (
            {"a.csv": ROWS},
            {"labels": ("pos", "negative"), "strict": True},
            "label 'neg' is not in the list of labels; did you mean 'negative'",
        ),
        ({"a.csv": ROWS}, {"labels": ("pos", "pos")}, "two different labels"),
        ({"a.csv": ROWS}, {"prompt": PromptTemplate(user="{txt}")}, "{txt}.*did you mean `text`"),
        (
            {"a.csv": ROWS},
            {"prompt": PROMPT.model_copy(update={"label_text": {"poss": "p"}}), "labels": ("pos", "neg")},
            "did you mean `pos`",
        ),
        ({"a.csv": "text\nx\n"}, {"mapping": mapping_from({"kind": "text"}), "prompt": PROMPT}, "prompt template goes with"),
        (
            {"a.csv": "text\nx\n"},
            {"mapping": mapping_from({"kind": "text"}), "labels": ("a", "b")},
            "classification or multi_label mapping",
        ),
        ({"a.json": '{"files": ["b.csv"]}'}, {}, "data files one by one"),
        ({"a.csv": ROWS, "b.csv": "text,label\n,x\n"}, {}, r"usable rows.*b\.csv"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(tmp_path: Path, files: dict[str, str], more: dict[str, Any], said: str) -> None:
    import re

    with pytest.raises(UserError) as err:
        built(tmp_path, stage(tmp_path, files, **more))
    assert re.search(said, str(err.value)), str(err.value)


def test_one_file_twice_is_refused(tmp_path: Path) -> None:
    ingest = stage(tmp_path, {"a.csv": ROWS})
    with pytest.raises(UserError, match="listed once"):
        built(tmp_path, ingest.model_copy(update={"files": ingest.files * 2}))


def test_the_key_is_the_bytes_and_the_meaning_not_the_path(tmp_path: Path) -> None:
    a = stage(tmp_path / "one", {"a.csv": ROWS})
    b = stage(tmp_path / "two", {"a.csv": ROWS})
    c = stage(tmp_path / "three", {"a.csv": ROWS + "x,pos\n"})
    assert a.key() == b.key()
    changed = (
        c,
        a.model_copy(update={"strict": True}),
        a.model_copy(update={"prompt": PROMPT}),
        a.model_copy(update={"labels": ("neg", "pos")}),
    )
    assert len({a.key(), *(s.key() for s in changed)}) == 5
    assert a.key() != a.model_copy(update={"mapping": mapping_from({"kind": "classification", "label": "text", "text": "label"})}).key()


def test_display_names_are_the_shortest_that_differ() -> None:
    assert display_names([Path("/d/train/a.csv"), Path("/d/test/a.csv"), Path("/d/b.csv")]) == ["train/a.csv", "test/a.csv", "b.csv"]


def test_two_builds_write_the_same_bytes(tmp_path: Path) -> None:
    ingest = stage(tmp_path, {"rows.csv": ROWS}, prompt=PROMPT)
    folders = [built(tmp_path / name, ingest)[1] for name in ("one", "two")]
    for name in ("any.jsonl", "ledger.jsonl", "findings.json"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_real_rows_are_all_accounted_for(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "preference" / "hh_rlhf_harmless_1200.jsonl.gz"
    ingest = Ingest(files=(DataFile(source=SourceFile(path=str(path))),), mapping=mapping_from({"kind": "preference"}))
    result, folder, _ = built(tmp_path, ingest)
    assert sum(result.ledger.values()) == 1200 == len(stories(read_ledger(folder / "ledger.jsonl")))
    assert result.counts["any"] == result.ledger["kept"] == len(read_records(folder / "any.jsonl")) == 1199


def entry(source: str, step: str, fate: Any) -> LedgerEntry:
    return LedgerEntry("k", "i", source, step, fate)


def test_a_story_is_its_entries_in_order(tmp_path: Path) -> None:
    one, two, both = tmp_path / "1.jsonl", tmp_path / "2.jsonl", tmp_path / "both.jsonl"
    append_ledger(one, [entry("f row 1", "ingest", "changed"), entry("f row 2", "ingest", "kept"), entry("f row 3", "ingest", "set_aside")])
    append_ledger(two, [entry("f row 1", "split", "kept"), entry("f row 2", "prepare", "dropped")])
    assert merge_ledgers(both, [one, two]) == 5
    told = stories(read_ledger(both))
    assert [e.step for e in told["f row 1"]] == ["ingest", "split"]
    assert {source: final_fate(s) for source, s in told.items()} == {"f row 1": "changed", "f row 2": "dropped", "f row 3": "set_aside"}
    assert count_fates(read_ledger(both)) == dict(zip(FATES, (0, 1, 1, 1), strict=True))
