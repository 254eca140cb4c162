"""What a model takes at the very least where there is no memory model: every engine refuses what cannot fit before it reads a weight.

One decision: this is a lower bound and says so. It counts the process, the weights in the precision of the run, and their
gradients where all of them are trained; activations and the optimiser's moments come on top and are not guessed.
"""

from __future__ import annotations

from pathlib import Path

from luthier.core.errors import UserError
from luthier.core.execution import Execution
from luthier.engine.memory.dimensions import read_num_bytes
from luthier.engine.memory.machine import resident_bytes
from luthier.engine.memory.room import GB, limit_bytes


def check_least(folder: Path, value: int, trains_all: bool, execution: Execution) -> None:
    """Raises UserError where the model in `folder` cannot fit `execution.memory_gb`, or what this machine has left.

    value: bytes of a weight in the precision of the run. trains_all: every weight has a gradient.
    """
    weights, process, limit = read_num_bytes(folder, value), resident_bytes(), limit_bytes(execution)
    gradients = weights if trains_all else 0
    if process + weights + gradients <= limit:
        return
    also = f", {gradients / GB:.1f} GB of their gradients" if trains_all else ""
    smaller = "a smaller base, or a machine with more memory"
    if trains_all and process + weights <= limit:
        smaller = "a method that trains few weights (train.method.kind=lora) has no such gradients; otherwise " + smaller
    raise UserError(
        f"the model must fit {limit / GB:.1f} GB of memory",
        f"{(process + weights + gradients) / GB:.1f} GB at the least ({weights / GB:.1f} GB of weights{also}, "
        f"{process / GB:.1f} GB of libraries; activations come on top)",
        "predicted before loading; execution.memory_gb",
        smaller,
    )
