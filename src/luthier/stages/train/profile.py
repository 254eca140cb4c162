"""The first steps of a training run under the profiler, on an engine of its own.

One decision: the rows, their order, the loss and the optimiser are those of the run itself; its artifact, its checkpoints
and its metrics are not touched, and the weights that moved here are thrown away.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from luthier.core.artifacts import BaseModel, Prepared
from luthier.core.errors import UserError
from luthier.core.execution import Execution
from luthier.core.stage import Built
from luthier.engine.contract import Batch
from luthier.stages.train.loop import batch_of_step
from luthier.stages.train.recipe import Recipe

if TYPE_CHECKING:
    from luthier.engine.profile import StepProfile


def profile_training(
    base: BaseModel, prepared: Built[Prepared], recipe: Recipe, execution: Execution, num_steps: int, folder: Path
) -> tuple[StepProfile, str]:
    """Profile `num_steps` steps; returns it and the engine's name. The trace goes into `folder`, which is made."""
    from luthier.engine.fast.architecture import read_architecture
    from luthier.engine.fast.load import trains_of
    from luthier.engine.memory.dimensions import FAMILIES, read_dimensions, read_family
    from luthier.engine.profile import Work, profile_steps
    from luthier.engine.select import load_engine
    from luthier.engine.text.prepared import read_prepared

    spec, model = recipe.method.spec(), Path(base.folder)
    if (family := read_family(model)) not in FAMILIES:
        raise UserError(f"a profile wants a model whose work can be counted: {', '.join(FAMILIES)}", family, base.name)
    trains = trains_of(spec, read_architecture(model))  # first: a method without counts is refused at once
    engine = load_engine(model, spec, execution, recipe.seed, dtype=recipe.precision)
    engine.use_optimiser(recipe.optimizer, recipe.regularisation.ema)
    sequences = read_prepared(prepared.path, "train").sequences

    def batch(step: int) -> Batch:
        return batch_of_step(step, sequences, recipe)[1]

    work = Work(engine, batch, recipe.loss(), recipe.learning_rate, read_dimensions(model), trains)
    return profile_steps(work, num_steps, folder), engine.name
