"""The predicted peak of a fresh process against its own high-water mark: within 15 % in every cell."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from random_models import SHAPES, measure, write_model

from luthier.engine.contract import NoiseRates
from luthier.engine.memory.dimensions import Dimensions, Trains
from luthier.engine.memory.model import MemoryModel, Rows

CELLS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "short rows": ("small", "float32", {"lengths": [256] * 16}),
    "one long row": ("small", "float32", {"lengths": [4096]}),
    "two target layers, a large micro-batch": (
        "small", "bfloat16", {"lengths": [1024] * 5, "budget": 8192, "targets": ["q_proj", "v_proj"]},
    ),
    "rank 64, stored in bf16, small micro-batches": ("wide", "bfloat16", {"lengths": [256] * 5, "budget": 1024, "rank": 64}),
    "scoring": ("wide", "bfloat16", {"lengths": [1024] * 4, "rank": 0, "work": "score"}),
    "Gemma 2: capped scores and logits": ("small", "float32", {"lengths": [1024] * 3, "family": "gemma2"}),
    "Gemma 3: windows": ("small", "float32", {"lengths": [2048, 2048], "family": "gemma3_text"}),
    "Phi-3: fused layers": ("small", "bfloat16", {"lengths": [256] * 16, "family": "phi3"}),
    "noise of every kind": (
        "small", "float32", {"lengths": [256] * 16, "noise": {"dropout": 0.1, "lora": 0.1, "embedding": 5.0}},
    ),
    "layers computed again under embedding noise": (
        "small", "float32", {"lengths": [4096], "memory_gb": 0.68, "noise": {"embedding": 5.0}},
    ),
    "DoRA": ("small", "float32", {"lengths": [256] * 8, "method": "dora"}),
    "IA3, stored in bf16": ("small", "bfloat16", {"lengths": [256] * 8, "method": "ia3"}),
    "biases": ("small", "bfloat16", {"lengths": [1024] * 2, "method": "bitfit"}),
    "two upper layers whole": ("small", "float32", {"lengths": [256] * 16, "method": "last_layers"}),
    "LoRA on two upper layers": ("small", "bfloat16", {"lengths": [256] * 16, "targets": ["model.layers.6.*", "model.layers.7.*"]}),
    "layers computed again": ("small", "float32", {"lengths": [4096], "memory_gb": 0.68}),
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str, str], Path]:
    root, wanted = tmp_path_factory.mktemp("models"), {(n, d, cell.get("family", "llama")) for n, d, cell in CELLS.values()}
    return {(n, d, f): write_model(root / f"{n}-{d}-{f}", SHAPES[n], d, f) for n, d, f in wanted}


@pytest.mark.parametrize("name", CELLS)
def test_the_peak_is_predicted_within_15_percent(folders: dict[tuple[str, str, str], Path], name: str) -> None:
    shape, dtype, cell = CELLS[name]
    found = measure(folders[shape, dtype, cell.get("family", "llama")], cell)
    assert found["measured"] > 1.2 * found["process"], "the work must be large enough to matter"
    assert 0.85 <= found["ratio"] <= 1.15, found
    assert (found["recomputed_layers"] > 0) == ("memory_gb" in cell), found


def test_an_average_of_the_weights_takes_what_is_predicted(folders: dict[tuple[str, str, str], Path]) -> None:
    """The peaks with and without it differ by one value for each trained parameter."""
    cell: dict[str, Any] = {"lengths": [64] * 2, "rank": 256}
    without, kept = (measure(folders["wide", "bfloat16", "llama"], cell | more) for more in ({}, {"ema": 0.9}))
    wanted = kept["predicted"] - without["predicted"] - (kept["process"] - without["process"])
    assert wanted == 4 * 4 * 256 * 18_176  # float32, layers, rank, inputs and outputs of a layer's linear parts
    assert 0.5 * wanted < kept["measured"] - without["measured"] < 1.5 * wanted
    assert 0.85 <= kept["ratio"] <= 1.15, kept


def test_terms_of_average_and_noise_by_hand() -> None:
    sizes = Dimensions("llama", 100, 32, 64, 2, 4, 2, 8, True, 512, 4)
    plain = MemoryModel.of(sizes, Trains.lora(4), 0, "float32")
    assert replace(plain, average=True).adapters() * 4 == plain.adapters() * 5
    rows = Rows.worst(50)
    embedding = replace(plain, noise=NoiseRates(embedding=5.0))
    assert embedding.step_values(rows) == plain.step_values(rows) + 8 * 50  # made and gone before the layers: only its keys stay
    dropout = replace(plain, noise=NoiseRates(dropout=0.1))
    assert dropout.step_values(rows) == plain.step_values(rows) + 8 * 50 + 2 * 50 * 32 + 5 * 256 * 64
