"""luthier train --lr-range: which learning rates this project's own rows bear.

One decision: what training reads (the base and the prepared rows) is built and kept as by `luthier train`; of the sweep only
its figures and its plot are kept, below `.luthier/lr-range/`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.core.events import Progress
from luthier.core.files import write_json
from luthier.pipeline.profile import new_folder
from luthier.pipeline.workspace import Workspace

if TYPE_CHECKING:
    from luthier.stages.train.lr_range import Sweep

FIGURES, PLOT = "lr_range.json", "lr_range.png"


@dataclass(frozen=True, slots=True)
class RangeTest:
    """The sweep, the project's own rate, the recommended rates of its method, and the folder with figures and plot."""

    sweep: Sweep
    current: float
    usual: tuple[float, float] | None
    folder: Path


def range_test(workspace: Workspace, num_steps: int, options: Any) -> RangeTest:
    """Sweep `num_steps` steps of the project's recipe. options: a `RunOptions`."""
    from luthier.report.rate_plot import RateCurve, rate_png
    from luthier.stages.train.lr_range import Inputs, sweep_of
    from luthier.stages.train.ranges import rate_range

    def build(stage: Any) -> Any:
        return workspace.store.build(stage, workspace.project.execution, options.observer, options.stop_flag, options.wait)

    def told(done: int, total: int) -> None:
        options.observer(Progress("learning-rate range", done, total, "steps"))

    recipe = workspace.project.train
    graph = workspace.graph
    inputs = Inputs(build(graph.base).result, build(graph.split), build(graph.prepared))
    found = sweep_of(inputs, recipe, workspace.project.execution, num_steps, told)
    recommended = rate_range(recipe)
    usual = (recommended.low, recommended.high) if recommended else None
    folder = new_folder(workspace.home / "lr-range")
    folder.mkdir(parents=True)
    curve = RateCurve(found.rates, found.losses, found.smoothed, found.suggested, recipe.learning_rate, usual)
    write_json(folder / FIGURES, {**dataclasses.asdict(found), "current": recipe.learning_rate, "usual": usual})
    (folder / PLOT).write_bytes(rate_png(curve, f"{workspace.project.name}: learning-rate range test"))
    return RangeTest(found, recipe.learning_rate, usual, folder)
