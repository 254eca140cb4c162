"""A scorer from the user's own Python file: `my_metric.py:MyMetric`.

One decision: the file's bytes are part of the key, so a changed metric is a new evaluation. The file runs in this
process with the user's rights, like any Python file that the user starts; what it raises is told with its row.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import sys
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any, ClassVar, Literal

from pydantic import Field

from luthier.core.errors import LuthierError, UserError, did_you_mean
from luthier.core.keys import SourceFile, file_sha256
from luthier.core.records import Example
from luthier.parts.scorers.scorer import Measure, Score, Scorer


class Custom(Scorer):
    """`class_name` of `file`: any class whose instances can be called with (example, output) and give a number in [0, 1],
    a bool or a Score. It may say `measure = "binary"` (default `mean`) and `name`; `options` go to its constructor."""

    version: ClassVar[int] = 1
    needs_reference: ClassVar[bool] = False

    kind: Literal["custom"] = "custom"
    file: SourceFile
    class_name: str = Field(min_length=1)
    options: dict[str, Any] = {}

    @property
    def name(self) -> str:
        name = getattr(self._own(), "name", None)
        return name if isinstance(name, str) else self.class_name

    @property
    def measure(self) -> Measure:  # type: ignore[override]
        """The class's own `measure`: binary or mean."""
        measure = getattr(self._own(), "measure", "mean")
        if measure == "binary":
            return "binary"
        if measure == "mean":
            return "mean"
        raise UserError("`measure` of a custom scorer must be binary or mean", repr(measure), f"{self.file.path}:{self.class_name}")

    def __call__(self, example: Example, output: str) -> Score:
        result = self._asked(example, output)
        score = result if isinstance(result, Score) else None
        if score is None and isinstance(result, (bool, int, float)) and 0 <= result <= 1:
            score = Score(float(result))
        if score is None or (self.measure == "binary" and score.value not in (0.0, 1.0)):
            wanted = "0 or 1" if self.measure == "binary" else "a number in [0, 1]"
            raise UserError(f"a scorer must give {wanted} or a Score", repr(result), f"{self.file.path}:{self.class_name}")
        return score

    def check(self, examples: Sequence[Example]) -> None:
        """The file can be loaded and its class made. Raises UserError."""
        assert self.measure in ("binary", "mean")

    def _asked(self, example: Example, output: str) -> Any:
        """What the class says of one row. Raises UserError with the row and the reason when it raises, whatever it raises."""
        own = self._own()
        try:
            return own(example, output)
        except LuthierError:
            raise
        except Exception as err:
            where = f"{self.file.path}:{self.class_name} on {example.source}"
            raise UserError(f"a scorer must score every row, it raised {type(err).__name__}: {err}", where=where) from err

    def _own(self) -> Any:
        path = Path(self.file.path)
        return _instance(path, file_sha256(path), self.class_name, json.dumps(self.options, sort_keys=True))


class _Source(SourceFileLoader):
    """Runs the file's bytes as they are: bytecode kept from earlier ones of the same size and second would be taken for them."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


@functools.lru_cache(maxsize=64)
def _instance(path: Path, sha256: str, class_name: str, options: str) -> Any:
    where = f"{path}:{class_name}"
    name = f"luthier_custom_{sha256[:12]}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_Source(name, str(path)))
    if path.suffix != ".py" or spec is None or spec.loader is None:
        raise UserError("a custom scorer must be a Python file and a class, `file.py:ClassName`", str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    try:
        spec.loader.exec_module(module)
        cls = getattr(module, class_name, None)
        made = None if cls is None else cls(**json.loads(options))
    except (Exception, SystemExit) as err:  # the user's own code may raise anything
        raise UserError(f"the custom scorer cannot be loaded: {type(err).__name__}: {err}", where=where) from err
    if cls is None:
        names = [n for n, v in vars(module).items() if isinstance(v, type) and v.__module__ == spec.name]
        raise UserError(f"the file must define `{class_name}`", where=str(path), fix=did_you_mean(class_name, names))
    if not callable(made):
        raise UserError("a custom scorer must be callable with (example, output)", type(made).__name__, where)
    return made
