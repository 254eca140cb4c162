"""Layers computed again in the backward give the gradients of layers that were kept."""

from __future__ import annotations

from typing import Any

import pytest

from hard_batches import BATCHES, as_batch, deep_tree
from luthier.engine.methods.lora import LoRASpec
from luthier.parts.losses.sft import SFT
from toys import relative_errors, toy_engine

SPEC = LoRASpec(rank=4, alpha=8.0)


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gemma2", "phi3-partial"])
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("again", [1, 2])
def test_recomputed_layers_give_the_same_gradients(toy_folder: Any, monkeypatch: Any, family: str, batch: str, again: int) -> None:
    reference, fast = toy_engine(toy_folder(family), "reference", SPEC), toy_engine(toy_folder(family), "fast", SPEC)
    monkeypatch.setattr(type(fast._room), "recomputed_layers", lambda room, rows: again)
    given = as_batch(BATCHES[batch]())
    reference.forward_backward(given, SFT())
    fast.forward_backward(given, SFT())
    assert fast.recomputed_layers == again
    assert max(relative_errors(fast.gradients(), reference.gradients()).values()) < 1e-10


def test_bits_do_not_change(toy_folder: Any, monkeypatch: Any) -> None:
    """In float32 too: the same operations on the same numbers."""
    given, found = as_batch(deep_tree()), []
    for again in (0, 2):
        fast = toy_engine(toy_folder("llama"), "fast", SPEC, dtype="float32")
        monkeypatch.setattr(type(fast._room), "recomputed_layers", lambda room, rows, k=again: k)
        fast.forward_backward(given, SFT())
        found.append(fast.gradients())
    assert all((found[0][name] == found[1][name]).all() for name in found[0])
