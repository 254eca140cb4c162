"""What the two kinds of saved renderer share: one message for each way in which their files can be wrong.

One decision: a renderer whose files give another hash is never used.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pydantic

from luthier.core.errors import CorruptArtifact, from_os_error

_AGAIN = "train or prepare again"


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Around the reading of a saved renderer. Raises CorruptArtifact for files that are not a renderer's."""
    try:
        yield
    except OSError as err:
        raise from_os_error(err, "loading the renderer from") from None
    except (pydantic.ValidationError, json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as err:
        raise CorruptArtifact(f"the saved renderer cannot be read: {type(err).__name__} ({folder}); {_AGAIN}") from None


def check_hash(found: str, saved: str, folder: Path) -> None:
    """Raise CorruptArtifact when the files give another hash than the one that was saved."""
    if found != saved:
        raise CorruptArtifact(f"the saved renderer's files differ from its hash {saved[:12]} ({folder}); {_AGAIN}")
