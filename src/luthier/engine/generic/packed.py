"""A transformers decoder over a prefix-tree pack: hidden rows and logits, with torch's graph.

One decision: two ways to keep branches apart. Models that use transformers' attention interface get tree attention; of the
others only those named here get a dense mask of the pack, because a window or a bias of their own would go unnoticed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from luthier.core.errors import EngineRefused
from luthier.engine.generic.attention import TREE, TREE_ARGUMENT, Tree, tree_attention
from luthier.engine.kernels.segments import plan_attention
from luthier.engine.methods.contract import Root
from luthier.engine.trees.pack import Pack

MASKED = ("falcon",)
"""Decoders with an attention of their own, whose branches a dense mask keeps apart exactly, by `model_type`."""
REFERENCE = "use execution.engine=reference"
_PACKED = "the generic engine packs models that use transformers' attention interface, and " + ", ".join(MASKED)


class PackedModel:
    """`model`: a transformers decoder with its output layer, in evaluation mode. Raises EngineRefused for one that cannot be packed.

    root: learned tokens above everything in a pack, which are computed once for all of it.
    """

    def __init__(self, model: Any) -> None:
        self.model, self.decoder, self.head = model, model.get_decoder(), model.get_output_embeddings()
        self.plain = model.config._attn_implementation
        self.masked = model.config.model_type in MASKED
        self.windows: tuple[int | None, ...] = ()
        self.root: Root | None = None
        if self.head is None:
            raise EngineRefused(_PACKED, "a model without an output layer", fix=REFERENCE)
        if getattr(model.config, "alibi", False):
            raise EngineRefused(
                _PACKED, f"{model.config.model_type} with ALiBi, whose distances are between rows of a batch, not positions", fix=REFERENCE
            )
        if not self.masked:
            if not model._can_set_attn_implementation():
                raise EngineRefused(_PACKED, model.config.model_type, fix=REFERENCE)
            from transformers import AttentionInterface

            AttentionInterface.register(TREE, tree_attention)

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    def hidden(self, pack: Pack) -> torch.Tensor:
        """Rows after the final norm, [T, hidden]."""
        nodes, positions = below_root(pack, self.root.num_tokens if self.root else 0)
        first, learned = len(positions) - pack.num_rows, self.root.keys_values() if self.root else None
        inputs = self._inputs(pack)
        given = {**inputs, "position_ids": torch.from_numpy(positions[first if "input_ids" in inputs else 0 :])[None], "use_cache": False}
        if self.masked:
            if learned is not None:
                raise EngineRefused(_PACKED, f"{self.model.config.model_type} with learned keys and values")
            with exact_products(self.dtype):
                out = self.decoder(**given, attention_mask=dense_mask(nodes, self.dtype))
            return out.last_hidden_state[0, -pack.num_rows :]
        rows = np.arange(first, len(positions)) if learned is not None else None  # learned keys have no queries
        tree = Tree(plan_attention(nodes, positions, rows), learned)
        with self._tree_attention():
            out = self.decoder(**given, **{TREE_ARGUMENT: tree})
        self.windows = tuple(tree.windows)
        return out.last_hidden_state[0, -pack.num_rows :]

    def _inputs(self, pack: Pack) -> dict[str, torch.Tensor]:
        """The pack's tokens, or their embeddings behind learned ones."""
        ids = torch.from_numpy(pack.tokens)[None]
        learned = self.root.embeddings() if self.root else None
        if learned is None:
            return {"input_ids": ids}
        return {"inputs_embeds": torch.cat([learned[None], self.model.get_input_embeddings()(ids)], 1)}

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """[U, vocabulary] of hidden rows [U, hidden], with what the model does to its logits (Gemma, Cohere, Granite)."""
        logits, config = self.head(hidden), self.model.config
        cap, times, over = (getattr(config, name, None) for name in ("final_logit_softcapping", "logit_scale", "logits_scaling"))
        logits = logits if times is None else logits * times
        logits = logits if over is None else logits / over
        return logits if cap is None else cap * torch.tanh(logits / cap)

    @contextmanager
    def _tree_attention(self) -> Iterator[None]:
        self.model.set_attn_implementation(TREE)
        try:
            yield
        finally:
            self.model.set_attn_implementation(self.plain)


@contextmanager
def exact_products(dtype: torch.dtype) -> Iterator[None]:
    """In float64 torch's attention by plain products, whose every step is float64."""
    if dtype != torch.float64:
        yield
        return
    with sdpa_kernel(SDPBackend.MATH):
        yield


def below_root(pack: Pack, num: int) -> tuple[np.ndarray, np.ndarray]:
    """The pack's nodes [N + 1, 3] and positions [num + T] with `num` learned rows above all its trees; as they are for 0."""
    if not num:
        return pack.nodes, pack.positions
    root = np.array([[0, num, num + pack.num_rows]])
    return np.concatenate([root, pack.nodes + num]), np.concatenate([np.arange(num), pack.positions + num])


def dense_mask(nodes: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
    """[1, 1, T, T], added to scores: 0 where a row is the key's or below it, the smallest number elsewhere."""
    size = int(nodes[:, 1].max())
    seen = torch.zeros(size, size, dtype=torch.bool)
    for start, end, last in nodes.tolist():
        seen[start:last, start:end] = True
    return torch.zeros(1, 1, size, size, dtype=dtype).masked_fill_(~seen.tril_(), torch.finfo(dtype).min)


def check_windows(packed: PackedModel, where: str) -> int | None:
    """Tokens that a sequence may have where the model's windows are not handed to its attention; None without a limit.

    Raises EngineRefused for layers that are not attention over all or the nearest tokens.
    """
    config = packed.model.config
    kinds, window = getattr(config, "layer_types", None), getattr(config, "sliding_window", None)
    odd = sorted(set(kinds or ()) - {"full_attention", "sliding_attention"})
    if odd:
        raise EngineRefused("the generic engine cannot pack this model", f"layers of {', '.join(odd)}", where, REFERENCE)
    if window is None or (kinds is not None and "sliding_attention" not in kinds):
        return None
    wanted = [window if kind == "sliding_attention" else None for kind in kinds] if kinds else [window] * len(packed.windows)
    return None if list(packed.windows) == wanted else window
