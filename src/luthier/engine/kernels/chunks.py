"""How many logits and attention scores exist at once: read by the kernels, and by the memory model, which imports no torch."""

from __future__ import annotations

_CHUNK_LOGITS = 12_000_000
"""Most logits alive at once."""
SCORES = 1 << 21
"""Most written-out attention scores alive at once, per tensor of them (a backward holds four)."""


def chunk_rows(vocabulary: int) -> int:
    """Rows of a chunk."""
    return max(32, _CHUNK_LOGITS // vocabulary)
