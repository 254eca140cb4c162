"""How many rows of logits exist at once: read by the head, and by the memory model, which imports no torch."""

from __future__ import annotations

_CHUNK_LOGITS = 12_000_000
"""Most logits alive at once."""


def chunk_rows(vocabulary: int) -> int:
    """Rows of a chunk."""
    return max(32, _CHUNK_LOGITS // vocabulary)
