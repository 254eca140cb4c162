"""A split of a hub set, or of one that `datasets` saved or can read in a folder, as JSON lines.

One decision: `datasets` only reads: sets that are parquet, JSON, CSV, Arrow or text, never a script and never a pickle; a class
number becomes its name, for a number without its names is not data.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from luthier.core.errors import LuthierError, MachineError, UserError, WriteRefused, did_you_mean
from luthier.parts.origins.contract import Fetched, Origin
from luthier.parts.origins.rows_file import write_rows
from luthier.parts.origins.secrets import scrubbed

BUILDERS = ("parquet", "json", "csv", "arrow", "text")
_SAVED = ("dataset_dict.json", "state.json")


class Hub(Origin):
    """A data set by its name on the hub (`org/name`), or by its folder."""

    main: ClassVar[str] = "name"

    kind: Literal["hub"] = "hub"
    name: str = Field(min_length=1, description="org/name on the hub, or a folder")
    split: str | None = Field(default=None, description="needed where the set has several")
    config: str | None = Field(default=None, description="the set's configuration (subset), where it has several")
    revision: str | None = Field(default=None, description="a branch, tag or commit; a commit never changes")

    def shown(self) -> str:
        return " ".join(filter(None, (self.name, self.config, self.split, self.revision and f"at {self.revision}")))

    def local(self, root: Path) -> str:
        return self.name if (root / self.name).is_dir() else ""

    def at(self, path: str) -> Hub:
        return self.model_copy(update={"name": path})

    def fetch(self, into: Path) -> Fetched:
        path = into / f"{'-'.join(filter(None, (Path(self.name).name, self.config, self.split)))}.jsonl".replace("/", "-")
        datasets = _datasets()
        with self._telling(datasets), tempfile.TemporaryDirectory(dir=into, prefix=".cache-") as cache:
            is_saved = any((Path(self.name) / mark).is_file() for mark in _SAVED)
            found = self._saved(datasets) if is_saved else self._from_files(datasets, cache)
            rows, notes = _with_names(found)
            write_rows(path, rows, f"the data set {self.shown()}")
        return Fetched((path,), notes)

    @contextmanager
    def _telling(self, datasets: Any) -> Iterator[None]:
        """Every error of the library as one of ours."""
        try:
            yield
        except LuthierError:
            raise
        except (FileNotFoundError, datasets.exceptions.DatasetNotFoundError) as err:
            raise self._absent(err) from None
        except WriteRefused:
            raise
        except OSError as err:
            raise self._unreachable(err) from None
        except (ValueError, datasets.exceptions.DatasetsError) as err:
            raise UserError("the data set must be readable", scrubbed(f"{type(err).__name__}: {err}"), self.shown()) from None

    def _from_files(self, datasets: Any, cache: str) -> Any:
        """A folder's files by way of the folder `cache`, a hub set by way of the user's own cache.

        Raises UserError for a set that is made by anything but plain readers of rows, or a split that it does not have.
        """
        place = cache if Path(self.name).is_dir() else None
        builder = datasets.load_dataset_builder(self.name, self.config, revision=self.revision, cache_dir=place)
        made_by = type(builder).__module__.rpartition(".")[2]
        if made_by not in BUILDERS:
            raise UserError(f"a data set must be {', '.join(BUILDERS)}", made_by, self.shown(), "turn it into parquet first")
        split = self._one_of([str(s) for s in (builder.info.splits or builder.config.data_files or ())])
        return datasets.load_dataset(self.name, self.config, split=split, revision=self.revision, cache_dir=place)

    def _saved(self, datasets: Any) -> Any:
        saved = datasets.load_from_disk(self.name)
        if not isinstance(saved, dict):
            if self.split is not None:
                raise UserError("a saved data set without splits has none to name", self.split, self.name, "leave `split` out")
            return saved
        return saved[self._one_of([str(s) for s in saved])]

    def _one_of(self, splits: list[str]) -> str:
        if self.split is None and len(splits) == 1:
            return splits[0]
        if self.split not in splits:
            must = "the split must be named" if self.split is None else "the data set must have the split"
            raise UserError(must, self.split, self.name, did_you_mean(self.split or "", splits))
        return self.split

    def _absent(self, err: Exception) -> Exception:
        if Path(self.name).is_dir():
            return UserError("the folder must hold a data set", scrubbed(str(err)), self.shown(), f"files of {', '.join(BUILDERS)} in it")
        if os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0"):
            return self._unreachable(err)
        return UserError("the data set must exist", scrubbed(str(err)), self.shown())

    def _unreachable(self, err: Exception) -> MachineError:
        offline = "HF_HUB_OFFLINE is set" if os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0") else scrubbed(str(err))
        fix = "where there is a network, save it with `datasets.load_dataset(...).save_to_disk(FOLDER)`, and name that folder here"
        return MachineError(f"the hub cannot be reached for {self.shown()}, and there is no such folder ({offline}): {fix}")


def _datasets() -> Any:
    try:
        import datasets
    except ImportError:
        raise MachineError("reading hub sets needs datasets: pip install 'luthier[hub]'") from None
    datasets.disable_progress_bars()
    return datasets


def _with_names(found: Any) -> tuple[Iterator[dict[str, Any]], tuple[str, ...]]:
    """The rows with each class number as its name, and which columns that was done to."""
    features = found.features or {}
    names: dict[str, list[str]] = {c: list(f.names) for c, f in features.items() if type(f).__name__ == "ClassLabel" and f.names}

    def rows() -> Iterator[dict[str, Any]]:
        for row in found:
            yield {c: (names[c][v] if v >= 0 else None) if c in names and v is not None else v for c, v in row.items()}

    return rows(), tuple(f"the numbers of column {c} were turned into the names of its classes" for c in names)
