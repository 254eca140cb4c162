"""The renderer that an artifact holds, whichever of the two it is.

One decision: the files say which one was saved; nothing is tried and nothing falls back.
"""

from __future__ import annotations

from pathlib import Path

from luthier.engine.text.plain import FILE, TextRenderer
from luthier.engine.text.renderer import Renderer

AnyRenderer = Renderer | TextRenderer


def load_renderer(folder: Path) -> AnyRenderer:
    """The chat renderer or the text renderer in `folder`. Raises CorruptArtifact when its files give another hash."""
    return TextRenderer.load(folder) if (folder / FILE).is_file() else Renderer.load(folder)
