"""From what a project file says to a scorer, and the default metric of each task.

One decision: `ScorerConfig` is what a stage writes as its field type; it takes a kind, a mapping, `file.py:ClassName`
or a scorer, and always holds a scorer afterwards.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny, WithJsonSchema

from luthier.core.discovery import discover, load_part
from luthier.core.errors import UserError
from luthier.parts.scorers.scorer import Scorer
from luthier.parts.tasks import defaults_of

PACKAGE = "luthier.parts.scorers"


def known_scorers() -> dict[str, type[Scorer]]:
    """Every scorer by kind: built in and installed."""
    return discover(PACKAGE, Scorer)


def load(value: Any) -> Scorer:
    """A scorer from its kind, a mapping with `kind`, `file.py:ClassName`, or itself.

    Raises UserError for an unknown metric (with the nearest name) or options that do not fit.
    """
    if isinstance(value, str) and ".py:" in value:
        path, _, name = value.rpartition(":")
        value = {"kind": "custom", "file": {"path": path}, "class_name": name}
    return load_part(PACKAGE, Scorer, value, "metric")


ScorerConfig = Annotated[
    SerializeAsAny[Scorer],
    BeforeValidator(load),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object", "properties": {"kind": {"type": "string"}}, "required": ["kind"]}]}),
]


def default_metric(task: str) -> str:
    """The metric that a task is judged by unless the project file names another. Raises UserError where it needs settings."""
    metric = defaults_of(task).metric
    if metric is None:
        raise UserError(f"the task {task} needs a metric with settings: {defaults_of(task).settings}", where="objective.metric")
    return metric
