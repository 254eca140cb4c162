"""Shares of an optimiser step: every sequence once, weighed by what their trees compute, and even."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.engine.contract import TokenSequence
from luthier.engine.memory.dimensions import Dimensions
from luthier.engine.memory.flops import Trains, head_cost, pair_cost, unavoidable_flops
from luthier.engine.parallel.balance import Cost, _Line, cost_of, divide
from luthier.engine.trees.merge import merge
from luthier.engine.trees.pack import build_pack

SIZES = Dimensions("llama", 5000, 64, 128, 3, 4, 2, 16, True, 4096, 4)
SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), max_size=14)


def made(rows: list[list[int]]) -> list[TokenSequence]:
    return [TokenSequence(np.array(r, np.int32), np.array([0.0] + [1.0] * (len(r) - 1), np.float32)) for r in rows]


@given(rows=SEQUENCES, parts=st.integers(1, 6), shared=st.booleans())
def test_every_sequence_is_in_one_share(rows: list[list[int]], parts: int, shared: bool) -> None:
    shares = divide(made(rows), parts, Cost(0.01, 0.5, shared))
    assert len(shares) == parts
    assert sorted(i for share in shares for i in share) == list(range(len(rows)))
    assert all(share == sorted(share) for share in shares)


@given(rows=SEQUENCES.filter(bool), data=st.data())
def test_a_share_weighs_what_its_tree_computes(rows: list[list[int]], data: st.DataObject) -> None:
    sequences = made(rows)
    line = _Line(sequences, Cost())
    places = sorted(data.draw(st.sets(st.integers(0, len(rows) - 1))))
    tree = merge([sequences[line.order[p]].tokens for p in places], gate=0) if places else None
    assert line.work(places) == (tree.num_tokens if tree else 0)


@given(rows=SEQUENCES.filter(lambda r: 0 < len(r) <= 8), parts=st.integers(1, 3))
def test_cuts_are_the_best_that_cuts_can_be(rows: list[list[int]], parts: int) -> None:
    """Against every way to cut the line."""
    line = _Line(made(rows), Cost(0.03, 0.2))
    n = len(rows)

    def heaviest(cuts: list[int]) -> float:
        bounds = [0, *cuts, n]
        return max(line.work(range(a, b)) for a, b in pairwise(bounds))

    every = [[]] if parts == 1 else [[a] for a in range(n + 1)] if parts == 2 else [[a, b] for b in range(n + 1) for a in range(b + 1)]
    best = min(heaviest(cuts) for cuts in every)
    assert max(line.work(share) for share in line.cut(parts)) == pytest.approx(best)


def test_rows_without_a_common_prefix_are_even_and_rows_with_one_stay_together() -> None:
    rng = np.random.default_rng(0)
    apart = made([rng.integers(3, 1000, n).tolist() for n in rng.integers(20, 400, 32)])
    cost = Cost(pair_cost(SIZES), head_cost(SIZES))
    line = _Line(apart, cost)
    places = {int(i): p for p, i in enumerate(line.order)}
    loads = [line.work(sorted(places[i] for i in share)) for share in divide(apart, 4, cost)]
    assert max(loads) / np.mean(loads) < 1.02
    prefixes = [rng.integers(3, 1000, 500).tolist() for _ in range(2)]
    groups = made([prefixes[i % 2] + rng.integers(3, 1000, 5).tolist() for i in range(12)])
    assert sorted(divide(groups, 2, cost)) == [[0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11]]


def test_the_weights_are_those_of_the_counted_operations() -> None:
    """Work in units of a row's linear layers against the FLOPs of a step, for shares of very different shapes."""
    trains = Trains.lora(1)
    cost = Cost(pair_cost(SIZES), head_cost(SIZES), shared=False)
    rng = np.random.default_rng(1)
    ratios = []
    for n in (200, 2000):
        row = rng.integers(3, 1000, n).tolist()
        sequences = [TokenSequence(np.array(row, np.int32), np.array([0.0] + [1.0] * (n - 1), np.float32))]
        flops = unavoidable_flops(SIZES, [build_pack(sequences, [0])], trains)
        ratios.append(_Line(sequences, cost).work([0]) / flops)
    assert ratios[0] == pytest.approx(ratios[1], rel=0.02)


def test_a_model_whose_sizes_are_not_named_is_weighed_by_tokens(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2", "n_embd": 32}')
    assert cost_of(tmp_path, "generic") == Cost()
    assert cost_of(tmp_path, "reference") == Cost(shared=False)
