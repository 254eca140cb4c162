"""What training did besides the task: how much of the general probe was forgotten, and how much of the training rows is remembered.

One decision: both are kept as figures with their intervals beside the verdict, so that the verdict can be judged again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from luthier.report.sections import Estimate, Part, Remedy

SideEffect = Literal["forgotten", "memorised"]


class ProbeRow(Part):
    """A row of the probe. before and after: minus the mean log-probability of its answer's tokens, in nats."""

    prompt: str
    answer: str
    before: float
    after: float


class Forgetting(Part):
    """The general probe under base and tuned model. before, after: perplexities; change: nats a token, above 0 is worse."""

    finding: Literal["forgotten", "not proven", "none"]
    text: str
    num_rows: int
    margin: float
    before: Estimate
    after: Estimate
    change: Estimate
    worst: tuple[ProbeRow, ...] = ()
    remedies: tuple[Remedy, ...] = ()


class Membership(Part):
    """Training rows against unseen ones. auc: share of pairs told apart by the model's loss, less the base's where `calibrated`."""

    num_train: int
    num_unseen: int
    calibrated: bool
    auc: Estimate


class CanaryExposure(Part):
    """Planted canaries that stood in the training rows `repeats` times each. exposure: mean, in bits."""

    repeats: int
    num_canaries: int
    exposure: Estimate
    chance: float
    most: float
    p: float


class Memorisation(Part):
    """What of the training rows can be read off the model."""

    finding: Literal["memorised", "not proven", "none"]
    text: str
    membership: Membership
    canaries: tuple[CanaryExposure, ...] = ()
    evidence: tuple[str, ...] = ()
    remedies: tuple[Remedy, ...] = ()


class SideEffects(Part):
    """Forgetting (None for a model that writes no text) and memorisation."""

    forgetting: Forgetting | None
    memorisation: Memorisation
    planted_rows: int = Field(default=0, description="canaries among the training rows: not data")

    def found(self, names: Sequence[SideEffect]) -> tuple[SideEffect, ...]:
        """Those of `names` that are proven; what is not proven is not found."""
        proven = {self.memorisation.finding, self.forgetting.finding if self.forgetting else "none"}
        return tuple(name for name in names if name in proven)
