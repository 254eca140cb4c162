"""What fits: the micro-batch, the layers computed again, and the one message when nothing does."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from random_models import write_model

from luthier.core.errors import CorruptArtifact, UserError
from luthier.core.execution import Execution
from luthier.engine.contract import TokenSequence
from luthier.engine.memory import machine
from luthier.engine.memory.dimensions import Dimensions, Own, Trains, read_dimensions, read_num_bytes
from luthier.engine.memory.flops import FROZEN
from luthier.engine.memory.forecast import forecast
from luthier.engine.memory.least import check_least
from luthier.engine.memory.model import MemoryModel, Rows
from luthier.engine.memory.room import GB, Room, limit_bytes, room_in
from luthier.engine.methods.dora import DoRASpec
from luthier.engine.methods.full import FullSpec
from luthier.engine.methods.lora import LoRASpec
from luthier.engine.methods.prompt import PromptSpec
from luthier.engine.select import load_engine
from toys import random_tokens, sequence

SIZES = Dimensions("llama", 32000, 512, 1408, 6, 8, 8, 64, True, 8192, 4)
MODEL = MemoryModel(SIZES, Trains.lora(16), 340 * 2**20)


def test_the_values_of_a_step_by_hand() -> None:
    """One layer, ten rows, two needed from row 8 on: what is kept, the head's chunk, and the widest moment of the backward."""
    one = MemoryModel(replace(SIZES, layers=1, vocabulary=50), Trains.lora(16), 0)
    kept = 10 * (512 + 3 * 512) + 2 * (2 * 512 + 8 + 512 + 2 * 1408)
    backward = kept + 2 * 2 * 512 + 2 * max(4 * 1408 + 4 * 512, 6 * 512 + 2 * 512 + 4 * 512)
    head = kept + 3 * 2 * 512 + max(2 * 50, 2 * (1408 + 512))
    assert one.step_values(Rows(10, 2, 2)) == max(head, backward) + 10 * 64


def test_weights_and_adapters_by_hand() -> None:
    layer = 4 * 512 * 512 + 3 * 512 * 1408
    linears, vocabulary = 6 * layer, 32000 * 512
    half = replace(MODEL, sizes=replace(SIZES, stored_bytes=2))
    assert MODEL.weights() == 4 * (linears + vocabulary + layer)
    assert half.weights() == replace(half, trains=FROZEN).weights() == 2 * linears + 4 * (vocabulary + layer)
    assert replace(MODEL, trains=FROZEN).weights() == 4 * (linears + vocabulary)
    assert replace(MODEL, product=2).weights() == 2 * (linears + vocabulary)
    last = Own(3 * layer, 3, 0, 0.0, True, 3 * layer)
    assert replace(MODEL, trains=Trains(0, own=last)).weights() == 4 * (3 * layer + vocabulary + layer)
    assert replace(MODEL, sizes=replace(SIZES, tied=False)).weights() == MODEL.weights() + 4 * vocabulary


def test_generation_takes_a_weight_of_its_own_for_every_layer() -> None:
    layer, vocabulary = 4 * 512 * 512 + 3 * 512 * 1408, 32000 * 512
    few, many = MODEL.generating(10, 4, 2), MODEL.generating(10, 256, 2)
    assert few.weights == MODEL.weights() + 4 * 6 * layer
    assert many.weights == few.weights + 4 * vocabulary
    frozen = replace(MODEL, trains=FROZEN)
    assert frozen.generating(10, 4, 2).weights == frozen.weights()


def test_adapters_by_hand() -> None:
    assert MODEL.adapters() == 4 * 4 * 6 * 16 * (4 * 1024 + 3 * 1920)


def test_as_few_layers_as_needed_and_a_refusal_when_none_is_enough() -> None:
    rows = Rows.worst(5000)
    needs = [MODEL.training(rows, k).total for k in range(7)]
    assert all(a > b for a, b in itertools.pairwise(needs[:6]))
    for k in range(5):
        assert Room(MODEL, needs[k], 4096).recomputed_layers(rows) == k
    with pytest.raises(UserError, match=r"a sequence of 5000 tokens must fit .* prepare.max_length=4096 would fit"):
        Room(MODEL, needs[6] - 1, 4096).recomputed_layers(rows)


def test_the_micro_batch_is_what_fits() -> None:
    def chosen(limit: float) -> int:
        return room_in(MODEL, int(limit), Execution()).micro_batch_tokens

    needs = {b: MODEL.training(Rows.worst(b)).total for b in (4096, 2048)}
    assert chosen(needs[4096]) == 4096
    assert chosen(needs[4096] - 1) == 2048
    assert chosen(needs[2048] - 1) == 1024
    assert room_in(MODEL, needs[2048], Execution(micro_batch_tokens=8192)).micro_batch_tokens == 8192


def test_a_model_that_does_not_fit_is_refused_with_what_would() -> None:
    big = replace(MODEL, trains=Trains.lora(512))
    needs_at_rank_16 = MODEL.training(Rows.worst(64), 6).total
    with pytest.raises(UserError, match=r"must fit .* GB at the least .* weights.*predicted before loading.*rank=16 would fit") as caught:
        room_in(big, needs_at_rank_16, Execution())
    assert caught.value.exit_code == 2


