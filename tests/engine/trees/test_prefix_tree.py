"""The radix merge against a brute-force trie; the pack's rows against the sequences themselves; the planner."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.core.errors import UserError
from luthier.engine.contract import TokenSequence
from luthier.engine.trees.merge import common_length, merge
from luthier.engine.trees.pack import build_full_pack, build_pack
from luthier.engine.trees.planner import check_sequences, plan, shared_length

lists = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=9), min_size=1, max_size=12)


def arrays(raw: list[list[int]]) -> list[np.ndarray]:
    return [np.array(r, np.int32) for r in raw]


def prefixes(raw: list[list[int]]) -> set[tuple[int, ...]]:
    return {tuple(r[: i + 1]) for r in raw for i in range(len(r))}


@given(lists)
@settings(max_examples=300, deadline=None)
def test_every_distinct_prefix_is_one_row_when_nothing_is_gated(raw: list[list[int]]) -> None:
    pack = build_full_pack(arrays(raw), range(len(raw)), gate=0)
    assert pack.num_rows == len(prefixes(raw)) == merge(arrays(raw), gate=1).num_tokens
    check_pack(raw, pack)


@given(lists, st.integers(0, 12))
@settings(max_examples=300, deadline=None)
def test_a_gate_only_repeats_rows(raw: list[list[int]], gate: int) -> None:
    pack = build_full_pack(arrays(raw), range(len(raw)), gate=gate)
    assert len(prefixes(raw)) <= pack.num_rows <= sum(len(r) for r in raw)
    check_pack(raw, pack)


def check_pack(raw: list[list[int]], pack: object) -> None:
    """Each sequence reads back along its rows; its rows' nodes are nested: a row's ancestors are the rows it attends to."""
    for member, wanted in enumerate(raw):
        rows = pack.rows_of(member, np.arange(len(wanted)))  # type: ignore[attr-defined]
        assert pack.tokens[rows].tolist() == wanted  # type: ignore[attr-defined]
        assert pack.positions[rows].tolist() == list(range(len(wanted)))  # type: ignore[attr-defined]
        assert pack.ends[member] == rows[-1]  # type: ignore[attr-defined]
        assert visible(pack.nodes, int(rows[-1])) == rows.tolist()  # type: ignore[attr-defined]


def visible(nodes: np.ndarray, row: int) -> list[int]:
    seen: list[int] = []
    for start, end, last in nodes.tolist():
        if start <= row < last:
            seen.extend(range(start, min(end, row + 1)))
    return seen


@given(lists, st.data())
@settings(max_examples=300, deadline=None)
def test_targets_stand_on_the_row_before_them(raw: list[list[int]], data: st.DataObject) -> None:
    sequences = []
    for r in raw:
        w = data.draw(st.lists(st.sampled_from([0.0, 0.5, 2.0]), min_size=len(r), max_size=len(r)))
        sequences.append(TokenSequence(np.array(r, np.int32), np.array([0.0, *w[1:]], np.float32)))
    pack = build_pack(sequences, range(len(sequences)), gate=data.draw(st.integers(0, 8)))
    found = list(zip(pack.targets.sequence.tolist(), pack.targets.token.tolist(), pack.targets.weight.tolist(), strict=True))
    wanted = [(i, int(s.tokens[p]), float(s.weights[p])) for i, s in enumerate(sequences) for p in np.flatnonzero(s.weights)]
    assert found == wanted
    where = [(i, int(p)) for i, s in enumerate(sequences) for p in np.flatnonzero(s.weights)]
    for row, (i, p) in zip(pack.targets.row.tolist(), where, strict=True):
        assert pack.tokens[visible(pack.nodes, row)].tolist() == raw[i][:p]


def test_a_skipped_prefix_leaves_only_what_comes_after() -> None:
    raw = [[9, 9, 9, 1, 2], [9, 9, 9, 1, 3], [9, 9, 9, 4]]
    sequences = [TokenSequence(np.array(r, np.int32), np.array([0.0] + [1.0] * (len(r) - 1), np.float32)) for r in raw]
    pack = build_pack(sequences, [2, 0, 1], skip=3, gate=0)
    assert pack.positions.min() == 3
    assert pack.targets.sequence.tolist() == [0, 1]
    assert pack.targets.token.tolist() == [2, 3]
    assert build_full_pack(arrays(raw), [0, 1, 2], skip=3, gate=0).num_rows == 4


def test_a_small_shared_piece_is_not_split_off() -> None:
    raw = [[1, 2, *range(10, 40)], [1, 2, *range(50, 80)]]
    assert build_full_pack(arrays(raw), [0, 1], gate=3).num_rows == 64
    assert build_full_pack(arrays(raw), [0, 1], gate=2).num_rows == 62


def test_thousands_of_long_sequences_merge_in_well_under_a_second() -> None:
    rng = np.random.default_rng(0)
    root = rng.integers(0, 50_000, 570)
    many = [np.concatenate([root, rng.integers(0, 50_000, 30)]).astype(np.int32) for _ in range(3000)]
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        pack = build_full_pack(many, range(len(many)))
        seconds.append(time.perf_counter() - start)
    assert pack.num_rows == 570 + 3000 * 30
    assert min(seconds) < 1.0


@given(lists, st.integers(1, 30))
@settings(max_examples=200, deadline=None)
def test_a_plan_takes_every_sequence_once_within_the_budget(raw: list[list[int]], budget: int) -> None:
    groups = plan(arrays(raw), budget)
    assert sorted(i for g in groups for i in g) == list(range(len(raw)))
    for group in groups:
        assert len(group) == 1 or len(prefixes([raw[i] for i in group])) <= budget


def test_a_plan_keeps_shared_prefixes_together() -> None:
    a, b = list(range(20)), list(range(100, 120))
    raw = [[*a, 1], [*b, 1], [*a, 2], [*b, 2], [*a, 3], [*b, 3]]
    assert plan(arrays(raw), 23) == [[0, 2, 4], [1, 3, 5]]


@given(lists)
def test_shared_length_by_brute_force(raw: list[list[int]]) -> None:
    n = shared_length(arrays(raw))
    assert n < min(len(r) for r in raw)
    assert all(r[:n] == raw[0][:n] for r in raw)
    if len(raw) > 1 and n + 1 < min(len(r) for r in raw):
        assert any(r[n] != raw[0][n] for r in raw)


@given(st.lists(st.integers(0, 2), max_size=6), st.lists(st.integers(0, 2), max_size=6))
def test_common_length_by_brute_force(a: list[int], b: list[int]) -> None:
    wanted = 0
    while wanted < min(len(a), len(b)) and a[wanted] == b[wanted]:
        wanted += 1
    assert common_length(np.array(a), np.array(b)) == wanted


def test_bad_sequences_are_named() -> None:
    good = TokenSequence(np.array([1, 2], np.int32), np.array([0, 1], np.float32))
    bad = TokenSequence(np.array([1, 9], np.int32), np.array([0, 1], np.float32))
    with pytest.raises(UserError, match=r"0\.\.8.*got 9.*sequence 1"):
        check_sequences([good, bad], 9, None)


def test_a_plan_starts_with_the_largest_micro_batch_and_loads_evenly() -> None:
    """Rows of 10 tokens that share nothing, 9 of them: a budget of 80 needs two, and they get 50 and 40, the larger first."""
    raw = [list(range(100 * i, 100 * i + 10)) for i in range(9)]
    assert [len(g) for g in plan(arrays(raw), 80)] == [5, 4]
    raw.append(list(range(5000, 5300)))
    sizes = [sum(len(raw[i]) for i in g) for g in plan(arrays(raw), 80)]
    assert sizes[0] == 300
    assert sizes == sorted(sizes, reverse=True)


def test_attention_counts_in_the_load() -> None:
    """A row of 60 tokens is as much work as four of 30 when pairs are dear; by tokens alone it would be two."""
    raw = [list(range(60)), *([1000 * (i + 1) + j for j in range(30)] for i in range(6))]
    by_tokens = plan(arrays(raw), 180)
    by_work = plan(arrays(raw), 180, pair_cost=10.0)
    assert len(by_tokens) == len(by_work) == 2
    alone = next(g for g in by_work if 0 in g)
    assert len(alone) < len(next(g for g in by_tokens if 0 in g))


@given(lists, st.integers(1, 30))
@settings(max_examples=100, deadline=None)
def test_an_even_load_takes_no_more_micro_batches_and_shares_no_less(raw: list[list[int]], budget: int) -> None:
    """Against the plain greedy cut of the sorted rows."""
    greedy: list[list[int]] = []
    for i in sorted(range(len(raw)), key=lambda i: raw[i]):
        together = [*greedy[-1], i] if greedy else []
        if greedy and len(prefixes([raw[j] for j in together])) <= budget:
            greedy[-1] = together
        else:
            greedy.append([i])
    found = plan(arrays(raw), budget)
    assert len(found) <= len(greedy)
    assert sum(len(prefixes([raw[j] for j in g])) for g in found) <= sum(len(prefixes([raw[j] for j in g])) for g in greedy)
