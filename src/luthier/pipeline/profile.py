"""luthier train --profile: where the time of this project's own optimiser steps goes.

One decision: what training reads (the base and the prepared rows) is built and kept as by `luthier train`; of the
profiled steps only the trace is kept, below `.luthier/profiles/`.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.core.errors import UserError
from luthier.pipeline.workspace import Workspace

if TYPE_CHECKING:
    from luthier.engine.profile import StepProfile


def profile_project(workspace: Workspace, num_steps: int, options: Any) -> tuple[StepProfile, str]:
    """Profile `num_steps` steps of the project's recipe; returns it and the engine's name. options: a `RunOptions`."""
    from luthier.stages.train.profile import profile_training

    if workspace.project.execution.nproc > 1:
        raise UserError("a profile is of one process", workspace.project.execution.nproc, "execution.nproc", "profile with --nproc 1")

    def build(stage: Any) -> Any:
        return workspace.store.build(stage, workspace.project.execution, options.observer, options.stop_flag, options.wait)

    base, prepared = build(workspace.graph.base), build(workspace.graph.prepared)
    folder = new_folder(workspace.home / "profiles")
    return profile_training(base.result, prepared, workspace.project.train, workspace.project.execution, num_steps, folder)


def new_folder(profiles: Path) -> Path:
    """`<date>-<time>`, with a number where two begin in one second."""
    stamp = datetime.datetime.now().strftime("%Y-%m-%d-%H%M%S")
    found = len(list(profiles.glob(f"{stamp}*")))
    return profiles / (f"{stamp}-{found + 1}" if found else stamp)
