"""Many tests at once: p-values adjusted so that several metrics or candidates do not find a gain by luck.

One decision: what comes back are adjusted p-values, each to be compared with the level itself. Holm bounds the chance of any
false finding (for a decision); Benjamini and Hochberg bound the share of false ones among the findings (for a look around).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from luthier.core.errors import UserError


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's step-down adjusted p-values [m] (Scandinavian Journal of Statistics 6 (1979) 65-70), valid under any dependence."""
    p = _checked(p_values)
    order = np.argsort(p, kind="stable")
    raised = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return _placed(raised, order)


def benjamini_hochberg(p_values: Sequence[float]) -> np.ndarray:
    """Step-up adjusted p-values [m] of the false discovery rate (JRSS B 57 (1995) 289-300).

    Valid for independent tests and for positively dependent ones, as metrics of the same rows are.
    """
    p = _checked(p_values)
    order = np.argsort(p, kind="stable")
    raised = p[order] * len(p) / np.arange(1, len(p) + 1)
    return _placed(np.minimum.accumulate(raised[::-1])[::-1], order)


def _checked(p_values: Sequence[float]) -> np.ndarray:
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise UserError("p-values must be numbers in [0, 1]", p.tolist())
    return p


def _placed(in_order: np.ndarray, order: np.ndarray) -> np.ndarray:
    out = np.empty_like(in_order)
    out[order] = np.minimum(in_order, 1.0)
    return out
