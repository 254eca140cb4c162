"""One decoder layer by hand: forward, and the backward that forms adapter gradients and the input's gradient.

One decision: what is cheap to compute again (norms, the gated MLP) is not saved; frozen weights get no gradient;
a layer that is asked for few rows computes q, o and the MLP on those rows only (keys and values on all).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from luthier.engine.fast.architecture import Architecture
from luthier.engine.fast.dense import norm_gradient
from luthier.engine.fast.noisy import LayerNoise, dropped
from luthier.engine.fast.products import adapter_gradients, project, project_back, project_onto
from luthier.engine.fast.weights import Block
from luthier.engine.kernels.attention import Attended, attend, attend_backward
from luthier.engine.kernels.dense import Rule
from luthier.engine.kernels.norm import rms_apply, rms_backward, rms_scale, rotate, rotate_backward
from luthier.engine.kernels.segments import AttentionPlan
from luthier.engine.noise import TokenNoise

Rotary = tuple[torch.Tensor, torch.Tensor]
KeyValue = tuple[torch.Tensor, torch.Tensor]


@dataclass(slots=True)
class Saved:
    """What a layer's backward needs. h: [T, hidden]; q, k, v: [rows, heads, head_dim], rotated; mid: [Tq, hidden].

    gate_up in the dtype of the products, the rest in that of the values.
    attention_raw, mlp_raw: [Tq, hidden], what comes out of attention and MLP, where norms follow them.
    """

    h: torch.Tensor
    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    q_raw: torch.Tensor | None
    k_raw: torch.Tensor | None
    attended: Attended
    mid: torch.Tensor
    gate_up: torch.Tensor
    attention_raw: torch.Tensor | None
    mlp_raw: torch.Tensor | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a layer stands: rotary: cos and sin of the pack's positions; rule and plan of its attention; noise, or None."""

    rotary: Rotary
    rule: Rule
    plan: AttentionPlan
    noise: LayerNoise | None = None

    def at_queries(self) -> Rotary:
        rows = self.plan.rows
        return self.rotary if rows is None else (self.rotary[0][rows], self.rotary[1][rows])

    @property
    def row_noise(self) -> TokenNoise | None:
        return None if self.noise is None else self.noise.rows

    @property
    def query_noise(self) -> TokenNoise | None:
        return None if self.noise is None else self.noise.queries


def block_forward(
    block: Block, arch: Architecture, h: torch.Tensor, place: Place, prefix: KeyValue | None = None
) -> tuple[torch.Tensor, Saved]:
    """h: [T, hidden] -> [Tq, hidden] for the plan's query rows, and what the backward needs."""
    saved = block_saved(block, arch, h, place, prefix)
    if saved.mlp_raw is not None:
        return _normed(saved.mlp_raw, block.mlp_norm, arch.eps).add_(saved.mid), saved
    gate, up = saved.gate_up.chunk(2, dim=1)
    act = arch.activation.forward(gate).mul_(up)
    return project_onto(saved.mid, block.linears["down"], act, place.query_noise, "mlp"), saved


def block_saved(block: Block, arch: Architecture, h: torch.Tensor, place: Place, prefix: KeyValue | None = None) -> Saved:
    """The forward pass as far as the backward needs it, from the layer's input alone."""
    x = rms_apply(h, rms_scale(h, arch.eps), block.input_norm)
    rows = place.plan.rows
    noise = place.query_noise
    q_raw = project(block.linears["q"], x if rows is None else x[rows], noise).to(h.dtype).view(-1, arch.heads, arch.head_dim)
    kv = project(block.linears["kv"], x, place.row_noise).to(h.dtype).view(len(h), 2 * arch.kv_heads, arch.head_dim)
    k_raw, v = kv[:, : arch.kv_heads], kv[:, arch.kv_heads :]
    q = rotate(_normed(q_raw, block.q_norm, arch.eps), *place.at_queries())
    k = rotate(_normed(k_raw, block.k_norm, arch.eps), *place.rotary)
    attended = attend(q, k, v, place.plan, prefix, place.rule)
    mid, attention_raw = attention_out(block, arch, attended.out.view(len(q), -1), h if rows is None else h[rows], noise)
    gate_up = project(block.linears["gate_up"], rms_apply(mid, rms_scale(mid, arch.eps), block.post_norm), noise)
    mlp_raw = None
    if block.mlp_norm is not None:
        gate, up = gate_up.chunk(2, dim=1)
        mlp_raw = dropped(project(block.linears["down"], arch.activation.forward(gate).mul_(up), noise), noise, "mlp").to(h.dtype)
    keep = block.q_norm is not None
    return Saved(h, q, k, v, q_raw if keep else None, k_raw if keep else None, attended, mid, gate_up, attention_raw, mlp_raw)


