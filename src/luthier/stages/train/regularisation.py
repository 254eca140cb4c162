"""What keeps a run from learning its rows by heart or from favouring frequent labels, beside weight decay and L1.

One decision: all of it acts in training alone. Evaluation sees plain log-probabilities, so the figures of a regularised run
and of a plain one compare.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from luthier.core.config import Config


class Regularisation(Config):
    """Dropout, embedding noise, label smoothing, an average of the weights, and class weights.

    Weight decay and L1 are the optimiser's (`train.optimizer`), LoRA dropout is the method's (`train.method.dropout`).
    """

    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="share of the wanted distribution that is spread evenly over the vocabulary (arXiv:1512.00567)"
    )
    ema: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="decay of an average of the trained weights that is evaluated and saved instead of them, e.g. 0.99",
    )
    dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of what attention and MLP add to a token that is zero in training (arXiv:1706.03762, section 5.4)",
    )
    neftune_alpha: float = Field(
        default=0.0,
        ge=0,
        description="uniform noise of alpha / sqrt(tokens x width) on the input embeddings (arXiv:2310.05914); 5 to 15 are usual",
    )
    shared_masks: bool = Field(
        default=False, description="one dropout mask for a shared prefix, which is then computed once; else every row has masks of its own"
    )
    class_weights: Literal["balanced"] | dict[str, Annotated[float, Field(gt=0)]] | None = Field(
        default=None,
        description="weight of a row by its label: `balanced` is rows / (labels x rows of the label); labels not in a mapping weigh 1",
    )

    @model_validator(mode="after")
    def _sharable(self) -> Regularisation:
        if self.shared_masks and self.neftune_alpha:
            raise ValueError("`shared_masks` must be off with `neftune_alpha`: the size of that noise follows the length of each row")
        return self
