"""Tree attention from pieces against one dense masked softmax, with autograd, in float64 and float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tree_shapes import DIM, HEADS, KV_HEADS, NODES, RULES, depths

from luthier.engine.kernels import attention, chunks
from luthier.engine.kernels import dense as dense_kernel
from luthier.engine.kernels.attention import Slots, attend, attend_backward, attend_cached
from luthier.engine.kernels.dense import Rule
from luthier.engine.kernels.head import Head, head_backward, head_forward
from luthier.engine.kernels.norm import rms_apply, rms_backward, rms_scale, rotary_angles, rotate, rotate_backward
from luthier.engine.kernels.segments import plan_attention

PLAIN = Rule()


def dense_mask(nodes: list[tuple[int, int, int]]) -> torch.Tensor:
    size = nodes[-1][2] if len(nodes) == 1 else max(n[2] for n in nodes)
    mask = torch.zeros(size, size, dtype=torch.bool)
    for start, end, last in nodes:
        mask[start:last, start:end] = True
    return mask & torch.ones(size, size, dtype=torch.bool).tril()


def dense(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor, rule: Rule = PLAIN) -> torch.Tensor:
    k, v = (t.repeat_interleave(HEADS // KV_HEADS, 1) for t in (k, v))
    scores = torch.einsum("qhd,khd->hqk", q, k) * (DIM**-0.5 if rule.scale is None else rule.scale)
    scores = scores if rule.cap is None else rule.cap * (scores / rule.cap).tanh()
    return torch.einsum("hqk,khd->qhd", scores.masked_fill(~mask, float("-inf")).softmax(-1), v)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("shape", NODES)
@pytest.mark.parametrize("needed", ["all", "few", "one"])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-13), (torch.float32, 2e-5)])
def test_tree_attention_equals_a_dense_mask(
    shape: str, needed: str, dtype: torch.dtype, limit: float, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dense_kernel, "SCORES", 900)  # several chunks of query rows
    nodes, mask, given = NODES[shape], dense_mask(NODES[shape]), RULES[rule]
    size, depth = len(mask), torch.from_numpy(depths(NODES[shape]))
    if given.window is not None:
        mask &= depth[:, None] - depth[None] < given.window
    generator = torch.Generator().manual_seed(0)
    full = [torch.randn(size, h, DIM, dtype=dtype, generator=generator).requires_grad_() for h in (HEADS, KV_HEADS, KV_HEADS)]
    wanted_rows = {"all": None, "few": np.arange(0, size, 3), "one": np.array([size - 1])}[needed]
    plan = plan_attention(np.array(nodes), depth.numpy(), wanted_rows)
    rows = torch.arange(size) if plan.rows is None else plan.rows
    assert wanted_rows is None or set(wanted_rows.tolist()) <= set(rows.tolist())
    out = dense(full[0][rows], full[1], full[2], mask[rows], given)
    d_out = torch.randn(out.shape, dtype=dtype, generator=generator)
    wanted = torch.autograd.grad(out, full, d_out)
    q, k, v = full[0].detach()[rows], full[1].detach(), full[2].detach()
    done = attend(q, k, v, plan, None, given)
    got = attend_backward(d_out, (q, k, v), done, plan, given)
    torch.testing.assert_close(done.out, out.detach(), rtol=0, atol=limit)
    for mine, theirs in zip(got, (wanted[0][rows], *wanted[1:]), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=10 * limit)


def test_small_rectangles_go_together() -> None:
    nodes = NODES["orchard"]
    plan = plan_attention(np.array(nodes), depths(nodes))
    assert sum(len(group.spans) for group in plan.rectangles) == 6 + 12
    assert len(plan.rectangles) < 10
    assert any(group.real is not None and not bool(group.real.all()) for group in plan.rectangles)
    assert any(group.real_keys is not None and not bool(group.real_keys.all()) for group in plan.rectangles)


def test_the_needed_rows_are_few() -> None:
    nodes = NODES["chain of branches"]
    plan = plan_attention(np.array(nodes), depths(nodes), np.array([68, 74, 200]))
    assert plan.rows is not None
    assert plan.rows.tolist() == [68, 69, 74, *range(200, 205)]


@pytest.mark.parametrize("short", [0, 128])
@pytest.mark.parametrize("rule", RULES)
def test_a_cached_prefix_equals_the_whole(rule: str, short: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut after 25 tokens: as a pack below a cache, and as one decoding step over cached keys, whose slots are longer than used."""
    monkeypatch.setattr(attention, "_SHORT", short)
    dtype, given = torch.float64, RULES[rule]
    q, k, v = (torch.randn(40, h, DIM, dtype=dtype) for h in (HEADS, KV_HEADS, KV_HEADS))
    whole = attend(q, k, v, plan_attention(np.array([[0, 40, 40]]), np.arange(40)), None, given).out
    below = plan_attention(np.array([[0, 15, 15]]), np.arange(25, 40))
    cut = attend(q[25:], k[25:], v[25:], below, (k[:25], v[:25]), given).out
    torch.testing.assert_close(cut, whole[25:], rtol=0, atol=1e-13)
    own = tuple(torch.cat([t[None, 25:], torch.randn(1, 3, KV_HEADS, DIM, dtype=dtype)], 1).transpose(1, 2) for t in (k, v))
    mask = torch.zeros(1, 1, 1, 18, dtype=dtype)
    mask[..., 15:] = float("-inf")
    last = attend_cached(q[39:], (own[0], own[1]), Slots(torch.tensor([39]), mask, 42), (k[:25], v[:25]), given)
    torch.testing.assert_close(last, whole[39:], rtol=0, atol=1e-13)


