"""What an origin is: rows that are not yet data files on this disk, and how they are brought here.

One decision: an origin only writes files into a new folder; what a run is made of is the bytes that it wrote, never the address,
so a source that changed is another data set and one that did not is the same, wherever it lies.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar

from luthier.core.config import Config

O = TypeVar("O", bound="Origin")  # noqa: E741


@dataclass(frozen=True, slots=True)
class Fetched:
    """The files that were written, in order, and what a person should know about how (columns turned into names, ...)."""

    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()


class Origin(Config):
    """Base of every origin; a subclass has a `kind`. `main`: the field that a plain text in a project file stands for."""

    main: ClassVar[str]

    def shown(self) -> str:
        """The origin for people, in messages and in the data card. Secrets are named in it (`${NAME}`), never held."""
        raise NotImplementedError

    def version(self) -> str:
        """A word that differs whenever the rows may differ, had without reading them; empty where there is none."""
        return ""

    def fetch(self, into: Path) -> Fetched:
        """Write the rows as data files below the empty folder `into`, and nothing anywhere else.

        Raises UserError when the origin is not there or not allowed, MachineError when it cannot be reached or a library is missing.
        """
        raise NotImplementedError

    def local(self, root: Path) -> str:
        """The path in it that is read against the project's folder `root`; empty when there is none."""
        return ""

    def at(self: O, path: str) -> O:
        """The same origin with that path replaced."""
        return self

    def placed(self: O, root: Path) -> O:
        """The same origin with its path, if any, read against `root`."""
        path = self.local(root)
        return self.at(str(root / path)) if path else self
