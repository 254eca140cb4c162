"""Split: sizes, strata, groups, duplicates, frozen rows, the user's own files, leakage policies and the ledger."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from one_stage import Given, TestContext, dataset, example

from luthier.core.config import parse_config
from luthier.core.errors import AnswerIsNo, UserError
from luthier.core.ledger import final_fate, read_ledger, stories
from luthier.core.records import Example, read_records, with_ids
from luthier.stages.data.allocate import Unit, make_units, shares, take
from luthier.stages.data.leakage import find_leaks
from luthier.stages.data.split import Split, SplitPlan, divide

LABELS = ("card", "rate", "refund")


def many(n: int, labels: tuple[str, ...] = LABELS, start: int = 0) -> list[Example]:
    return [example(f"question number {i}", labels[i % len(labels)], f"row {i}") for i in range(start, start + n)]


def build(stage: Split, root: Path) -> tuple[dict[str, list[Any]], TestContext, Path]:
    ctx = TestContext(root)
    built = ctx.get(stage)
    rows = {split: read_records(built.path / name) for split, name in built.result.files.items()}
    assert {split: len(r) for split, r in rows.items()} == built.result.counts
    return rows, ctx, built.path


def ids(rows: dict[str, list[Any]]) -> dict[str, set[str]]:
    return {split: {r.id for r in members} for split, members in rows.items()}


def test_sizes_as_numbers_and_shares(tmp_path: Path) -> None:
    rows, _, _ = build(Split(dataset=dataset(tmp_path / "d", any=many(300)), plan=SplitPlan(validation=30, test=0.2)), tmp_path)
    assert {s: len(r) for s, r in rows.items()} == {"train": 210, "validation": 30, "test": 60}
    assert Counter(r.label for r in rows["test"]) == dict.fromkeys(LABELS, 20)
    assert Counter(r.label for r in rows["validation"]) == dict.fromkeys(LABELS, 10)
    assert find_leaks(rows) == []


def test_the_budget_of_the_quickstart(tmp_path: Path) -> None:
    labels = tuple(f"intent_{i}" for i in range(12))
    plan = SplitPlan(train=600, validation=60, test=240)
    rows, _, path = build(Split(dataset=dataset(tmp_path / "d", any=many(1500, labels)), plan=plan), tmp_path)
    assert {s: len(r) for s, r in rows.items()} == {"train": 600, "validation": 60, "test": 240}
    for split, n in (("train", 50), ("validation", 5), ("test", 20)):
        assert set(Counter(r.label for r in rows[split]).values()) == {n}
    fates = [final_fate(s) for s in stories(read_ledger(path / "ledger.jsonl")).values()]
    assert Counter(fates) == {"kept": 900, "dropped": 600}
    last = [s[-1] for s in stories(read_ledger(path / "ledger.jsonl")).values() if s[-1].fate == "dropped"]
    assert {e.reason for e in last} == {"beyond the cap of 600 train rows"}


def test_the_order_of_the_file_changes_nothing(tmp_path: Path) -> None:
    rows = many(120)
    shuffled = rows.copy()
    random.Random(1).shuffle(shuffled)
    one, _, p1 = build(Split(dataset=dataset(tmp_path / "a", any=rows)), tmp_path / "x")
    two, _, p2 = build(Split(dataset=dataset(tmp_path / "b", any=shuffled)), tmp_path / "y")
    assert ids(one) == ids(two)
    for split in one:
        assert (p1 / f"{split}.jsonl").read_bytes() == (p2 / f"{split}.jsonl").read_bytes()


def test_another_seed_is_another_split(tmp_path: Path) -> None:
    given = dataset(tmp_path / "a", any=many(120))
    one, _, _ = build(Split(dataset=given), tmp_path / "x")
    two, _, _ = build(Split(dataset=given, plan=SplitPlan(seed=14)), tmp_path / "y")
    assert ids(one)["test"] != ids(two)["test"]


def test_rows_come_out_mixed_and_not_sorted_by_class(tmp_path: Path) -> None:
    rows = sorted(many(300), key=lambda r: r.label or "")
    out, _, _ = build(Split(dataset=dataset(tmp_path / "d", any=rows)), tmp_path)
    assert len({r.label for r in out["train"][:32]}) == 3


def test_copies_land_on_one_side(tmp_path: Path) -> None:
    rows = [example(t.format(i), LABELS[i % 3], f"row {i} {t}") for i in range(60) for t in ("Question {}?", "question {}", "QUESTION {}!")]
    out, _, _ = build(Split(dataset=dataset(tmp_path / "d", any=rows)), tmp_path)
    assert find_leaks(out) == []
    assert sum(map(len, out.values())) == 180
    assert len(out["test"]) == pytest.approx(36, abs=3)


def test_exact_copies_of_a_row_are_all_kept_on_one_side(tmp_path: Path) -> None:
    rows = [r for r in many(40) for _ in range(3)]
    out, _, _ = build(Split(dataset=dataset(tmp_path / "d", any=rows)), tmp_path)
    assert sum(map(len, out.values())) == 120
    sides = ids(out)
    assert not sides["train"] & sides["test"]
    assert not sides["train"] & sides["validation"]


def test_groups_land_on_one_side(tmp_path: Path) -> None:
    rows = [example(f"q{i}", LABELS[i % 3], f"row {i}", group=f"user {i // 7}") for i in range(210)]
    out, _, _ = build(Split(dataset=dataset(tmp_path / "d", any=rows)), tmp_path)
    groups = {split: {r.group for r in members} for split, members in out.items()}
    assert not groups["train"] & groups["test"]
    assert not groups["validation"] & groups["test"]
    assert len(out["test"]) == pytest.approx(42, abs=7)
    loose, _, _ = build(Split(dataset=dataset(tmp_path / "e", any=rows), plan=SplitPlan(by_group=False)), tmp_path / "y")
    assert len(loose["test"]) == 42


def test_the_users_own_splits_keep_their_role(tmp_path: Path) -> None:
    train, test = many(100), many(40, start=1000)
    out, _, _ = build(Split(dataset=dataset(tmp_path / "d", train=train, test=test), plan=SplitPlan(validation=20)), tmp_path)
    named = {r.id for r in with_ids(test)}
    assert ids(out)["test"] == named
    assert len(out["validation"]) == 20
    assert len(out["train"]) == 80


def test_with_both_given_nothing_is_taken(tmp_path: Path) -> None:
    roles = {"train": many(50), "validation": many(10, start=100), "test": many(10, start=200)}
    out, _, _ = build(Split(dataset=dataset(tmp_path / "d", **roles)), tmp_path)
    assert {s: len(r) for s, r in out.items()} == {"train": 50, "validation": 10, "test": 10}


def test_missing_splits_are_taken_from_undeclared_rows_before_training_rows(tmp_path: Path) -> None:
    roles = {"train": many(50), "any": many(60, start=100)}
    out, _, _ = build(Split(dataset=dataset(tmp_path / "d", **roles), plan=SplitPlan(validation=10, test=20)), tmp_path)
    declared = {r.id for r in with_ids(roles["train"])}
    assert declared <= ids(out)["train"]
    assert len(out["train"]) == 80


def test_numbers_and_caps_hold_for_given_files_too(tmp_path: Path) -> None:
    roles = {"train": many(300), "test": many(90, start=1000)}
    plan = SplitPlan(train=150, validation=30, test=60, max_rows={"validation": 15})
    out, _, path = build(Split(dataset=dataset(tmp_path / "d", **roles), plan=plan), tmp_path)
    assert {s: len(r) for s, r in out.items()} == {"train": 150, "validation": 15, "test": 60}
    assert Counter(r.label for r in out["train"]) == dict.fromkeys(LABELS, 50)
    reasons = Counter(e.reason for e in read_ledger(path / "ledger.jsonl") if e.fate == "dropped")
    assert reasons == {"beyond the cap of 150 train rows": 135, "beyond the cap of 60 test rows": 30}


def test_fewer_rows_than_the_number_asked_for_is_said(tmp_path: Path) -> None:
    plan = SplitPlan(train=500, validation=10, test=20)
    rows, ctx, path = build(Split(dataset=dataset(tmp_path / "d", any=many(90)), plan=plan), tmp_path)
    said = "`split.train` asks for 500 rows and gets 60: there are no more to give"
    assert len(rows["train"]) == 60
    assert said in json.loads((path / "split.json").read_text())["notes"]
    assert said in ctx.notes


def test_no_word_about_numbers_that_are_met(tmp_path: Path) -> None:
    plan = SplitPlan(train=40, validation=10, test=20, max_rows={"train": 30})
    _, _, path = build(Split(dataset=dataset(tmp_path / "d", any=many(90)), plan=plan), tmp_path)
    assert json.loads((path / "split.json").read_text())["notes"] == []


def test_a_share_of_training_rows(tmp_path: Path) -> None:
    out, _, _ = build(Split(dataset=dataset(tmp_path / "d", any=many(100)), plan=SplitPlan(train=0.5)), tmp_path)
    assert {s: len(r) for s, r in out.items()} == {"train": 50, "validation": 10, "test": 20}


def test_a_larger_cap_contains_a_smaller_one(tmp_path: Path) -> None:
    given = dataset(tmp_path / "d", any=many(300))
    small, _, _ = build(Split(dataset=given, plan=SplitPlan(train=60)), tmp_path / "x")
    large, _, _ = build(Split(dataset=given, plan=SplitPlan(train=120)), tmp_path / "y")
    assert ids(small)["train"] < ids(large)["train"]
    assert ids(small)["test"] == ids(large)["test"]


def test_no_test_rows_when_none_are_wanted(tmp_path: Path) -> None:
    out, _, _ = build(Split(dataset=dataset(tmp_path / "d", any=many(20)), plan=SplitPlan(test=0, validation=0)), tmp_path)
    assert {s: len(r) for s, r in out.items()} == {"train": 20, "validation": 0, "test": 0}


def test_frozen_rows_keep_their_place_when_data_grow(tmp_path: Path) -> None:
    first = Split(dataset=dataset(tmp_path / "a", any=many(100)), plan=SplitPlan(validation=10, test=20))
    old, _, _ = build(first, tmp_path / "x")
    grown = Split(dataset=dataset(tmp_path / "b", any=many(250)), plan=SplitPlan(validation=25, test=50), frozen=first)
    new, _, _ = build(grown, tmp_path / "y")
    for split in ("train", "validation", "test"):
        assert ids(old)[split] <= ids(new)[split]
    assert {s: len(r) for s, r in new.items()} == {"train": 175, "validation": 25, "test": 50}
    same = Split(dataset=dataset(tmp_path / "c", any=many(250)), plan=SplitPlan(validation=10, test=20), frozen=first)
    kept, _, _ = build(same, tmp_path / "z")
    assert ids(kept)["test"] == ids(old)["test"]


def test_a_new_copy_of_a_frozen_row_follows_it(tmp_path: Path) -> None:
    first = Split(dataset=dataset(tmp_path / "a", any=many(60)))
    old, _, _ = build(first, tmp_path / "x")
    asked = old["test"][0].messages[0].content.upper() + "!!"
    again = Split(dataset=dataset(tmp_path / "b", any=[*many(60), example(asked, "card", "row 999")]), frozen=first)
    new, _, _ = build(again, tmp_path / "y")
    assert asked in {r.messages[0].content for r in new["test"]}
    assert find_leaks(new) == []


def leaking(tmp_path: Path) -> Given:
    train = [example("A warm film.", "pos", "line 1", file="train.jsonl"), example("Two hours lost.", "neg", "line 2", file="train.jsonl")]
    train += [example(f"review {i}", ("pos", "neg")[i % 2], f"line {i + 3}", file="train.jsonl") for i in range(20)]
    test = [example("A warm film.", "pos", "line 1", file="test.jsonl"), example("two hours LOST", "neg", "line 2", file="test.jsonl")]
    test += [example("unseen", "pos", "line 3", file="test.jsonl")]
    return dataset(tmp_path / "d", train=train, test=test)


def test_a_test_file_that_repeats_training_rows_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(AnswerIsNo) as caught:
        build(Split(dataset=leaking(tmp_path)), tmp_path)
    text = str(caught.value)
    assert caught.value.exit_code == 1
    for part in ("1 exact", "1 normalised", "test.jsonl line 1", "train.jsonl line 2", "split.leakage: drop"):
        assert part in text


def test_leaking_rows_can_be_dropped_from_training(tmp_path: Path) -> None:
    out, _, path = build(Split(dataset=leaking(tmp_path), plan=SplitPlan(leakage="drop", validation=4)), tmp_path)
    assert find_leaks(out) == []
    assert len(out["test"]) == 3
    gone = {e.source: e.reason for e in read_ledger(path / "ledger.jsonl") if e.fate == "dropped"}
    assert set(gone) == {"train.jsonl line 1", "train.jsonl line 2"}
    assert "repeats test.jsonl line 2 (test, normalised)" in gone["train.jsonl line 2"]
    assert len(json.loads((path / "split.json").read_text())["leaks"]) == 2
    assert len(out["validation"]) == 4


def test_copies_go_before_rows_are_counted_out(tmp_path: Path) -> None:
    test = many(30)
    given = dataset(tmp_path / "d", train=[*test, *many(100, start=200)], test=test)
    out, ctx, _ = build(Split(dataset=given, plan=SplitPlan(leakage="drop", train=60, validation=30)), tmp_path)
    assert {s: len(r) for s, r in out.items()} == {"train": 60, "validation": 30, "test": 30}
    assert any("leakage, copies taken out" in n and "30 train rows repeat test rows" in n for n in ctx.notes)


def test_leaking_rows_can_be_kept_with_a_warning(tmp_path: Path) -> None:
    out, ctx, _ = build(Split(dataset=leaking(tmp_path), plan=SplitPlan(leakage="warn", validation=4)), tmp_path)
    assert sum(map(len, out.values())) == 25
    assert any("leakage" in n and "test.jsonl line 1" in n for n in ctx.notes)


def test_dropping_everything_is_refused(tmp_path: Path) -> None:
    rows = many(6)
    given = dataset(tmp_path / "d", train=rows, validation=many(2, start=50), test=rows)
    with pytest.raises(UserError, match="rows to train on"):
        build(Split(dataset=given, plan=SplitPlan(leakage="drop")), tmp_path)


def test_rare_classes_are_told_in_words(tmp_path: Path) -> None:
    rows = [*many(60), example("lonely", "rare", "row 900"), example("pair one", "two", "row 901"), example("pair two", "two", "row 902")]
    out, ctx, path = build(Split(dataset=dataset(tmp_path / "d", any=rows)), tmp_path)
    assert "rare" in {r.label for r in out["train"]}
    told = " ".join(ctx.notes)
    assert "2 classes have no validation rows: `rare` (1 row in all), `two` (2 rows in all)" in told
    body = json.loads((path / "split.json").read_text())
    assert body["notes"] == ctx.notes
    assert body["classes"]["train"]["rare"] == 1
    assert body["plan"]["seed"] == 13


def test_a_class_that_cannot_be_learnt_is_told(tmp_path: Path) -> None:
    given = dataset(tmp_path / "d", train=many(20), validation=many(6, start=50), test=[*many(6, start=70), example("odd", "new", "row 5")])
    _, ctx, _ = build(Split(dataset=given), tmp_path)
    assert any("1 class has no train rows: it cannot be learnt: `new` (1 row in all)" in n for n in ctx.notes)


def test_rows_without_labels_split_too(tmp_path: Path) -> None:
    out, ctx, _ = build(Split(dataset=dataset(tmp_path / "d", any=[example(f"q{i}", None, f"row {i}") for i in range(50)])), tmp_path)
    assert {s: len(r) for s, r in out.items()} == {"train": 35, "validation": 5, "test": 10}
    assert ctx.notes == []


def test_every_row_is_in_the_ledger_once(tmp_path: Path) -> None:
    out, _, path = build(Split(dataset=dataset(tmp_path / "d", any=many(97)), plan=SplitPlan(train=40)), tmp_path)
    told = stories(read_ledger(path / "ledger.jsonl"))
    assert len(told) == 97
    assert all([e.step for e in story] == ["ingest", "split"] for story in told.values())
    kept = {e.key: e.reason for story in told.values() for e in story if e.step == "split" and e.fate == "kept"}
    assert kept == {r.key: split for split, members in out.items() for r in members}


@pytest.mark.parametrize(
    ("rows", "plan", "word"),
    [
        (2, SplitPlan(), "more rows than the 1 test \\+ 1 validation"),
        (100, SplitPlan(test=100), "more rows than"),
        (100, SplitPlan(test=60, validation=40), "lower the sizes"),
    ],
)
def test_too_few_rows_are_the_users_error(tmp_path: Path, rows: int, plan: SplitPlan, word: str) -> None:
    with pytest.raises(UserError, match=word):
        build(Split(dataset=dataset(tmp_path / "d", any=many(rows)), plan=plan), tmp_path)


def test_one_prompt_for_all_rows_says_what_to_set(tmp_path: Path) -> None:
    rows = [example("Tell me a joke", f"joke {i}", f"row {i}") for i in range(30)]
    with pytest.raises(UserError, match=r"30 rows in 1 unit.*split\.same: row"):
        build(Split(dataset=dataset(tmp_path / "d", any=rows)), tmp_path)
    out, _, _ = build(Split(dataset=dataset(tmp_path / "e", any=rows), plan=SplitPlan(same="row", stratify="none")), tmp_path)
    assert {s: len(r) for s, r in out.items()} == {"train": 21, "validation": 3, "test": 6}


def test_no_training_rows_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="rows to train on"):
        build(Split(dataset=dataset(tmp_path / "d", test=many(5))), tmp_path)


@pytest.mark.parametrize(
    ("plan", "word"),
    [
        ({"test": 1.5}, "share between 0 and 1"),
        ({"test": -3}, "whole number"),
        ({"test": True}, "share"),
        ({"max_rows": {"train": 0}}, "at least 1"),
        ({"max_rows": {"tset": 5}}, "max_rows"),
        ({"leakage": "blok"}, "did you mean `block`"),
        ({"tets": 0.2}, "did you mean `test`"),
    ],
)
def test_a_wrong_plan_is_the_users_error(plan: dict[str, Any], word: str) -> None:
    with pytest.raises(UserError, match=word):
        parse_config(SplitPlan, plan)


def test_the_seed_and_sizes_are_in_the_key(tmp_path: Path) -> None:
    given = dataset(tmp_path / "d", any=many(10))
    keys = {Split(dataset=given, plan=p).key() for p in (SplitPlan(), SplitPlan(seed=1), SplitPlan(test=0.3), SplitPlan(leakage="drop"))}
    assert len(keys) == 4


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.dictionaries(st.sampled_from("abcde"), st.integers(0, 40), min_size=1),
    target=st.integers(0, 80),
)
def test_shares_add_up_and_are_within_one_of_proportional(sizes: dict[str, int], target: int) -> None:
    got = shares(sizes, target)
    total = sum(sizes.values())
    assert sum(got.values()) == min(target, total)
    for name, n in got.items():
        assert 0 <= n <= sizes[name]
        assert total == 0 or abs(n - sizes[name] * min(target, total) / total) < 1


@settings(max_examples=60, deadline=None)
@given(groups=st.lists(st.integers(0, 12), min_size=6, max_size=60), test=st.integers(1, 3), seed=st.integers(0, 5))
def test_any_grouping_is_kept_together_and_no_row_is_lost(groups: list[int], test: int, seed: int) -> None:
    rows = list(with_ids([example(f"q{i}", LABELS[i % 3], f"row {i}", group=f"g{g}") for i, g in enumerate(groups)]))
    plan = SplitPlan(validation=1, test=test, seed=seed)
    try:
        out = divide({"any": rows}, plan, {})
    except UserError:
        assert len(set(groups)) < 3
        return
    assert out.dropped == [] or all("cap" in reason for _, reason in out.dropped)
    assert sorted(r.key for members in out.splits.values() for r in members) == sorted(
        r.key for r in rows if r.key not in {d.key for d, _ in out.dropped}
    )
    assert find_leaks(out.splits) == []
    assert all(out.splits.values())


def test_take_is_exact_for_single_rows_and_keeps_a_class_alive() -> None:
    units = [Unit(f"{i:02d}", (i,), "big" if i < 18 else "small") for i in range(20)]
    taken, left = take(units, 10, leave=2)
    assert sum(u.size for u in taken) == 10
    assert {u.stratum for u in left} == {"big", "small"}
    assert sorted(taken + left, key=lambda u: u.rank) == units


def test_units_join_through_chains() -> None:
    rows = list(
        with_ids([example("a", group="g1"), example("b", group="g1"), example("B!", group="g2"), example("c", group="g2"), example("d")])
    )
    assert sorted(len(u.rows) for u in make_units(rows, "prompt", True, False, 0)) == [1, 4]