def test_no_weight_is_read_of_a_model_that_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = {"hidden": 32, "intermediate": 64, "layers": 1, "heads": 2, "kv_heads": 1, "vocabulary": 64}
    folder = write_model(tmp_path / "tiny", shape)

    def read(*_: object) -> None:
        raise AssertionError("weights were read")

    monkeypatch.setattr("luthier.engine.fast.load.build_weights", read)
    with pytest.raises(UserError, match=r"the model must fit 0\.0 GB of memory"):
        load_engine(folder, LoRASpec(4, 8.0), Execution(engine="fast", memory_gb=0.01), 0)


@pytest.mark.parametrize(
    ("engine", "spec"),
    [("fast", DoRASpec(4, 8.0)), ("generic", LoRASpec(4, 8.0)), ("generic", FullSpec()), ("reference", None), ("auto", PromptSpec(4))],
    ids=["fast, dora", "generic, lora", "generic, full", "reference", "auto, prompt"],
)
def test_no_weight_is_read_either_where_there_is_no_memory_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: Any, spec: Any
) -> None:
    folder = write_model(tmp_path / "tiny", {"hidden": 32, "intermediate": 64, "layers": 1, "heads": 2, "kv_heads": 1, "vocabulary": 64})

    def read(*_: object) -> None:
        raise AssertionError("weights were read")

    for name in ("fast.load.build_weights", "generic.load.load_model", "reference.load.load_model"):
        monkeypatch.setattr(f"luthier.engine.{name}", read)
    with pytest.raises(UserError, match=r"must fit 0\.0 GB of memory, got .* at the least .*predicted before loading"):
        load_engine(folder, spec, Execution(engine=engine, memory_gb=0.01), 0)


def test_what_is_needed_at_the_least_where_all_weights_are_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights and as many gradients, in the precision of the run whatever the file's is."""
    shape = {"hidden": 256, "intermediate": 512, "layers": 2, "heads": 2, "kv_heads": 1, "vocabulary": 512}
    folder, values = write_model(tmp_path / "half", shape, "bfloat16"), 512 * 256 + 256 + 2 * (3 * 256 * 256 + 3 * 256 * 512 + 2 * 256)
    assert (read_num_bytes(folder, 4), read_num_bytes(folder, 8)) == (4 * values, 8 * values)
    monkeypatch.setattr("luthier.engine.memory.least.resident_bytes", lambda: 0)
    check_least(folder, 4, True, Execution(memory_gb=(8 * values + 1) / GB))
    tight = Execution(memory_gb=(8 * values - 8) / GB)
    check_least(folder, 4, False, tight)
    with pytest.raises(UserError, match=r"GB of their gradients.*kind=lora\) has no such gradients") as caught:
        check_least(folder, 4, True, tight)
    assert caught.value.exit_code == 2
    with pytest.raises(UserError, match=r"a smaller base") as caught:
        check_least(folder, 4, True, Execution(memory_gb=(4 * values - 8) / GB))
    assert "lora" not in str(caught.value)


def test_headers_give_the_sizes(tmp_path: Path) -> None:
    shape = {"hidden": 32, "intermediate": 64, "layers": 2, "heads": 2, "kv_heads": 1, "vocabulary": 64}
    folder = write_model(tmp_path / "tiny", shape, "bfloat16")
    found = read_dimensions(folder)
    assert (found.stored_bytes, found.head_dim, found.tied) == (2, 16, True)
    (folder / "model.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(CorruptArtifact, match="not a safetensors file"):
        read_dimensions(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises((UserError, CorruptArtifact)):
        read_dimensions(folder)


def test_a_control_group_is_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    free = machine.available_bytes()
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert machine.available_bytes() == 2_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.available_bytes() == pytest.approx(free, rel=0.5)
    assert limit_bytes(Execution(memory_gb=2.5)) == int(2.5 * GB)


def test_a_forecast_looks_at_the_worst_step_and_counts_the_whole_run() -> None:
    """A hundred steps of two rows, one of them with a long row: the peak is that step's, the work that of all rows."""
    from luthier.engine.memory.flops import pair_cost, unavoidable_flops
    from luthier.engine.trees.pack import build_pack
    from luthier.engine.trees.planner import plan

    rng = np.random.default_rng(0)
    rows = [sequence(random_tokens(rng, 30 if i != 77 else 3000), [5, 20]) for i in range(40)]
    rows[77 % 40] = sequence(random_tokens(rng, 3000), [2999])
    room = room_in(MODEL, 10 * GB, Execution())
    found = forecast(room, rows, [np.array([2 * step, 2 * step + 1]) for step in range(20)])
    packs = []
    for step in range(20):
        pair = [rows[2 * step], rows[2 * step + 1]]
        groups = plan([s.tokens for s in pair], room.micro_batch_tokens, pair_cost(SIZES))
        packs += [build_pack(pair, group) for group in groups]
    assert found.flops == pytest.approx(unavoidable_flops(SIZES, packs, Trains.lora(16)))
    assert found.peak.activations > MODEL.training(Rows(2999, 1, 1)).activations * 0.99


def test_a_step_that_fits_in_no_way_is_refused_before_training() -> None:
    row = TokenSequence(np.arange(6000, dtype=np.int32), np.ones(6000, np.float32))
    row.weights[0] = 0
    tight = Room(MODEL, MODEL.training(Rows.worst(2000), 6).total, 1024)
    with pytest.raises(UserError, match="a sequence of 5999 tokens must fit"):
        forecast(tight, [row], [np.array([0])])
