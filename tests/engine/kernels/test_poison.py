"""Poison: whatever stands in one branch, slot or row moves no bit of what does not descend from it, forward and backward."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tree_shapes import DIM, HEADS, KV_HEADS, NODES, RULES, depths

from luthier.engine.kernels import attention
from luthier.engine.kernels import dense as dense_kernel
from luthier.engine.kernels.activation import ACTIVATIONS
from luthier.engine.kernels.attention import Slots, attend, attend_backward, attend_cached
from luthier.engine.kernels.head import Head, head_backward, head_forward
from luthier.engine.kernels.norm import rms_apply, rms_backward, rms_scale, rotary_angles, rotate, rotate_backward
from luthier.engine.kernels.segments import plan_attention

POISON = 3e3


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)), dtype=torch.float32)


def poisoned(x: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Other values, large ones, in the rows where `rows` is True."""
    return torch.where(rows.view(-1, *[1] * (x.dim() - 1)), POISON * drawn(*x.shape, seed=7), x)


def same(a: torch.Tensor, b: torch.Tensor, where: torch.Tensor) -> bool:
    return torch.equal(a[where], b[where])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("shape", [name for name in NODES if name != "one"])
def test_a_node_of_the_tree_moves_its_descendants_alone(shape: str, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs and gradients of queries below the node change, gradients of keys also above it, nothing else."""
    monkeypatch.setattr(dense_kernel, "SCORES", 900)
    nodes, given = np.array(NODES[shape]), RULES[rule]
    size, depth = int(nodes[:, 2].max()), depths(NODES[shape])
    row = torch.arange(size)
    clean = [drawn(size, heads, DIM) for heads in (HEADS, KV_HEADS, KV_HEADS, HEADS)]
    plan = plan_attention(nodes, depth)

    def both(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, d_out: torch.Tensor) -> tuple[torch.Tensor, ...]:
        done = attend(q, k, v, plan, None, given)
        return done.out, *attend_backward(d_out, (q, k, v), done, plan, given)

    before = both(*clean)
    for start, end, last in nodes[[0, len(nodes) // 2, len(nodes) - 1]].tolist():
        own, below = (row >= start) & (row < end), (row >= start) & (row < last)
        above = torch.zeros_like(own)
        for a, b, c in NODES[shape]:
            above[a:b] |= a <= start < c
        after = both(*(poisoned(x, own) for x in clean))
        for name, x, y in zip(("out", "d_q", "d_k", "d_v"), before, after, strict=True):
            assert same(x, y, ~below if name in ("out", "d_q") else ~below & ~above), (name, start)
            if given.window != 1 or name in ("out", "d_v"):  # a token that sees itself alone weighs 1, whatever its scores
                assert not same(x, y, own), "the poison must be felt"


@pytest.mark.parametrize("shape", [name for name in NODES if name != "one"])
def test_the_few_queries_of_a_last_layer_see_no_other_branch(shape: str) -> None:
    nodes = np.array(NODES[shape])
    size = int(nodes[:, 2].max())
    plan = plan_attention(nodes, depths(NODES[shape]), np.arange(0, size, 3))
    assert plan.rows is not None
    start, end, _ = nodes[-1].tolist()
    q, k, v = (drawn(size, heads, DIM) for heads in (HEADS, KV_HEADS, KV_HEADS))
    own = torch.zeros(size, dtype=torch.bool)
    own[start:end] = True
    before, after = (attend(q[plan.rows], *kv, plan).out for kv in ((k, v), (poisoned(k, own), poisoned(v, own))))
    assert same(before, after, ~own[plan.rows])
    assert not same(before, after, own[plan.rows])


@pytest.mark.parametrize("short", [0, 128])
@pytest.mark.parametrize("rule", RULES)
def test_a_decoding_step_sees_neither_other_slots_nor_what_a_slot_held_before(
    rule: str, short: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three slots of 12, 20 and 7 own keys below a prefix of 25; what lies beyond a slot's own keys is left from another sequence."""
    monkeypatch.setattr(attention, "_SHORT", short)
    length, q = torch.tensor([12, 20, 7]), drawn(3, HEADS, DIM)
    prefix = (drawn(25, KV_HEADS, DIM), drawn(25, KV_HEADS, DIM, seed=1))
    own = (drawn(3, KV_HEADS, 24, DIM), drawn(3, KV_HEADS, 24, DIM, seed=1))
    hidden = torch.arange(24)[None] >= length[:, None]
    mask = torch.zeros(3, 1, 1, 24).masked_fill_(hidden[:, None, None], float("-inf"))
    slots = Slots(24 + length, mask, 24 + 20)

    def step(q: torch.Tensor, own: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return attend_cached(q, own, slots, prefix, RULES[rule])

    before = step(q, own)
    stale = tuple(torch.where(hidden[:, None, :, None], POISON * drawn(*x.shape, seed=7), x) for x in own)
    assert torch.equal(before, step(q, (stale[0], stale[1])))
    second = torch.tensor([False, True, False])
    after = step(poisoned(q, second), (poisoned(own[0], second), poisoned(own[1], second)))
    assert same(before, after, ~second)
    assert not same(before, after, second)


@pytest.mark.parametrize("cap", [None, 3.0])
def test_a_row_of_the_head_moves_its_own_targets_alone(cap: float | None) -> None:
    hidden, head = drawn(40, 24), Head(drawn(301, 24), cap)
    row, token = torch.tensor([0, 0, 3, 17, 17, 17, 39]), torch.tensor([5, 7, 0, 300, 2, 3, 4])
    coefficient, bad = torch.linspace(0.5, 2.0, 7), torch.zeros(40, dtype=torch.bool)
    bad[17] = True
    other = poisoned(hidden, bad)
    (ours, _, d_ours), (theirs, _, d_theirs) = (head_backward(x, head, row, token, coefficient) for x in (hidden, other))
    assert same(ours, theirs, row != 17)
    assert same(d_ours, d_theirs, ~bad)
    assert not same(ours, theirs, row == 17)
    assert same(head_forward(hidden, head, row, token), head_forward(other, head, row, token), row != 17)


def test_norms_rotations_and_activations_are_of_each_row() -> None:
    bad = torch.zeros(9, dtype=torch.bool)
    bad[4] = True
    x, d_y, weight = drawn(9, 4, 16), drawn(9, 4, 16, seed=1), drawn(16)
    cos, sin = rotary_angles(torch.rand(8), torch.arange(9), torch.float32)
    found = []
    for given, slope in ((x, d_y), (poisoned(x, bad), poisoned(d_y, bad))):
        scale = rms_scale(given, 1e-5)
        found.append([rms_apply(given, scale, weight), rms_backward(slope, given, scale, weight), rotate(given, cos, sin)])
        found[-1] += [rotate_backward(slope, cos, sin), *(a.forward(given.clone()) for a in ACTIVATIONS.values())]
    for before, after in zip(*found, strict=True):
        assert same(before, after, ~bad)
        assert not same(before, after, bad)
