"""The profile of a step: parts add up to the measured time, operations land where they belong, the trace opens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luthier.core.execution import Execution
from luthier.engine.contract import Batch, TokenSequence
from luthier.engine.memory.dimensions import Trains, read_dimensions
from luthier.engine.memory.flops import unavoidable_flops
from luthier.engine.methods.lora import LoRASpec
from luthier.engine.profile import PARTS, StepProfile, Work, part_of, profile_steps
from luthier.engine.select import load_engine
from luthier.engine.trees.pack import build_pack
from luthier.parts.losses.sft import SFT

VOCABULARY = 1031


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers wide enough that the operations outweigh Python."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=640,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
    )
    AutoModelForCausalLM.from_config(config, dtype="float32").save_pretrained(path := tmp_path_factory.mktemp("profile") / "model")
    return path


def work(folder: Path, kind: Any, length: int, rows: int) -> Work:
    engine = load_engine(folder, LoRASpec(4, 8.0), Execution(engine=kind), 0)
    rng = np.random.default_rng(0)
    weights = np.zeros(length, np.float32)
    weights[-length // 4 :] = 1.0
    sequences = tuple(TokenSequence(rng.integers(3, VOCABULARY, length).astype(np.int32), weights) for _ in range(rows))
    batch = Batch(sequences, float(weights.sum() * rows))
    return Work(engine, lambda _step: batch, SFT(), 1e-4, read_dimensions(folder), Trains.lora(4))


def shares(found: StepProfile) -> dict[str, float]:
    return {p.name: p.share for p in found.parts}


@pytest.mark.parametrize("kind", ["fast", "reference"])
def test_parts_add_up_and_the_trace_is_valid(folder: Path, tmp_path: Path, kind: str) -> None:
    job = work(folder, kind, 160, 4)
    found = profile_steps(job, 2, tmp_path / "made")
    assert tuple(p.name for p in found.parts) == PARTS
    assert sum(shares(found).values()) == pytest.approx(1.0, abs=1e-9)
    assert sum(p.milliseconds for p in found.parts) == pytest.approx(found.profiled_ms)
    assert all(p.milliseconds > 0 for p in found.parts)
    assert shares(found)["linears"] + shares(found)["head"] > 0.15
    events = json.loads(found.trace.read_text(encoding="utf-8"))["traceEvents"]
    steps = [e["dur"] / 1e3 for e in events if e.get("name") == "luthier: step" and e.get("ph") == "X"]
    assert len(steps) == 2
    assert sum(steps) / 2 == pytest.approx(found.profiled_ms, rel=0.1)
    assert {"aten::mm", "luthier: optimiser"} <= {e.get("name") for e in events}


def test_the_share_of_attention_grows_with_the_length(folder: Path, tmp_path: Path) -> None:
    """As many tokens in short and in long rows: only attention's work differs."""
    short = profile_steps(work(folder, "fast", 64, 48), 2, tmp_path / "short")
    long = profile_steps(work(folder, "fast", 3072, 1), 2, tmp_path / "long")
    assert short.tokens == pytest.approx(long.tokens, rel=0.02)
    assert shares(long)["attention"] > 2 * shares(short)["attention"]
    limit = {p.name: p.limit_ms for p in long.parts}
    assert limit["attention"] is not None
    assert limit["elementwise"] is None


def test_the_limit_is_the_unavoidable_work(folder: Path, tmp_path: Path) -> None:
    job = work(folder, "fast", 100, 3)
    found = profile_steps(job, 1, tmp_path)
    flops = unavoidable_flops(job.sizes, [build_pack(job.batch(0).sequences, range(3), gate=0)], job.trains)
    assert found.limit_ms == pytest.approx(flops / found.gemm_gflops / 1e6)
    assert sum(p.limit_ms or 0.0 for p in found.parts) == pytest.approx(found.limit_ms)
    assert found.ratio_to_limit == pytest.approx(found.limit_ms / found.step_ms)


@pytest.mark.parametrize(
    ("name", "shapes", "part"),
    [
        ("aten::mm", [[500, 256], [256, 640]], "linears"),
        ("aten::addmm_", [[4, 256], [4, 500], [500, 256]], "linears"),
        ("aten::mm", [[40, 256], [256, VOCABULARY]], "head"),
        ("aten::mm", [[40, VOCABULARY], [VOCABULARY, 256]], "head"),
        ("aten::logsumexp", [[40, VOCABULARY]], "head"),
        ("aten::_log_softmax", [[40, VOCABULARY]], "head"),
        ("aten::index", [[VOCABULARY, 256], []], "elementwise"),
        ("aten::embedding", [[VOCABULARY, 256], [1, 40]], "elementwise"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu_backward", [[1, 4, 40, 64]], "attention"),
        ("aten::bmm", [[4, 40, 64], [4, 64, 40]], "attention"),
        ("aten::_softmax", [[1, 4, 40, 40]], "attention"),
        ("aten::silu", [[40, 640]], "elementwise"),
        ("aten::mul", [[40, 256], [40, 1]], "elementwise"),
    ],
)
def test_operations_are_sorted(name: str, shapes: list[list[int]], part: str) -> None:
    assert part_of(name, shapes, VOCABULARY) == part
