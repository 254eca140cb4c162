"""Class weights: a row counts more or less by its label.

One decision: a class weight multiplies the weights of the row's targets, as the row's own weight does, so the engine knows
nothing of labels. `balanced` is scikit-learn's: rows / (labels x rows of the label), over the training rows of the split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from luthier.core.artifacts import Dataset, Prepared
from luthier.core.canaries import PLANTED
from luthier.core.errors import UserError, did_you_mean
from luthier.core.records import Example
from luthier.core.rows import read_split
from luthier.core.stage import Built
from luthier.stages.train.loop import Rows
from luthier.stages.train.recipe import Recipe
from luthier.stages.train.regularisation import Regularisation

_WHERE = "train.regularisation.class_weights"
_SHOWN = 8


def weight_of_label(setting: Regularisation, rows: Sequence[Example]) -> dict[str, float]:
    """The weight of every label of the training rows, by label; empty without class weights. Raises UserError."""
    wanted = setting.class_weights
    if wanted is None:
        return {}
    bare = next((row for row in rows if row.label is None), None)
    if bare is not None:
        raise UserError("class weights need a label on every training row", "none", f"{_WHERE}, {bare.source}")
    counts = Counter(row.label for row in rows if row.label is not None)
    if wanted == "balanced":
        return {label: len(rows) / (len(counts) * n) for label, n in sorted(counts.items())}
    assert isinstance(wanted, Mapping)
    for label in wanted:
        if label not in counts:
            raise UserError("a class weight must be of a label of the training rows", label, _WHERE, did_you_mean(label, sorted(counts)))
    return {label: float(wanted.get(label, 1.0)) for label in sorted(counts)}


def training_rows(recipe: Recipe, prepared: Built[Prepared], dataset: Built[Dataset]) -> tuple[Rows, dict[str, float]]:
    """The prepared training rows, weighted by class where that is asked for; and the weight of every label, empty where not."""
    from luthier.engine.text.prepared import read_prepared

    split = read_prepared(prepared.path, "train")
    rows = Rows(tuple(split.sequences), tuple(split.keys))
    if recipe.regularisation.class_weights is None:
        return rows, {}
    examples = read_split(dataset, "train")
    weights = weight_of_label(recipe.regularisation, examples)
    return weighted(rows, examples, weights), weights


def weighted(rows: Rows, examples: Sequence[Example], weights: Mapping[str, float]) -> Rows:
    """`rows` with every target multiplied by the weight of its row's label (`<key>#2` is a piece of row `<key>`).

    A planted row has no label and counts once.
    """
    if not weights:
        return rows
    of_key = {e.key: weights[e.label] for e in examples if e.label is not None}
    factors = [np.float32(1.0 if key.startswith(PLANTED) else of_key[key.partition("#")[0]]) for key in rows.keys]
    scaled = tuple(replace(s, weights=s.weights * f) for s, f in zip(rows.sequences, factors, strict=True))
    return replace(rows, sequences=scaled)


def in_words(weights: Mapping[str, float]) -> str:
    """The weights in a line, heaviest first; the middle of a long list is left out."""
    by_weight = sorted(weights.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{label} {weight:.3g}" for label, weight in by_weight]
    if len(shown) > _SHOWN:
        half = _SHOWN // 2
        shown = [*shown[:half], f"{len(shown) - _SHOWN} labels between", *shown[-half:]]
    return "class weights: " + ", ".join(shown)