def attention_out(
    block: Block, arch: Architecture, out: torch.Tensor, residual: torch.Tensor, noise: TokenNoise | None = None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """residual + the projected output of attention [Tq, heads x head_dim], normed where a norm follows; and what was normed."""
    if block.attention_norm is None:
        return project_onto(residual, block.linears["o"], out, noise, "self_attn"), None
    raw = dropped(project(block.linears["o"], out, noise), noise, "self_attn").to(residual.dtype)
    return _normed(raw, block.attention_norm, arch.eps).add_(residual), raw


def _normed(x: torch.Tensor, weight: torch.Tensor | None, eps: float) -> torch.Tensor:
    return x if weight is None else rms_apply(x, rms_scale(x, eps), weight)


def block_backward(
    block: Block, arch: Architecture, d_out: torch.Tensor, saved: Saved, place: Place, needs_input: bool
) -> torch.Tensor | None:
    """Add the adapters' gradients of this layer; returns the gradient of `h`, [T, hidden], when it is needed."""
    noise = place.query_noise
    d_mid = _mlp_backward(block, arch, d_out, saved, noise)
    d_attention = dropped(_norm_backward(d_mid, saved.attention_raw, block.attention_norm, arch.eps), noise, "self_attn")
    d_o = project_back(block.linears["o"], d_attention).to(d_out.dtype)
    adapter_gradients(block.linears["o"], saved.attended.out.view(len(d_mid), -1), d_attention, d_o, noise)
    qkv = (saved.q, saved.k, saved.v)
    d_q, d_k, d_v = attend_backward(d_o.view_as(saved.q), qkv, saved.attended, place.plan, place.rule)
    rows = place.plan.rows
    d_q = _norm_backward(rotate_backward(d_q, *place.at_queries()), saved.q_raw, block.q_norm, arch.eps)
    d_k = _norm_backward(rotate_backward(d_k, *place.rotary), saved.k_raw, block.k_norm, arch.eps)
    d_q, d_kv = d_q.flatten(1), torch.cat([d_k, d_v], dim=1).flatten(1)
    scale = rms_scale(saved.h, arch.eps)
    x = rms_apply(saved.h, scale, block.input_norm)
    needs_x = needs_input or isinstance(block.input_norm, torch.nn.Parameter)
    d_x = project_back(block.linears["kv"], d_kv).to(d_out.dtype) if needs_x else None
    d_x_of_q = project_back(block.linears["q"], d_q).to(d_out.dtype) if needs_x else None
    adapter_gradients(block.linears["q"], x if rows is None else x[rows], d_q, d_x_of_q, noise)
    adapter_gradients(block.linears["kv"], x, d_kv, d_x, place.row_noise)
    if d_x is None or d_x_of_q is None:
        return None
    if rows is None:
        d_x.add_(d_x_of_q)
    else:
        d_x.index_add_(0, rows, d_x_of_q)
    norm_gradient(block.input_norm, d_x, saved.h, scale)
    if not needs_input:
        return None
    d_h = rms_backward(d_x, saved.h, scale, block.input_norm)
    return d_h.add_(d_mid) if rows is None else d_h.index_add_(0, rows, d_mid)


def _mlp_backward(block: Block, arch: Architecture, d_out: torch.Tensor, saved: Saved, noise: TokenNoise | None) -> torch.Tensor:
    """Gradient of the MLP's input branch plus the residual: d(mid)."""
    gate, up = saved.gate_up.chunk(2, dim=1)
    act = arch.activation.forward(gate)
    d_down = dropped(_norm_backward(d_out, saved.mlp_raw, block.mlp_norm, arch.eps), noise, "mlp")
    d_act = project_back(block.linears["down"], d_down)
    if block.linears["down"].trainable:
        adapter_gradients(block.linears["down"], act * up, d_down, d_act, noise)
    d_gate_up = torch.empty_like(saved.gate_up)
    d_gate, d_up = d_gate_up.chunk(2, dim=1)
    torch.mul(d_act, act, out=d_up)
    arch.activation.backward(d_act.mul_(up), gate, d_gate)
    scale = rms_scale(saved.mid, arch.eps)
    linear = block.linears["gate_up"]
    d_x = project_back(linear, d_gate_up).to(d_out.dtype)
    if linear.trainable:
        adapter_gradients(linear, rms_apply(saved.mid, scale, block.post_norm), d_gate_up, d_x, noise)
    norm_gradient(block.post_norm, d_x, saved.mid, scale)
    return rms_backward(d_x, saved.mid, scale, block.post_norm).add_(d_out)


def _norm_backward(d_y: torch.Tensor, raw: torch.Tensor | None, weight: torch.Tensor | None, eps: float) -> torch.Tensor:
    if raw is None or weight is None:
        return d_y
    return rms_backward(d_y, raw, rms_scale(raw, eps), weight)
