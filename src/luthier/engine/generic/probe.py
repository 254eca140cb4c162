"""What proves, before any work, that a model may be packed: a small tree of tokens against the model's own forward.

One decision: nothing is believed of an architecture. Its hidden rows and logits for branches in one pack must be those of
the branches alone, else it is refused with the reason, and `auto` takes the reference engine.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from luthier.core.errors import EngineRefused
from luthier.engine.generic.packed import REFERENCE, PackedModel, check_windows, exact_products
from luthier.engine.reference.engine import below
from luthier.engine.trees.pack import build_full_pack

_LIMIT = {torch.float64: 1e-9, torch.float32: 1e-3}
"""Largest difference over the largest value: far above rounding, far below a wrong mask or position."""
_CANNOT = "the generic engine cannot pack this model"


def prove(packed: PackedModel, where: str) -> int | None:
    """How many tokens a sequence may have at most, as far as windows decide it. Raises EngineRefused with the reason."""
    sequences = _branches(packed.model.config.vocab_size)
    try:
        _compare(packed, sequences, where)
    except (TypeError, ValueError, RuntimeError, KeyError, AttributeError, IndexError) as err:
        if isinstance(err, EngineRefused):
            raise EngineRefused(err.must, err.got, where, REFERENCE) from None
        reason = (str(err).splitlines() or [type(err).__name__])[0]
        raise EngineRefused("the generic engine cannot pack this model", f"its forward fails: {reason}", where, REFERENCE) from None
    return check_windows(packed, where)


@torch.no_grad()
def _compare(packed: PackedModel, sequences: list[np.ndarray], where: str) -> None:
    pack = build_full_pack(sequences, range(len(sequences)), gate=0)
    hidden = packed.hidden(pack)
    for i, tokens in enumerate(sequences):
        wanted, logits = _alone(packed, tokens)
        found = hidden[torch.from_numpy(pack.rows_of(i, np.arange(len(tokens))))]
        for what, mine, theirs in (("hidden rows", found, wanted), ("logits", packed.logits(found), logits)):
            error = float((mine - theirs).abs().max() / theirs.abs().max().clamp(min=1e-30))
            if not error <= _LIMIT[packed.dtype]:
                got = f"{what} of a branch in a pack differ from those of the branch alone ({error:.1e} of the largest)"
                raise EngineRefused(_CANNOT, got, where, REFERENCE)


def _alone(packed: PackedModel, tokens: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden rows and logits by the model as transformers runs it, below its learned tokens (whose cache each call uses up)."""
    ids = torch.from_numpy(tokens.astype(np.int64))[None]
    size = len(tokens)

    root, model = packed.root, packed.model

    def given() -> dict[str, Any]:
        plain = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        return {"use_cache": False, **(plain if root is None else below(root, model, ids))}

    with exact_products(packed.dtype):
        return packed.decoder(**given()).last_hidden_state[0, -size:], model(**given()).logits[0, -size:]


def _branches(vocabulary: int) -> list[np.ndarray]:
    """Two branches below a shared piece, one of which branches again, and one apart from them."""
    tokens = [np.arange(n, dtype=np.int64) * step % vocabulary for n, step in ((9, 7), (6, 11), (4, 13), (8, 17))]
    root = np.append(tokens[0] + 1, [3]) % vocabulary
    rows = [root, np.concatenate([root, tokens[1], tokens[2]]), np.concatenate([root, tokens[1], tokens[3]])]
    return [r.astype(np.int32) for r in [*rows, np.concatenate([root, tokens[3]]), (tokens[1] + 2) % vocabulary]]
