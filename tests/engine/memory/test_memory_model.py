"""The predicted peak of a fresh process against its own high-water mark: within 15 % in every cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from random_models import SHAPES, measure, write_model

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
