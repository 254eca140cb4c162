"""Options of a verb that nobody watches and nobody stops."""

from __future__ import annotations

from luthier.core.events import ignore
from luthier.pipeline.run import RunOptions


def options() -> RunOptions:
    """Nobody watches, nobody stops."""
    return RunOptions(observer=ignore, stop_flag=lambda: False)
