"""Tree attention as a function of transformers' attention interface, with its gradient by hand.

One decision: the function knows what it may be handed. An argument that would change a score and that it does not know,
a mask, or keys of another length are refused when the engine is built, never left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from luthier.core.errors import EngineRefused
from luthier.engine.kernels.attention import Attended, attend, attend_backward
from luthier.engine.kernels.dense import Rule
from luthier.engine.kernels.segments import AttentionPlan
from luthier.engine.methods.contract import KeyValue

TREE = "luthier_tree"
TREE_ARGUMENT = "luthier_tree"
_HARMLESS = frozenset({"dropout", "position_ids", "use_cache", "cache_position", "output_attentions", "is_causal", "return_dict"})
"""Arguments that layers pass on and that change nothing here: dropout is 0 in evaluation mode, positions are already in q and k."""


@dataclass(frozen=True, slots=True)
class Tree:
    """What every layer is handed for one pack. windows: filled in by each layer as it is computed.

    learned: keys and values of each layer, [kv_heads, num, head_dim], that stand before those of the pack; None without any.
    """

    plan: AttentionPlan
    learned: list[KeyValue] | None = None
    windows: list[int | None] = field(default_factory=list)


class _TreeAttention(torch.autograd.Function):
    """q: [T, heads, head_dim]; k, v: [num + T, kv_heads, head_dim]. Returns [T, heads, head_dim]."""

    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, plan: AttentionPlan, rule: Rule) -> torch.Tensor:
        done = attend(q, k, v, plan, None, rule)
        ctx.save_for_backward(q, k, v, done.out, done.lse)
        ctx.plan, ctx.rule = plan, rule
        return done.out

    @staticmethod
    def backward(ctx: Any, *d_outs: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v, out, lse = ctx.saved_tensors
        with torch.no_grad():
            grads = attend_backward(d_outs[0].contiguous(), (q, k, v), Attended(out, lse), ctx.plan, ctx.rule)
        return (*grads, None, None)


def tree_attention(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: torch.Tensor | None, **settings: Any
) -> tuple[torch.Tensor, None]:
    """transformers' signature. query: [1, heads, T, head_dim]; returns [1, T, heads, head_dim] and no weights."""
    tree: Tree | None = settings.pop(TREE_ARGUMENT, None)
    rule = Rule(settings.pop("scaling", None), settings.pop("softcap", None), settings.pop("sliding_window", None))
    unknown = sorted(name for name, given in settings.items() if given is not None and name not in _HARMLESS)
    odd = {
        "its layers do not hand on what a pack needs": tree is None,
        "it hands its attention a mask of its own": attention_mask is not None,
        f"its attention takes {', '.join(unknown)}": bool(unknown),
        "its keys are not those of the pack": key.shape[2] != query.shape[2],
        "its values are of another size than its keys": value.shape[3] != key.shape[3],
        "its attention is not causal": not getattr(module, "is_causal", True),
        "its layers do not know their numbers": tree is not None and tree.learned is not None and not hasattr(module, "layer_idx"),
    }
    for reason, holds in odd.items():
        if holds:
            raise EngineRefused("the generic engine cannot pack this model", reason)
    assert tree is not None
    tree.windows.append(rule.window)
    if tree.learned is not None:
        above = tree.learned[module.layer_idx]
        key, value = (torch.cat([own[None], x], 2) for own, x in zip(above, (key, value), strict=True))
    q, k, v = (x[0].transpose(0, 1).contiguous() for x in (query, key, value))
    return _TreeAttention.apply(q, k, v, tree.plan, rule)[None], None
