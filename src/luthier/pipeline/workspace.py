"""A project on disk: its file, its `.luthier` folder with store, database and runs.

One decision: everything Luthier writes is below `.luthier` beside the project file; the project file and
the data are only read.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.core.errors import UserError, from_os_error
from luthier.core.stage import Built
from luthier.core.store import Store
from luthier.pipeline.graph import Graph, wire
from luthier.pipeline.project import Project, load_project
from luthier.pipeline.sources import Located, locate

if TYPE_CHECKING:
    from luthier.core.database import Database


def home_of(file: Path) -> Path:
    """`.luthier` beside the project file (which need not exist), the one a resolved project file is in, or `$LUTHIER_HOME`."""
    if os.environ.get("LUTHIER_HOME"):
        return Path(os.environ["LUTHIER_HOME"])
    around = [p for p in file.resolve().parents if p.name == ".luthier"]
    return around[0] if around else file.parent / ".luthier"


def database_in(home: Path) -> Database:
    """The database of that folder, migrated. Raises MachineError when it cannot be used."""
    from luthier.core.database import Database

    try:
        return Database.in_folder(home)
    except OSError as err:
        raise from_os_error(err, "opening the database") from err


@dataclass(frozen=True)
class Workspace:
    """One project folder."""

    file: Path
    project: Project

    @classmethod
    def open(cls, file: Path, overrides: tuple[str, ...] = ()) -> Workspace:
        """Read the project file. Raises UserError for anything wrong in it."""
        return cls(file, load_project(file, overrides))

    @property
    def root(self) -> Path:
        """The folder of the project file."""
        return self.file.parent

    @property
    def home(self) -> Path:
        """Where everything is kept: see `home_of`."""
        return home_of(self.file)

    @cached_property
    def located(self) -> tuple[Located, ...]:
        """The project's data files; sources are brought here once for all that is done with them."""
        return tuple(locate(self.project, self.root, self.home))

    @cached_property
    def graph(self) -> Graph:
        """The project's stages."""
        return wire(self.project, self.root, self.located, self.home)

    @cached_property
    def store(self) -> Store:
        """The artifacts, each one indexed in the database when it is finished."""
        store = Store(self.home)
        store.prepare()
        store.on_finished = self._index
        return store

    @cached_property
    def database(self) -> Database:
        """The project's database, migrated."""
        return database_in(self.home)

    def trained_run(self, name: str, where: str) -> tuple[dict[str, Any], dict[str, str]] | None:
        """The run of that number or name and the keys of its artifacts by stage; None when there is no such run.

        Raises UserError for a run without a trained model. where: what wants it.
        """
        try:
            run = self.database.find_run(name)
        except UserError:
            return None
        links = self.database.links(run["number"])
        if "train" not in links:
            raise UserError(
                "the run must have been trained", f"run {run['number']} is {run['state']}", where, "finish it with `luthier run`"
            )
        return run, links

    def _index(self, built: Built[Any]) -> None:
        self.database.index_artifact(built.key, built.stage, str(built.path.relative_to(self.home)), built.seconds)
