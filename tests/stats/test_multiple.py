"""Adjusted p-values against statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from luthier.core.errors import UserError
from luthier.stats.multiple import benjamini_hochberg, holm


@pytest.mark.parametrize(("adjust", "name"), [(holm, "holm"), (benjamini_hochberg, "fdr_bh")])
@pytest.mark.parametrize("size", [1, 2, 7, 60])
def test_adjusted_p_values_equal_statsmodels(adjust, name: str, size: int) -> None:
    p = np.random.default_rng(size).beta(0.5, 2, size)
    p[: size // 3] = p[-1]  # ties
    assert adjust(p) == pytest.approx(multipletests(p, method=name)[1], abs=1e-14)


@pytest.mark.parametrize("adjust", [holm, benjamini_hochberg])
def test_nothing_and_nonsense(adjust) -> None:
    assert len(adjust([])) == 0
    for bad in ([1.1], [-0.1], [float("nan")], [[0.1]]):
        with pytest.raises(UserError, match="p-values"):
            adjust(bad)
