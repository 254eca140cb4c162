"""What a repair is: text -> text, pure, bounded and idempotent.

One decision: a repair only says what a text should be; what was changed is found by comparing, so every repair
can be shown as a diff and undone, and none of them has to keep a record itself.
"""

from __future__ import annotations

from typing import ClassVar

from luthier.core.config import Config

MAX_ROUNDS = 20
"""Rounds after which a text that does not settle is left as it was."""


class Repair(Config):
    """Mends one text. `growth`: the most characters out for one character in; a part's `kind` is its name in a project file."""

    growth: ClassVar[int] = 1

    def __call__(self, text: str) -> str:
        """The mended text, or the very same one. Applied to its own result it changes nothing. Never raises on a text."""
        raise NotImplementedError
