"""Near and semantic leakage, and the test sets that the user names: found, blocked, dropped, and never made by our own division."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from one_stage import TestContext, dataset, example

from luthier.core.errors import AnswerIsNo, UserError
from luthier.core.keys import SourceFile
from luthier.core.ledger import read_ledger
from luthier.core.records import Example, Message, Source, Text, read_records
from luthier.parts.sources.mapping import mapping_from_text
from luthier.pipeline.graph import wire
from luthier.pipeline.project import load_project
from luthier.stages.data.ingest import DataFile, Ingest
from luthier.stages.data.leakage import find_leaks, find_named_leaks
from luthier.stages.data.split import Split, SplitPlan, divide, judged

ASK = "Could you tell me when the new card that I ordered last week will arrive at my home"


def words(num: int, seed: int = 1) -> list[str]:
    """Texts that nothing joins: twelve random words each."""
    rng = random.Random(seed)
    return [" ".join("".join(rng.choices("abcdefghijklmnop", k=6)) for _ in range(12)) for _ in range(num)]


def rows(texts: list[str], file: str = "rows.csv") -> list[Example]:
    return [example(t, None, f"line {i}", file=file) for i, t in enumerate(texts, 1)]


def build(stage: Split, tmp_path: Path) -> tuple[dict[str, list[Any]], TestContext, Path]:
    ctx = TestContext(Path(tempfile.mkdtemp(dir=tmp_path)))
    built = ctx.get(stage)
    return {s: read_records(built.path / n) for s, n in built.result.files.items()}, ctx, built.path


def files(tmp_path: Path, train: list[str], test: list[str]) -> Any:
    return dataset(tmp_path / "d", train=rows(train, "train.jsonl"), test=rows(test, "test.jsonl"))


def test_a_near_copy_of_a_test_row_stops_the_run_and_says_how_near(tmp_path: Path) -> None:
    given = files(tmp_path, [*words(20), ASK + " please"], [*words(5, 2), ASK])
    with pytest.raises(AnswerIsNo) as caught:
        build(Split(dataset=given, plan=SplitPlan(validation=0)), tmp_path)
    said = str(caught.value)
    assert "1 train row repeats test rows (1 near)" in said
    assert "test.jsonl line 6 (test) and train.jsonl line 21 (train): nearly the same text (Jaccard 0.92)" in said
    out, _, _ = build(Split(dataset=given, plan=SplitPlan(near=None)), tmp_path)
    assert len(out["test"]) == 6
    out, _, _ = build(Split(dataset=given, plan=SplitPlan(near=0.95)), tmp_path)
    assert len(out["test"]) == 6


def test_near_copies_are_dropped_from_training_and_told(tmp_path: Path) -> None:
    given = files(tmp_path, [*words(20), ASK + " please"], [*words(5, 2), ASK])
    out, _, path = build(Split(dataset=given, plan=SplitPlan(leakage="drop", validation=2)), tmp_path)
    gone = {e.source: e.reason for e in read_ledger(path / "ledger.jsonl") if e.fate == "dropped"}
    assert gone == {"train.jsonl line 21": "leakage: repeats test.jsonl line 6 (test, near)"}
    assert len(out["train"]) == 18
    out, ctx, _ = build(Split(dataset=given, plan=SplitPlan(leakage="warn", validation=2)), tmp_path)
    assert any("1 near" in n for n in ctx.notes)
    assert sum(map(len, out.values())) == 27


@pytest.mark.parametrize("seed", range(4))
def test_our_own_division_keeps_near_copies_on_one_side(tmp_path: Path, seed: int) -> None:
    texts = words(60)
    rng = random.Random(seed)
    texts += [f"{rng.choice(texts)} {rng.choice('xyz')}" for _ in range(60)]
    out, ctx, _ = build(Split(dataset=dataset(tmp_path / "d", any=rows(texts)), plan=SplitPlan(seed=seed)), tmp_path)
    assert ctx.notes == []
    assert sum(map(len, out.values())) == 120
    alike = judged([[r for side in out.values() for r in side]], SplitPlan(), ctx)  # type: ignore[arg-type]
    assert find_leaks(out, alike=alike) == []
    sides: dict[Any, set[str]] = {}
    for split, members in out.items():
        for row in members:
            sides.setdefault(alike[0].cluster(row), set()).add(split)
    assert all(len(splits) == 1 for splits in sides.values())
    apart = divide({"any": [r for side in out.values() for r in side]}, SplitPlan(seed=seed), {})
    assert find_leaks(apart.splits, alike=alike) != []


def test_a_shared_prompt_and_other_numbers_are_no_leak(tmp_path: Path) -> None:
    system = Message("system", "Classify the message into exactly one intent. Intents: " + ", ".join(words(3)))
    texts = [*words(30), "Please add five and 3 and tell me nothing but the sum", "Please add five and 4 and tell me nothing but the sum"]
    train = [Example((system, Message("user", t), Message("assistant", "x")), Source("a", f"line {i}")) for i, t in enumerate(texts[:-1])]
    test = [Example((system, Message("user", texts[-1]), Message("assistant", "x")), Source("b", "line 1"))]
    out, ctx, _ = build(Split(dataset=dataset(tmp_path / "d", train=train, test=test), plan=SplitPlan(validation=3)), tmp_path)
    assert ctx.notes == []
    assert len(out["train"]) == 28


def named(tmp_path: Path, lines: list[dict[str, str]], mapping: str = "prompt_completion:prompt=q,completion=a") -> Ingest:
    path = tmp_path / "benchmark.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return Ingest(files=(DataFile(source=SourceFile(path=str(path)), role="test"),), mapping=mapping_from_text(mapping))


def test_rows_of_a_named_test_set_stop_the_run_or_go(tmp_path: Path) -> None:
    texts = words(30)
    against = named(tmp_path, [{"q": t, "a": "x"} for t in (texts[3], texts[5].upper() + "!", texts[7] + " then", "nothing of the kind")])
    given = dataset(tmp_path / "d", any=rows(texts))
    with pytest.raises(AnswerIsNo, match=r"repeats? named test set rows"):
        build(Split(dataset=given, against=(against,)), tmp_path)
    out, ctx, path = build(Split(dataset=given, against=(against,), plan=SplitPlan(leakage="drop")), tmp_path)
    gone = {e.source: e.reason for e in read_ledger(path / "ledger.jsonl") if e.fate == "dropped"}
    assert {k: v.rsplit(", ", 1)[1] for k, v in gone.items()} == {
        "rows.csv line 4": "exact)",
        "rows.csv line 6": "normalised)",
        "rows.csv line 8": "near)",
    }
    assert "benchmark.jsonl line 1 (named test set" in gone["rows.csv line 4"]
    assert sum(map(len, out.values())) == 27
    assert any("3 train rows repeat named test set rows (1 exact, 1 normalised, 1 near)" in n for n in ctx.notes)


def test_a_named_test_set_is_met_whatever_role_or_frame_its_questions_have() -> None:
    texts = words(25)
    seen = [example(f"Answer briefly: {t} Thank you.", None, f"line {i}") for i, t in enumerate(texts)]
    sealed = [Text(t, Source("bench", f"line {i}")) for i, t in enumerate([texts[4], *words(24, 9)])]
    seen = [Example(r.messages, r.source, id=f"a{i}", key=f"a{i}") for i, r in enumerate(seen)]
    sealed = [Text(r.text, r.source, id=f"b{i}", key=f"b{i}") for i, r in enumerate(sealed)]
    assert find_named_leaks({"train": seen}, sealed, "prompt") == []
    alike = judged([seen, sealed], SplitPlan(), TestContext(Path(".")))  # type: ignore[arg-type]
    (leak,) = find_named_leaks({"train": seen, "test": seen}, sealed, "prompt", alike)
    assert (leak.kind, leak.likeness, str(leak.seen.source), str(leak.sealed.source)) == ("near", 1.0, "rows.csv line 4", "bench line 0")
    plain = [Text(seen[3].messages[0].content, Source("bench", "1"), id="c", key="c")]
    assert [x.kind for x in find_named_leaks({"train": seen}, plain, "prompt")] == ["exact"]


def test_the_project_names_them_and_their_bytes_are_in_the_key(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(f"{t},{'ab'[i % 2]}\n" for i, t in enumerate(words(20))))
    (tmp_path / "bench.csv").write_text("question\nwhat is it\n")
    body = (
        "name: t\nbase: smollm2-135m-instruct\nobjective: {task: classify, goal: g}\n"
        "data:\n  files: rows.csv\n  mapping: {kind: classification, text: text, label: label}\n"
    )
    file = tmp_path / "luthier.yaml"
    keys = []
    for extra in ("", "  against: [{path: bench.csv, mapping: {kind: text, text: question}}]\n"):
        file.write_text(body + extra)
        keys.append(wire(load_project(file), tmp_path).split.key())
    (tmp_path / "bench.csv").write_text("question\nwhat is that\n")
    keys.append(wire(load_project(file), tmp_path).split.key())
    assert len(set(keys)) == 3
    file.write_text(body + "  against: [gone.csv]\n")
    with pytest.raises(UserError, match=r"test set must exist.*data\.against\.0\.path"):
        load_project(file)


def test_semantic_copies_are_found_when_asked(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    given = files(tmp_path, [*words(8), "Is it possible to change my PIN?"], [*words(3, 2), "Can I change my PIN?"])
    out, _, _ = build(Split(dataset=given, plan=SplitPlan(validation=2)), tmp_path)
    assert len(out["test"]) == 4
    with pytest.raises(AnswerIsNo, match=r"1 semantic.*\n.*much the same in other words \(cosine 0\.9"):
        build(Split(dataset=given, plan=SplitPlan(semantic=0.95, validation=2)), tmp_path)
