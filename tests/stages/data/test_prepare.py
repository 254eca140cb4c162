"""Prepare: what is written is what the renderer says, long rows follow the declared policy, and every row is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from one_stage import GivenBase, TestContext, dataset, example

from luthier.core.artifacts import BaseModel, Prepared
from luthier.core.config import parse_config
from luthier.core.errors import CorruptArtifact, UserError
from luthier.core.events import Progress
from luthier.core.ledger import read_ledger
from luthier.core.records import Example, Message, Source, with_ids
from luthier.core.stage import Built
from luthier.engine.text.prepared import read_prepared, write_prepared
from luthier.engine.text.renderer import Renderer, RenderPolicy
from luthier.stages.data.lengths import describe_lengths, histogram, padding_efficiency
from luthier.stages.data.prepare import Prepare, PreparePlan
from luthier.stages.data.show import coloured, lengths_table, show, visible
from luthier.stages.data.too_long import TooLong, fit, sequence_of, without_first_turn

CONTEXT = 512


def base(folder: Path) -> GivenBase:
    artifact = BaseModel(
        name="toy", folder=str(folder), weights_sha256="0" * 64, architecture="LlamaForCausalLM", num_parameters=1,
        context_length=CONTEXT, licence="apache-2.0", source="test",
    )  # fmt: skip
    return GivenBase(folder=str(folder), artifact=artifact)


def rows(n: int = 12) -> list[Example]:
    return [example(f"Where is my card {i}?" + " please" * (i % 4), ("card_lost", "top_up")[i % 2], f"row {i}") for i in range(n)]


def build(stage: Prepare, root: Path) -> tuple[Built[Prepared], TestContext]:
    ctx = TestContext(root)
    return ctx.get(stage), ctx


def test_what_is_stored_is_what_the_renderer_gives(tmp_path: Path, toy_base: Path) -> None:
    train, validation = rows(), [example("Is it lost?", "card_lost", "row 90")]
    built, ctx = build(Prepare(base=base(toy_base), dataset=dataset(tmp_path / "d", train=train, validation=validation)), tmp_path)
    renderer = Renderer.from_model(toy_base)
    stored = read_prepared(built.path, "train")
    assert stored.keys == tuple(r.key for r in with_ids(train))
    for row, sequence in zip(train, stored.sequences, strict=True):
        want = renderer.render(row.messages)
        assert sequence.tokens.tolist() == want.tokens.tolist()
        assert sequence.weights.tolist() == want.weights.tolist()
    assert (stored.sequences[0].tokens.dtype, stored.sequences[0].weights.dtype) == (np.int32, np.float32)
    result = built.result
    assert result.counts == {"train": 12, "validation": 1}
    assert result.tokens["train"] == sum(len(s.tokens) for s in stored.sequences)
    assert result.trained_tokens["train"] == sum(int((s.weights != 0).sum()) for s in stored.sequences)
    assert result.max_length == CONTEXT
    assert result.labels == ("card_lost", "top_up")
    assert Renderer.load(built.path / "renderer").hash == result.renderer_hash == renderer.hash
    done = [(e.done, e.total) for e in ctx.events if isinstance(e, Progress)]
    assert (12, 12) in done


def test_test_rows_are_never_prepared(tmp_path: Path, toy_base: Path) -> None:
    given = dataset(tmp_path / "d", train=rows(4), test=[example("sealed words", "top_up", "row 99")])
    built, _ = build(Prepare(base=base(toy_base), dataset=given), tmp_path)
    assert set(built.result.counts) == {"train"}
    assert not (built.path / "test.safetensors").exists()
    with pytest.raises(UserError, match="must have been prepared"):
        read_prepared(built.path, "test")


def test_the_same_rows_give_the_same_bytes(tmp_path: Path, toy_base: Path) -> None:
    given = dataset(tmp_path / "d", train=rows())
    one, _ = build(Prepare(base=base(toy_base), dataset=given), tmp_path / "x")
    two, _ = build(Prepare(base=base(toy_base), dataset=given), tmp_path / "y")
    for path in (p for p in one.path.rglob("*") if p.is_file()):
        assert path.read_bytes() == (two.path / path.relative_to(one.path)).read_bytes(), path.name


def test_only_the_last_answer_can_be_trained(tmp_path: Path, toy_base: Path) -> None:
    talk = [Message("user", "one"), Message("assistant", "first"), Message("user", "two"), Message("assistant", "second")]
    given = dataset(tmp_path / "d", train=[Example(tuple(talk), Source("f", "row 1"))])
    every, _ = build(Prepare(base=base(toy_base), dataset=given), tmp_path / "x")
    last, _ = build(Prepare(base=base(toy_base), dataset=given, plan=PreparePlan(train_on="last")), tmp_path / "y")
    assert every.result.trained_tokens["train"] > last.result.trained_tokens["train"] > 0
    assert every.result.renderer_hash != last.result.renderer_hash


def test_a_rows_weight_scales_its_targets(tmp_path: Path, toy_base: Path) -> None:
    from dataclasses import replace

    plain = example("How do I top up?", "top_up", "row 1")
    given = dataset(
        tmp_path / "d", train=[plain, replace(plain, weight=0.5), replace(plain, weight=0.0, source=Source("rows.csv", "row 3"))]
    )
    built, _ = build(Prepare(base=base(toy_base), dataset=given), tmp_path)
    one, half = read_prepared(built.path, "train").sequences
    assert (half.weights == 0.5 * one.weights).all()
    gone = [e for e in read_ledger(built.path / "ledger.jsonl") if e.fate == "dropped"]
    assert [(e.source, e.step) for e in gone] == [("rows.csv row 3", "prepare")]
    assert "weight is 0" in gone[0].reason


def long_row() -> Example:
    talk = (
        Message("system", "Answer with one label."),
        Message("user", "earlier question " * 6),
        Message("assistant", "earlier answer"),
        Message("user", "the start is not needed " * 8 + "where is my card?"),
        Message("assistant", "card_lost"),
    )
    return Example(talk, Source("rows.csv", "row 77"))


def test_a_row_that_is_too_long_is_an_error_until_declared(tmp_path: Path, toy_base: Path) -> None:
    given = dataset(tmp_path / "d", train=[*rows(4), long_row()])
    with pytest.raises(UserError, match=r"at most 100 tokens.*rows\.csv row 77.*too_long: drop") as caught:
        build(Prepare(base=base(toy_base), dataset=given, plan=PreparePlan(max_length=100)), tmp_path)
    assert "1 longer row:" in str(caught.value)


@pytest.mark.parametrize("policy", ["drop", "cut_start", "cut_end", "split"])
def test_each_policy_keeps_to_the_limit_and_tells_the_ledger(tmp_path: Path, toy_base: Path, policy: TooLong) -> None:
    given = dataset(tmp_path / "d", train=[*rows(4), long_row()])
    built, ctx = build(Prepare(base=base(toy_base), dataset=given, plan=PreparePlan(max_length=180, too_long=policy)), tmp_path)
    stored = read_prepared(built.path, "train")
    assert all(len(s.tokens) <= 180 for s in stored.sequences)
    assert all(s.weights.any() for s in stored.sequences)
    told = [e for e in read_ledger(built.path / "ledger.jsonl") if e.step == "prepare"]
    assert [e.source for e in told] == ["rows.csv row 77"]
    assert told[0].fate == ("dropped" if policy == "drop" else "changed")
    body = json.loads((built.path / "lengths.json").read_text())
    assert (body["num_cut"], body["num_dropped"]) == ((0, 1) if policy == "drop" else (1, 0))
    assert body["policy"] == policy
    assert len(ctx.notes) == 1


def _whole(renderer: Renderer) -> tuple[Example, Any]:
    row = long_row()
    return row, sequence_of(row, renderer)


def test_cutting_the_start_keeps_the_instruction_the_end_of_the_question_and_the_answer(toy_base: Path) -> None:
    renderer = Renderer.from_model(toy_base)
    row, whole = _whole(renderer)
    for limit in (70, 90, 120, 180):
        fitted = fit(row, whole, limit, "cut_start", renderer)
        (cut,) = fitted.sequences
        text = renderer.decode(cut.tokens)
        assert len(cut.tokens) <= limit
        assert "Answer with one label." in text
        assert "my card?" in text
        answer = renderer.completion("card_lost")
        assert cut.tokens[cut.weights != 0].tolist() == answer.tolist()
        assert "1 earlier messages" not in fitted.reason
        assert ("2 earlier messages" in fitted.reason) == ("earlier" not in text)
        longest = fit(row, whole, limit + 1, "cut_start", renderer).sequences[0]
        assert len(longest.tokens) >= len(cut.tokens) - 1


def test_cutting_the_start_gives_up_in_words_when_the_answer_alone_is_too_long(toy_base: Path) -> None:
    renderer = Renderer.from_model(toy_base)
    row, whole = _whole(renderer)
    fitted = fit(row, whole, 20, "cut_start", renderer)
    assert fitted.sequences == ()
    assert "instruction and answer alone are too long" in fitted.reason


def test_cutting_the_end_drops_a_row_without_a_target_left(toy_base: Path) -> None:
    renderer = Renderer.from_model(toy_base)
    row, whole = _whole(renderer)
    last = sequence_of(row, Renderer.from_model(toy_base, RenderPolicy(train_on="last")))
    assert fit(row, last, 60, "cut_end", renderer).sequences == ()
    (cut,) = fit(row, whole, len(whole.tokens) - 1, "cut_end", renderer).sequences
    assert cut.tokens.tolist() == whole.tokens[:-1].tolist()


@pytest.mark.parametrize("limit", [8, 33, 100])
def test_splitting_trains_every_target_exactly_once(toy_base: Path, limit: int) -> None:
    renderer = Renderer.from_model(toy_base)
    row, whole = _whole(renderer)
    pieces = fit(row, whole, limit, "split", renderer).sequences
    trained = [int(t) for s in pieces for t, w in zip(s.tokens, s.weights, strict=True) if w]
    assert trained == whole.tokens[whole.weights != 0].tolist()
    assert all(s.weights[0] == 0 for s in pieces)
    assert sum(float(s.weights.sum()) for s in pieces) == float(whole.weights.sum())


def test_the_earliest_exchange_goes_and_the_instruction_stays() -> None:
    shorter = without_first_turn(long_row().messages)
    assert shorter is not None
    assert [m.role for m in shorter] == ["system", "user", "assistant"]
    assert without_first_turn(shorter) is None


def test_a_row_that_cannot_be_rendered_names_its_place(tmp_path: Path, toy_base: Path) -> None:
    silent = Example((Message("user", "q"), Message("assistant", "a", weight=0.0)), Source("rows.csv", "row 5"))
    with pytest.raises(UserError, match=r"trained token.*rows\.csv row 5"):
        build(Prepare(base=base(toy_base), dataset=dataset(tmp_path / "d", train=[silent])), tmp_path)


def test_bad_plans_are_the_users_error(tmp_path: Path, toy_base: Path) -> None:
    given = dataset(tmp_path / "d", train=rows(3))
    with pytest.raises(UserError, match="context of 512"):
        build(Prepare(base=base(toy_base), dataset=given, plan=PreparePlan(max_length=1000)), tmp_path / "x")
    with pytest.raises(UserError, match="at least one training row must be left"):
        build(Prepare(base=base(toy_base), dataset=given, plan=PreparePlan(max_length=8, too_long="drop")), tmp_path / "y")
    with pytest.raises(UserError, match="did you mean `cut_start`"):
        parse_config(PreparePlan, {"too_long": "cutstart"})
    with pytest.raises(UserError, match="must have train rows"):
        build(Prepare(base=base(toy_base), dataset=dataset(tmp_path / "e", validation=rows(2))), tmp_path / "z")


def test_damaged_files_are_found(tmp_path: Path, toy_base: Path) -> None:
    built, _ = build(Prepare(base=base(toy_base), dataset=dataset(tmp_path / "d", train=rows(3))), tmp_path)
    keys = built.path / "train.keys.json"
    keys.write_text(json.dumps(json.loads(keys.read_text())[:-1]))
    with pytest.raises(CorruptArtifact, match="do not fit together"):
        read_prepared(built.path, "train")
    (built.path / "train.safetensors").write_bytes(b"nonsense")
    with pytest.raises(CorruptArtifact, match="cannot be read"):
        read_prepared(built.path, "train")


def test_an_empty_split_round_trips(tmp_path: Path) -> None:
    write_prepared(tmp_path, "validation", [])
    assert read_prepared(tmp_path, "validation").sequences == ()


def test_the_length_report(tmp_path: Path, toy_base: Path) -> None:
    built, _ = build(Prepare(base=base(toy_base), dataset=dataset(tmp_path / "d", train=rows(40))), tmp_path)
    body = json.loads((built.path / "lengths.json").read_text())
    lengths = sorted(len(s.tokens) for s in read_prepared(built.path, "train").sequences)
    assert sum(b["num_rows"] for b in body["histogram"]) == 40
    assert body["percentiles"]["50"] in lengths
    assert body["percentiles"]["100"] == lengths[-1]
    assert body["recommended_max_length"] % 16 == 0
    assert body["recommended_max_length"] >= lengths[-1]
    assert body["trained_share"] == pytest.approx(built.result.trained_tokens["train"] / built.result.tokens["train"], abs=1e-6)
    assert body["splits"]["train"]["num_rows"] == 40
    lines = dict(lengths_table(body))
    assert lines["rows"] == "40"
    assert "policy" not in lines


def test_histogram_and_padding_by_hand() -> None:
    assert histogram([3, 3, 4, 9]) == [{"low": low, "high": low + 1, "num_rows": {3: 2, 4: 1, 9: 1}.get(low, 0)} for low in range(3, 10)]
    wide = histogram(list(range(1000)))
    assert len(wide) <= 24
    assert sum(b["num_rows"] for b in wide) == 1000
    assert all(b["num_rows"] == b["high"] - b["low"] for b in wide[:-1])
    assert padding_efficiency([10, 10, 10, 10], 2) == 1.0
    assert padding_efficiency([10, 30], 2) == pytest.approx(40 / 60)
    assert describe_lengths([], [], 512)["num_rows"] == 0
    assert lengths_table(describe_lengths([], [], 512)) == [("rows", "0")]


def test_rows_are_shown_with_what_is_trained(tmp_path: Path, toy_base: Path) -> None:
    given = dataset(tmp_path / "d", train=[*rows(2), long_row()], test=rows(1))
    built, ctx = build(Prepare(base=base(toy_base), dataset=given, plan=PreparePlan(max_length=120, too_long="cut_start")), tmp_path)
    shown = show(built, ctx.get(given), "train", 3)
    first = shown.rows[0]
    assert "".join(text for text, trained in first.pieces if trained) == "card_lost<|im_end|>"
    assert first.num_trained == int((read_prepared(built.path, "train").sequences[0].weights != 0).sum())
    assert "[[card_lost<|im_end|>]]" in coloured(first, plain=True).plain
    green = coloured(first)
    assert "[[" not in green.plain
    assert [green.plain[s.start : s.end] for s in green.spans if "green" in str(s.style)] == ["card_lost<|im_end|>"]
    assert "trained as" in shown.rows[2].note
    assert json.loads(json.dumps(first.to_json()))["pieces"][-2]["trained"] is True
    with pytest.raises(UserError, match="sealed"):
        show(built, ctx.get(given), "test", 1)


def test_data_cannot_steer_a_terminal() -> None:
    assert visible("a\x1b[31mred\x07\n\tok\x9b\u202e") == "a␛[31mred␇\n\tok\ufffd\ufffd"


def test_planning_needs_no_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys; import luthier.stages.data.split, luthier.stages.data.prepare, luthier.stages.data.show;"
        "print([m for m in ('numpy','torch','transformers','safetensors','jinja2','rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
