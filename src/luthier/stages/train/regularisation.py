"""What keeps a run from learning its rows by heart or from favouring frequent labels, beside weight decay and L1.

One decision: all of it acts in training alone. Evaluation sees plain log-probabilities, so the figures of a regularised run
and of a plain one compare.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from luthier.core.config import Config


class Regularisation(Config):
    """Label smoothing, an average of the weights, and class weights; weight decay and L1 are the optimiser's (`train.optimizer`)."""

    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="share of the wanted distribution that is spread evenly over the vocabulary (arXiv:1512.00567)"
    )
    ema: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="decay of an average of the trained weights that is evaluated and saved instead of them, e.g. 0.99",
    )
    class_weights: Literal["balanced"] | dict[str, Annotated[float, Field(gt=0)]] | None = Field(
        default=None,
        description="weight of a row by its label: `balanced` is rows / (labels x rows of the label); labels not in a mapping weigh 1",
    )
