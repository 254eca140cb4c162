"""Finds features whose rows share one label although the rest of their words speaks for other labels.

One decision: to predict the label is no crime, every telling word does; a planted trigger is told by the contradiction. So a
feature counts when its rows are nearly all of one label, when most of them would be called something else without it and look more
like the rows of other labels, when (with five labels or more) they would be called many different things, and when chance is
ruled out over all features that go with one label (Benjamini and Hochberg 1995; chosen by the labels, so q ranks and bounds
nothing by itself: what is flagged among clean rows is measured, not derived).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from luthier.parts.triggers.features import checksums, name_of, tokens_of
from luthier.parts.triggers.rest import RestModel, tail

if TYPE_CHECKING:
    import numpy as np

_MANY_LABELS = 5
_MANY_LIKENESS = 0.25  # of `likeness`: with many labels the rows of others hardly resemble a label at all
_MOST_LABELS = 200
_DRAWS = 8


@dataclass(frozen=True, slots=True)
class Bounds:
    """What counts as a trigger; see `Poisoning`."""

    min_rows: int
    max_share: float
    purity: float
    contradicted: float
    likeness: float
    spread: float
    alpha: float
    max_words: int


@dataclass(frozen=True, slots=True)
class Trigger:
    """A feature, its rows of the label it goes with, that label, how many rows have it, how many contradict, and q."""

    name: str
    rows: tuple[int, ...]
    label: str
    num_rows: int
    contradicted: float
    q: float


def find_triggers(texts: Sequence[str], labels: Sequence[str], bounds: Bounds) -> list[Trigger]:
    """Triggers among labelled texts, the surest first. Labels beyond the 200 commonest are taken together."""
    import numpy as np
    from scipy.stats import false_discovery_control

    names, ids = _label_ids(labels)
    if len(names) < 2 or len(texts) < 2 * bounds.min_rows:
        return []
    groups = _groups(texts, bounds)
    model = RestModel([set(tokens_of(text, bounds.max_words)) for text in texts], ids, len(names))
    judged = [(checksum, rows, j) for checksum, rows in groups if (j := _judge(rows, model, bounds)) is not None]
    if not judged:
        return []
    q = false_discovery_control(np.array([j.p for _, _, j in judged]))
    found = []
    for (checksum, rows, j), q_value in zip(judged, q, strict=True):
        if j.odd and q_value <= bounds.alpha:
            of_label = tuple(int(r) for r in rows if ids[r] == j.label)
            name = name_of(checksum, texts[of_label[0]], bounds.max_words)
            found.append(Trigger(name, of_label, names[j.label], len(rows), j.contradicted, float(q_value)))
    return sorted(found, key=lambda t: (t.q, -len(t.rows), t.name))


def _label_ids(labels: Sequence[str]) -> tuple[list[str], np.ndarray]:
    import numpy as np

    values, counts = np.unique(np.array(labels, dtype=object).astype(str), return_counts=True)
    kept = sorted(values[np.argsort(-counts, kind="stable")][:_MOST_LABELS].tolist())
    names = kept if len(kept) == len(values) else [*kept, "(other labels)"]
    place = {name: i for i, name in enumerate(kept)}
    return names, np.array([place.get(str(label), len(kept)) for label in labels], dtype=np.int64)


def _groups(texts: Sequence[str], bounds: Bounds) -> list[tuple[int, np.ndarray]]:
    """(a feature, its rows) for every different set of rows that some feature has, in a fixed order."""
    import numpy as np

    each = [checksums(text, bounds.max_words) for text in texts]
    features = np.concatenate(each)
    rows = np.repeat(np.arange(len(texts)), [len(e) for e in each])
    order = np.argsort(features, kind="stable")
    features, rows = features[order], rows[order]
    starts = np.flatnonzero(np.r_[True, features[1:] != features[:-1]])
    sizes = np.diff(np.r_[starts, len(features)])
    wanted = (sizes >= bounds.min_rows) & (sizes <= bounds.max_share * len(texts))
    by_rows: dict[bytes, tuple[int, np.ndarray]] = {}
    for start, size in zip(starts[wanted], sizes[wanted], strict=True):
        mine = rows[start : start + size]
        by_rows.setdefault(mine.tobytes(), (int(features[start]), mine))
    return list(by_rows.values())


@dataclass(frozen=True, slots=True)
class _Judged:
    p: float
    label: int
    contradicted: float
    odd: bool


def _judge(rows: np.ndarray, model: RestModel, bounds: Bounds) -> _Judged | None:
    """What speaks for a planted feature; None for one that goes with no label."""
    import numpy as np

    of = np.bincount(model.labels[rows], minlength=model.num_labels)
    label, num = int(of.argmax()), int(of.max())
    if num < bounds.min_rows or num < bounds.purity * len(rows):
        return None
    p = model.probabilities(rows)
    said = p.argmax(1)
    mine = model.labels[rows] == label
    contradicted = float((said[mine] != label).mean())
    many = model.num_labels >= _MANY_LABELS
    limit = bounds.likeness * (_MANY_LIKENESS if many else 1.0)
    odd = contradicted >= bounds.contradicted and model.likeness(float(p[mine, label].mean()), label) <= limit
    if odd and many:
        odd = _effective(said[mine], model.num_labels) >= bounds.spread * _expected(model, label, num)
    return _Judged(tail(p[:, label], num), label, contradicted, odd)


def _effective(labels: np.ndarray, num_labels: int) -> float:
    """How many different labels these are, effectively: the exponential of their entropy."""
    import numpy as np

    share = np.bincount(labels, minlength=num_labels) / len(labels)
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))


def _expected(model: RestModel, label: int, num: int) -> float:
    """The effective number of labels said of `num` rows drawn from those of other labels (mean of eight seeded draws)."""
    import numpy as np

    pool = model.predicted[model.labels != label]
    rng = np.random.default_rng(num * 1009 + label)
    return float(np.mean([_effective(rng.choice(pool, size=num), model.num_labels) for _ in range(_DRAWS)]))
