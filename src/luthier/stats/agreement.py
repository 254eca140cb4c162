"""Do people (or judges) who rated the same items agree beyond chance? Cohen's kappa and Krippendorff's alpha.

One decision: both are functions of per-item counts, so the interval is the BCa bootstrap over items like every other
(Zapf et al. 2016, BMC Medical Research Methodology 16:93); ratings that cannot disagree have no agreement and are refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np

from luthier.core.errors import UserError
from luthier.stats.intervals import Estimate, Resampling, Statistic, bca

Weights = Literal["none", "linear", "quadratic"]
Level = Literal["nominal", "ordinal", "interval"]
MOST_ORDERED = 30
_BOUNDS = (-1.0, 1.0)


def cohen_kappa(
    first: Sequence[Hashable],
    second: Sequence[Hashable],
    weights: Weights = "none",
    order: Sequence[Hashable] | None = None,
    options: Resampling = Resampling(),  # noqa: B008 - frozen
) -> Estimate:
    """Agreement of two raters on the same items beyond chance (Cohen 1960; weighted: Cohen 1968), with its BCa interval.

    first, second: one rating per item. weights: how much a disagreement costs by the distance of its ranks in `order`, the
    scale from lowest to highest, which linear and quadratic weights need. 1 is perfect, 0 is chance.
    Raises UserError for no items, a missing rating, a rating outside `order`, or when both raters only ever gave one same rating.
    """
    if len(first) != len(second) or not len(first):
        raise UserError("both raters must have rated the same items, at least one", f"{len(first)} and {len(second)} ratings")
    if any(rating is None for rating in (*first, *second)):
        raise UserError("Cohen's kappa needs both ratings of every item", "a missing one", fix="use Krippendorff's alpha")
    if weights != "none" and order is None:
        raise UserError(f"{weights} weights need the scale", "no `order`", fix="give `order`, from the lowest rating to the highest")
    values = _scale([*first, *second], order)
    cost = _costs(len(values), weights)
    a, b = _ranks(first, values), _ranks(second, values)
    k, eye = len(values), np.eye(len(values))
    counts = np.concatenate([cost[a, b][:, None], eye[a], eye[b]], axis=1)

    def kappa(totals: np.ndarray) -> np.ndarray:
        ones, twos = totals[..., 1 : k + 1], totals[..., k + 1 :]
        by_chance = ((ones @ cost) * twos).sum(-1) / ones.sum(-1)
        return 1 - totals[..., 0] / by_chance

    return _estimate(counts, kappa, options)


def krippendorff_alpha(
    ratings: Sequence[Sequence[Hashable | None]],
    level: Level = "nominal",
    order: Sequence[Hashable] | None = None,
    options: Resampling = Resampling(),  # noqa: B008 - frozen
) -> Estimate:
    """Agreement of any number of raters, of whom any may skip an item (Krippendorff 2011), with its BCa interval over items.

    ratings: [item][rater], None where a rater gave none; items with fewer than two ratings tell nothing and are not in `n`.
    level: nominal (equal or not), ordinal (ranks in `order`, or of sorted numbers), interval (numbers).
    Raises UserError when no item has two ratings, all ratings are equal, or a rating does not fit the level.
    """
    given = [[r for r in item if r is not None] for item in ratings]
    paired = [item for item in given if len(item) >= 2]
    if not paired:
        raise UserError("at least one item with two ratings is needed", f"{len(given)} items, none rated twice")
    if level == "interval":
        return _interval_alpha(paired, options)
    values = _scale([r for item in paired for r in item], order, numbers=level == "ordinal" and order is None)
    of_item = np.zeros((len(paired), len(values)))
    for i, item in enumerate(paired):
        np.add.at(of_item[i], _ranks(item, values), 1)
    return _nominal_alpha(of_item, options) if level == "nominal" else _ordinal_alpha(of_item, options)


def _nominal_alpha(of_item: np.ndarray, options: Resampling) -> Estimate:
    """of_item: [items, values] ratings. Observed disagreement of an item: its unequal pairs over (its ratings - 1)."""
    size = of_item.sum(1)
    unequal = (size**2 - (of_item**2).sum(1)) / (size - 1)

    def alpha(totals: np.ndarray) -> np.ndarray:
        n = totals[..., 1:].sum(-1)
        by_chance = (n**2 - (totals[..., 1:] ** 2).sum(-1)) / (n - 1)
        return 1 - totals[..., 0] / by_chance

    return _estimate(np.concatenate([unequal[:, None], of_item], axis=1), alpha, options)


def _ordinal_alpha(of_item: np.ndarray, options: Resampling) -> Estimate:
    """The distance of two ranks depends on how many ratings lie between them, so the whole coincidence matrix is counted."""
    k = of_item.shape[1]
    if k > MOST_ORDERED:
        raise UserError(f"an ordinal scale may have at most {MOST_ORDERED} values", k, fix="use level interval")
    pairs = of_item[:, :, None] * of_item[:, None, :] - of_item[:, :, None] * np.eye(k)
    pairs /= (of_item.sum(1) - 1)[:, None, None]

    def alpha(totals: np.ndarray) -> np.ndarray:
        matrix = totals.reshape(*totals.shape[:-1], k, k)
        margin = matrix.sum(-1)
        middle = margin.cumsum(-1) - margin / 2  # ratings below the middle of each rank
        distance = (middle[..., :, None] - middle[..., None, :]) ** 2
        by_chance = (margin[..., :, None] * margin[..., None, :] * distance).sum((-2, -1)) / (margin.sum(-1) - 1)
        return 1 - (matrix * distance).sum((-2, -1)) / by_chance

    return _estimate(pairs.reshape(len(pairs), k * k), alpha, options)


def _interval_alpha(paired: Sequence[Sequence[Hashable]], options: Resampling) -> Estimate:
    """Squared distances of all pairs are sums of squares: an item with ratings x has 2 (m sum x^2 - (sum x)^2)."""
    items = [np.array([_number(r) for r in item]) for item in paired]
    centre = np.concatenate(items).mean()
    sums = np.array([[len(x), (x - centre).sum(), ((x - centre) ** 2).sum()] for x in items])
    within = 2 * (sums[:, 0] * sums[:, 2] - sums[:, 1] ** 2) / (sums[:, 0] - 1)

    def alpha(totals: np.ndarray) -> np.ndarray:
        n, total, squares = totals[..., 1], totals[..., 2], totals[..., 3]
        by_chance = 2 * (n * squares - total**2) / (n - 1)
        return 1 - totals[..., 0] / by_chance

    return _estimate(np.concatenate([within[:, None], sums], axis=1), alpha, options)


def strength(value: float) -> str:
    """Words for a kappa or an alpha (Landis and Koch 1977): poor, slight, fair, moderate, substantial, almost perfect."""
    words = ((0.0, "poor"), (0.2, "slight"), (0.4, "fair"), (0.6, "moderate"), (0.8, "substantial"))
    return next((word for limit, word in words if value <= limit), "almost perfect")


def _estimate(counts: np.ndarray, statistic: Statistic, options: Resampling) -> Estimate:
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(statistic(counts.sum(axis=0)))
    if not np.isfinite(value):
        raise UserError("agreement beyond chance needs at least two different ratings", "one rating throughout")
    return bca(counts, statistic, None, options, _BOUNDS)


def _scale(ratings: Sequence[Hashable], order: Sequence[Hashable] | None, numbers: bool = False) -> list[Hashable]:
    """The distinct ratings: in `order`, sorted as numbers, or as first seen."""
    seen = list(Counter(ratings))
    if order is not None:
        if len(set(order)) != len(order):
            raise UserError("`order` must name each rating once", list(order))
        outside = [r for r in seen if r not in set(order)]
        if outside:
            raise UserError("every rating must be in `order`", f"{outside[0]!r}")
        return list(order)
    return sorted(seen, key=_number) if numbers else seen


def _number(rating: Hashable) -> float:
    if isinstance(rating, bool) or not isinstance(rating, (int, float, np.integer, np.floating)) or not np.isfinite(rating):
        raise UserError("ratings on this level must be numbers", repr(rating), fix="give `order` with level ordinal, or use level nominal")
    return float(rating)


def _ranks(ratings: Sequence[Hashable], values: Sequence[Hashable]) -> np.ndarray:
    rank = {value: i for i, value in enumerate(values)}
    return np.array([rank[r] for r in ratings])


def _costs(k: int, weights: Weights) -> np.ndarray:
    apart = np.abs(np.arange(k)[:, None] - np.arange(k)[None, :]).astype(np.float64)
    return {"none": (apart > 0).astype(np.float64), "linear": apart, "quadratic": apart**2}[weights]