@pytest.mark.parametrize("cap", [None, 3.0])
def test_the_head_equals_autograd_over_chunks(cap: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "_CHUNK_LOGITS", 32 * 1300)
    generator = torch.Generator().manual_seed(1)
    rows = 3 * chunks.chunk_rows(1300) + 5
    assert rows == 3 * 32 + 5
    hidden = torch.randn(rows, 8, dtype=torch.float64, generator=generator).requires_grad_()
    weight = torch.randn(1300, 8, dtype=torch.float64, generator=generator)
    row = torch.tensor([0, 0, 0, 1, 31, 32, 33, 33, rows - 1])
    token = torch.tensor([5, 5, 7, 0, 999, 2, 3, 4, 1299])
    coefficient = torch.tensor([1.0, 2.0, -0.5, 0.25, 3.0, 1.0, 1.0, 1.0, 0.5], dtype=torch.float64)
    logits = hidden @ weight.t()
    logprobs = (logits if cap is None else cap * (logits / cap).tanh()).log_softmax(-1)[row, token]
    (wanted,) = torch.autograd.grad(-(coefficient * logprobs).sum(), hidden)
    with torch.no_grad():
        got, _, d_hidden = head_backward(hidden.detach(), Head(weight, cap), row, token, coefficient)
        torch.testing.assert_close(got, logprobs.detach(), rtol=0, atol=1e-12)
        torch.testing.assert_close(d_hidden, wanted, rtol=0, atol=1e-12)
        torch.testing.assert_close(head_forward(hidden.detach(), Head(weight, cap), row, token), logprobs.detach(), rtol=0, atol=1e-12)


def test_norm_and_rotation_equal_autograd() -> None:
    x = torch.randn(9, 4, 16, dtype=torch.float64, requires_grad=True)
    weight, d_y = torch.randn(16, dtype=torch.float64), torch.randn(9, 4, 16, dtype=torch.float64)
    wanted = torch.nn.functional.rms_norm(x, (16,), weight, 1e-5)
    (d_x,) = torch.autograd.grad(wanted, x, d_y)
    with torch.no_grad():
        scale = rms_scale(x, 1e-5)
        torch.testing.assert_close(rms_apply(x, scale, weight), wanted.detach(), rtol=0, atol=1e-13)
        torch.testing.assert_close(rms_backward(d_y, x, scale, weight), d_x, rtol=0, atol=1e-13)
    cos, sin = rotary_angles(torch.rand(8), torch.arange(9), torch.float64)
    turned = rotate(x.detach(), cos, sin)
    torch.testing.assert_close(torch.linalg.vector_norm(turned, dim=-1), torch.linalg.vector_norm(x.detach(), dim=-1), rtol=0, atol=1e-6)
    part = rotate(x.detach(), cos[..., :5], sin[..., :5])
    assert torch.equal(part[..., 10:], x.detach()[..., 10:])
    inner = (turned * d_y).sum()
    torch.testing.assert_close((x.detach() * rotate_backward(d_y, cos, sin)).sum(), inner, rtol=1e-12, atol=1e-12)
