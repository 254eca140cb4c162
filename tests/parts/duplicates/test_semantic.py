"""Semantic copies: the blocked search against all pairs, and the real encoder."""

from __future__ import annotations

import numpy as np
import pytest
from slow_twin import partition

from luthier.core.errors import UserError
from luthier.core.records import Record, Source, Text
from luthier.parts.checks.semantic_duplicates import SemanticDuplicates
from luthier.parts.duplicates import semantic
from luthier.parts.duplicates.semantic import SemanticFinder, embedded


def test_blocks_find_what_all_pairs_find(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    centres = rng.normal(size=(30, 16))
    points = (centres[rng.integers(0, 30, 200)] + 0.25 * rng.normal(size=(200, 16))).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    sides = rng.integers(0, 2, 200)
    monkeypatch.setattr(semantic, "_ROWS", 17)
    monkeypatch.setattr(semantic, "_COLUMNS", 31)
    said: list[tuple[int, int]] = []
    for threshold in (0.9, 0.95):
        cosine = points.astype(np.float64) @ points.astype(np.float64).T
        pairs = {(i, j) for i in range(200) for j in range(i + 1, 200) if cosine[i, j] >= threshold and sides[i] == sides[j]}
        assert len(pairs) > 20
        groups = SemanticFinder(points, sides, threshold, lambda _, done, total: said.append((done, total))).groups()
        found = {frozenset(np.flatnonzero(groups == g).tolist()) for g in set(groups.tolist())}
        assert {rows for rows in found if len(rows) > 1} == partition(200, pairs)
    assert said[-1] == (200, 200)


def test_the_encoder_joins_paraphrases_and_says_the_cosine() -> None:
    rows: list[Record] = [
        Text(t, Source("f", f"line {i}"))
        for i, t in enumerate(
            [
                "Can I change my PIN?",
                "Is it possible to change my PIN?",
                "Where is my card?",
                "",
                "Why was I charged 5?",
                "Why was I charged 6?",
            ]
        )
    ]
    found = SemanticDuplicates()(rows)
    assert [(f.row, f.others) for f in found] == [(0, (1,))]
    assert 0.95 <= found[0].score <= 1
    assert found[0].reason == f"semantic duplicate of f line 1 (cosine {found[0].score:.2f})"
    alone = embedded(["Where is my card?"], "minilm-l6")
    several = embedded(["a much longer text than the other one, " * 30, "Where is my card?"], "minilm-l6")
    np.testing.assert_allclose(np.linalg.norm(several, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(several[1], alone[0], atol=1e-5)


def test_a_model_that_is_no_encoder_is_refused() -> None:
    with pytest.raises(UserError, match="embeddings need an encoder"):
        embedded(["a"], "smollm2-135m-instruct")
