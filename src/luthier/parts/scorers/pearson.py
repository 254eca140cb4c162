"""Pearson's correlation of the answered and the wanted numbers: do they rise and fall together?"""

from __future__ import annotations

from typing import Literal

from luthier.parts.scorers.number import Correlation


class Pearson(Correlation):
    """In [-1, 1]; 0 where all answers are one number. Blind to scale and offset: put `mse` beside it."""

    kind: Literal["pearson"] = "pearson"
