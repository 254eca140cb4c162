"""Recommended ranges of learning rate, rank, alpha and batch size by method, with their sources, and warnings in words.

One decision: this table is the only place with such numbers, and it never blocks a run: outside it a run may be right, and
`luthier train --lr-range 60` measures what the rows say. The rates are for optimisers of Adam's kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luthier.core.config import flat
from luthier.report.remedies import USUAL_RATE

if TYPE_CHECKING:
    from luthier.stages.train.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Range:
    """From `low` to `high`, both included."""

    low: float
    high: float
    source: str

    def holds(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


LORA_RATE = Range(5e-5, 2e-3, "arXiv:2106.09685 appendix D (1e-4 to 5e-4); arXiv:2405.09673 (up to 5e-4); ours on 135M parameters (1e-3)")
FULL_RATE = Range(1e-5, 1e-4, "arXiv:1810.04805 appendix A.3 (2e-5 to 5e-5); arXiv:2307.09288 section 3.1 (2e-5)")
RATES = {
    "full": FULL_RATE,
    "last_layers": FULL_RATE,
    "lora": LORA_RATE,
    "dora": LORA_RATE,
    "qlora": LORA_RATE,
    "bottleneck": Range(3e-5, 3e-3, "arXiv:1902.00751 (3e-5 to 3e-3)"),
    "prefix": Range(1e-5, 1e-2, "arXiv:2101.00190 (1e-5 to 8e-5); arXiv:2110.07602 (up to 1e-2)"),
    "prompt": Range(1e-3, 0.5, "arXiv:2104.08691 appendix A.1 (0.001 to 0.5)"),
    "ia3": Range(1e-3, 1e-2, "arXiv:2205.05638 (3e-3)"),
    "bitfit": Range(1e-4, 1e-3, "arXiv:2106.10199 (1e-4 to 1e-3)"),
}
"""Peak of the schedule, by kind of method."""

RANK = Range(4, 256, "arXiv:2106.09685 section 7.2 (1 to 64, 4 nearly always enough); arXiv:2405.09673 (16 to 256)")
ALPHA_PER_RANK = Range(0.25, 16, "arXiv:2305.14314 (16 over rank 64); arXiv:2405.09673 (2)")
BATCH = Range(2, 128, "arXiv:1804.07612 (2 to 32); arXiv:2305.14314 (16 to 64); arXiv:2307.09288 (64)")
OF_ADAM = {"lion": Range(0.1, 1 / 3, "arXiv:2302.06675 (3 to 10 times below AdamW)")}
"""What the rate of another optimiser is, as a multiple of Adam's."""
NO_RATES = ("sgd",)
"""Optimisers without a rate to recommend: their step grows with the gradient."""

FAR = 5.0


def rate_range(recipe: Recipe) -> Range | None:
    """The recommended learning rates of a recipe; None where there is no recommendation."""
    found = RATES.get(recipe.method.kind)
    if found is None or recipe.optimizer.kind in NO_RATES:
        return None
    scale = OF_ADAM.get(recipe.optimizer.kind)
    if scale is None:
        return found
    return Range(found.low * scale.low, found.high * scale.high, f"{found.source}; {scale.source}")


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """The recipe by dotted names, with the highest usual rate: no remedy raises the rate beyond it."""
    usual, given = rate_range(recipe), flat(recipe.model_dump(mode="json"))
    return given if usual is None else {**given, USUAL_RATE: usual.high}


def warnings(recipe: Recipe) -> Iterator[str]:
    """A sentence for each setting of the recipe that lies outside its recommended range."""
    method, kind = recipe.method, recipe.method.kind
    rates = rate_range(recipe)
    if rates is not None:
        yield from _of_rate(recipe.learning_rate, rates, kind)
    rank, alpha = getattr(method, "rank", None), getattr(method, "alpha", None)
    if rank is not None:
        yield from _outside("train.method.rank", rank, RANK, "few directions to learn in", "more memory and time, and little gained")
    if rank is not None and alpha is not None and not getattr(method, "rslora", False):
        name = f"train.method.alpha / rank = {alpha:g} / {rank} ="
        yield from _outside(name, alpha / rank, ALPHA_PER_RANK, "the update is hardly felt", "the update may drown the base model")
    yield from _outside("train.batch_size", recipe.batch_size, BATCH, "noisy steps, which want a lower rate", "few steps an epoch")


def _of_rate(rate: float, usual: Range, kind: str) -> Iterator[str]:
    high = f"{rate / usual.high:.3g} times the largest recommended for {kind} ({usual})"
    if rate > FAR * usual.high:
        yield f"train.learning_rate {rate:g} is {high}: training will very likely diverge; `luthier train --lr-range 60` finds one"
    elif rate > usual.high:
        yield f"train.learning_rate {rate:g} is {high}: training may diverge or forget; `luthier train --lr-range 60` finds one"
    elif rate < usual.low:
        yield (
            f"train.learning_rate {rate:g} is below the usual range for {kind} ({usual}): training may learn little; "
            "`luthier train --lr-range 60` finds one"
        )


def _outside(name: str, value: float, usual: Range, low: str, high: str) -> Iterator[str]:
    if not usual.holds(value):
        yield f"{name} {value:g} is outside the usual range ({usual}): {low if value < usual.low else high}"
