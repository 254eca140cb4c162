"""Semantic copies: texts whose embeddings point almost the same way (cosine at least a threshold).

One decision: the search is exact, block against block; with n texts it costs n * n / 2 dot products, and no approximate index
stands between a copy and being found. Embeddings are the mean of a small encoder's last layer, of unit length.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from luthier.parts.duplicates.near import Progress, joined, silent

_ROWS = 1024
_COLUMNS = 8192
_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class SemanticFinder:
    """embeddings: float32 [n, hidden] of unit length; rows of different `sides` (int64 [n]) are never copies."""

    embeddings: np.ndarray
    sides: np.ndarray
    threshold: float
    progress: Progress = silent

    def groups(self) -> np.ndarray:
        """int64 [n]: the smallest row of each row's cluster, joined by every pair at or above the threshold."""
        num = len(self.embeddings)
        group = np.arange(num)
        for top in range(0, num, _ROWS):
            for left in range(top, num, _COLUMNS):
                a, b = self._alike(top, left)
                group = joined(group, a, b)
            self.progress("comparing", min(top + _ROWS, num), num)
        return group

    def likeness(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """float64 [p]: the cosine of each pair; 0 for rows of different sides."""
        out = np.zeros(len(a))
        for at in range(0, len(a), _COLUMNS):
            part = slice(at, at + _COLUMNS)
            cosine = np.einsum("ph,ph->p", self.embeddings[a[part]], self.embeddings[b[part]])
            out[part] = np.where(self.sides[a[part]] == self.sides[b[part]], np.clip(cosine, -1, 1), 0)
        return out

    def _alike(self, top: int, left: int) -> tuple[np.ndarray, np.ndarray]:
        """Pairs (a < b) of one block at or above the threshold, judged as `likeness` judges them."""
        rows, columns = self.embeddings[top : top + _ROWS], self.embeddings[left : left + _COLUMNS]
        close = rows @ columns.T >= self.threshold - 1e-4
        a, b = np.nonzero(close)
        a, b = a + top, b + left
        later = a < b
        a, b = a[later], b[later]
        sure = self.likeness(a, b) >= self.threshold
        return a[sure], b[sure]


def embedded(texts: list[str], encoder: str, progress: Progress = silent) -> np.ndarray:
    """float32 [n, hidden] of unit length, by the base model called `encoder`. A text beyond what it reads is cut at its end.

    Raises UserError when the model is no encoder or a text holds lone surrogates, MachineError when it cannot be had.
    """
    from luthier.core.errors import UserError
    from luthier.core.execution import Execution
    from luthier.engine.contract import TokenSequence
    from luthier.engine.encoder.load import load_encoder
    from luthier.engine.models.resolve import resolve
    from luthier.engine.select import prepare_machine
    from luthier.engine.text.tokenizer import TextTokenizer

    model = resolve(encoder)
    if model.kind != "encoder":
        raise UserError("embeddings need an encoder", f"{encoder}, a {model.kind}", "encoder", "minilm-l6 is one")
    execution = Execution()
    engine = load_encoder(model.folder, None, None, execution, 0, prepare_machine(execution, "float32"))
    tokenizer = TextTokenizer.load(model.folder)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # rows of one length together: little padding
    out: np.ndarray | None = None
    for at in range(0, len(order), _AT_ONCE):
        part = order[at : at + _AT_ONCE]
        rows = [np.asarray(tokenizer.whole(texts[i], cut=(model.context_length, "end")), np.int32) for i in part]
        found = engine.embed([TokenSequence(r, np.zeros(len(r), np.float32)) for r in rows])
        out = np.empty((len(texts), found.shape[1]), np.float32) if out is None else out
        out[part] = found / np.linalg.norm(found, axis=1, keepdims=True)
        progress("embedding", min(at + _AT_ONCE, len(order)), len(order))
    return np.zeros((0, 1), np.float32) if out is None else out
