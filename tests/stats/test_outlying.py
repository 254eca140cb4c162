"""The modified z-score against scipy's median absolute deviation, and on values that leave no scale."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import median_abs_deviation

from luthier.stats.outlying import CUSTOMARY, modified_z


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-8000, 8000).map(lambda n: n / 8), min_size=1, max_size=30))
def test_it_is_the_distance_in_scaled_median_deviations(values: list[float]) -> None:
    x = np.array(values)
    scale = median_abs_deviation(x, scale="normal")
    if scale > 1e-6:
        np.testing.assert_allclose(modified_z(x), (x - np.median(x)) / scale, rtol=1e-9, atol=1e-9)
    assert np.isfinite(modified_z(x)).all()


def test_equal_values_have_no_outlier_and_a_lone_other_has_a_score() -> None:
    assert modified_z(np.full(9, 2.0)).tolist() == [0.0] * 9
    assert modified_z(np.array([])).tolist() == []
    scores = modified_z(np.array([1.0] * 19 + [2.0]))
    assert scores[:19].tolist() == [0.0] * 19
    assert scores[19] == pytest.approx(1 / (1.2533141373155001 / 20))
    assert scores[19] > CUSTOMARY


def test_normal_values_are_rarely_outliers() -> None:
    scores = modified_z(np.random.default_rng(3).normal(5, 2, 20_000))
    assert scores.std() == pytest.approx(1, abs=0.02)
    assert (np.abs(scores) > CUSTOMARY).mean() < 0.002  # 0.0005 under the normal distribution
