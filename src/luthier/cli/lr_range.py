"""What `luthier train --lr-range` prints: the loss by rate, the suggested rate, and where the plot is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from luthier.cli.process import emit, say

if TYPE_CHECKING:
    from luthier.pipeline.lr_range import RangeTest

_LINES = 12


def show(found: RangeTest, json: bool) -> None:
    """The table and the advice on stderr; with `json` the document on stdout."""
    from luthier.cli.documents import LrRangeDocument
    from luthier.cli.tables import print_table
    from luthier.pipeline.lr_range import FIGURES, PLOT

    sweep = found.sweep
    if json:
        emit(
            LrRangeDocument(
                rates=sweep.rates, losses=sweep.losses, smoothed=sweep.smoothed, suggested=sweep.suggested, diverged=sweep.diverged,
                current=found.current, usual=found.usual, plot=str(found.folder / PLOT), figures=str(found.folder / FIGURES),
            )
        )  # fmt: skip
    every = max(1, len(sweep.rates) // _LINES)
    rows = [(f"{sweep.rates[i]:.2g}", f"{sweep.losses[i]:.4f}", f"{sweep.smoothed[i]:.4f}") for i in range(0, len(sweep.rates), every)]
    print_table("loss while the learning rate grows", ("rate", "loss", "smoothed"), rows)
    say(advice(found))
    say(f"plot: {os.path.relpath(found.folder / PLOT)}; figures: {os.path.relpath(found.folder / FIGURES)}")


def advice(found: RangeTest) -> str:
    """The suggestion in words, next to the project's own rate."""
    at = found.sweep.suggested
    if at is None:
        return "the loss fell at no rate: look at the rows with `luthier data show`, or sweep more steps"
    top = max(3 * at, (found.sweep.diverged or found.sweep.rates[-1]) / 10)
    words = f"the loss falls most steeply at a rate of {at:.2g}"
    if found.sweep.diverged is not None:
        words += f" and blew up at {found.sweep.diverged:.2g}"
    if at / 3 <= found.current <= top:
        return f"{words}; train.learning_rate {found.current:g} is between {at / 3:.1g} and {top:.1g}, where rates are worth trying"
    return f"{words}; train.learning_rate {found.current:g} is outside {at / 3:.1g} to {top:.1g}: try {at:.1g}"
