"""How far a value lies from the others: the modified z-score.

One decision: median and absolute deviations instead of mean and variance, so that the outliers that are looked for do not
hide themselves by widening the scale.
Source: B. Iglewicz and D. Hoaglin, How to Detect and Handle Outliers (ASQC, 1993), section 3.3.
"""

from __future__ import annotations

import numpy as np

CUSTOMARY = 3.5
"""The score from which Iglewicz and Hoaglin call a value an outlier."""
_PER_MEDIAN = 1.482602218505602  # of a normal distribution: standard deviation / median absolute deviation
_PER_MEAN = 1.2533141373155001  # of a normal distribution: standard deviation / mean absolute deviation


def modified_z(values: np.ndarray) -> np.ndarray:
    """float64 [n]: (value - median) in normal standard deviations, told from the median absolute deviation.

    Where more than half of the values are equal the mean absolute deviation scales; when all are, every score is 0.
    """
    distances = np.asarray(values, np.float64) - np.median(values) if len(values) else np.zeros(0)
    if not distances.any():
        return np.zeros(len(distances))
    scale = _PER_MEDIAN * np.median(np.abs(distances)) or _PER_MEAN * np.mean(np.abs(distances))
    return distances / scale if scale else np.zeros(len(distances))
