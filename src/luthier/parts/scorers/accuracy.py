"""Accuracy: the share of rows whose answer names the right class."""

from __future__ import annotations

from typing import Literal

from luthier.parts.scorers.classification import LabelScorer


class Accuracy(LabelScorer):
    """1 when the answer names the row's class; an answer that names no class is wrong."""

    kind: Literal["accuracy"] = "accuracy"
