"""Luthier: from an objective and raw data to a fine-tuned language model that is proven better.

Importing this module imports no torch; `luthier.load("luthier.yaml").run()` is the whole flow.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from luthier.core.events import Observer
    from luthier.pipeline.run import RunOutcome
    from luthier.pipeline.workspace import Workspace

__version__ = "0.1.0"


@dataclass(frozen=True)
class Loaded:
    """A checked project: `workspace` holds its settings, stages, store and database."""

    workspace: Workspace

    def run(self, observer: Observer | None = None, wait: bool = False, reason: str | None = None) -> RunOutcome:
        """Build everything to the verdict, silently unless `observer` is given; what is built already is not built again.

        Returns the run's number, folder, report and whether it was found finished. `wait`: for another process that
        builds the same thing; `reason`: why the sealed rows are looked at again. Raises LuthierError.
        """
        from luthier.core.events import ignore
        from luthier.pipeline.run import RunOptions, run

        return run(self.workspace, RunOptions(observer or ignore, lambda: False, wait, reason))


def load(path: str | Path = "luthier.yaml", overrides: Iterable[str] = ()) -> Loaded:
    """Read and check a project file; `overrides` are as on the command line (`train.epochs=2`). Raises UserError."""
    from luthier.pipeline.workspace import Workspace

    return Loaded(Workspace.open(Path(path), tuple(overrides)))
