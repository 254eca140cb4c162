"""The memory model over a grid of shapes, precisions, methods, lengths and micro-batches, each cell a fresh process.

One decision: a cell fails when the predicted peak is more than 15 % off the process's own high-water mark; every cell's
ratio is written down, the good ones included.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO / "tests" / "engine" / "memory"))

from random_models import SHAPES, measure, write_model  # noqa: E402

LENGTHS = {"256": [256] * 32, "1k": [1024] * 8, "4k": [4096] * 2}
WITHIN = 0.15


def cells() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every shape with every length and micro-batch, ranks, targets and stored precisions in turn; scoring; generation."""
    methods = [{"rank": 4}, {"rank": 64}, {"rank": 16, "targets": ["q_proj", "v_proj"]}, {"rank": 16, "targets": ["down_proj"]}]
    turn = 0
    for shape in SHAPES:
        for lengths in LENGTHS.values():
            for budget in (1024, 4096, 8192):
                yield shape, ("float32", "bfloat16")[turn % 2], {"lengths": lengths, "budget": budget, **methods[turn % 4]}
                turn += 1
        for budget in (1024, 8192):
            yield shape, ("float32", "bfloat16")[turn % 2], {"lengths": LENGTHS["1k"], "budget": budget, "rank": 0, "work": "score"}
            turn += 1
        yield shape, "float32", {"lengths": [256] * 16, "rank": 0, "work": "sample", "new": 16}


def memory_grid(times: int, seed: int) -> dict[str, Any]:
    """Measure the first `times` cells; seed is not used (a cell has no chance in it)."""
    found, failures = [], []
    with tempfile.TemporaryDirectory(prefix="luthier-memory-") as name:
        for shape, dtype, cell in list(cells())[:times]:
            folder = Path(name) / f"{shape}-{dtype}"
            if not folder.exists():
                write_model(folder, SHAPES[shape], dtype)
            row = {"shape": shape, "stored": dtype, **cell, **measure(folder, cell)}
            found.append({**row, "lengths": f"{len(cell['lengths'])} x {cell['lengths'][0]}", "ratio": round(row["ratio"], 3)})
            print(f"{shape} {dtype} {found[-1]['lengths']}: {found[-1]['ratio']}", file=sys.stderr)  # noqa: T201
            if abs(row["ratio"] - 1) > WITHIN:
                failures.append(found[-1])
    ratios = [row["ratio"] for row in found]
    return {"trials": len(found), "lowest_ratio": min(ratios), "highest_ratio": max(ratios), "cells": found, "failures": failures}
