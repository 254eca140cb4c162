"""From what a project file says to a scorer, and the default metric of each task.

One decision: `ScorerConfig` is what a stage writes as its field type; it takes a kind, a mapping, `file.py:ClassName`
or a scorer, and always holds a scorer afterwards.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, SerializeAsAny, WithJsonSchema

from luthier.core.discovery import discover, load_part
from luthier.core.errors import UserError, did_you_mean
from luthier.parts.scorers.scorer import Scorer

PACKAGE = "luthier.parts.scorers"
Task = Literal[
    "classify",
    "extract",
    "answer",
    "chat",
    "rewrite",
    "summarise",
    "translate",
    "tool_call",
    "multi_label",
    "regression",
    "code",
    "sql",
]


NEEDS_SETTINGS = {
    "sql": "{kind: sql_match, database: {path: data.sqlite}}",
    "code": "{kind: code_tests, tests: NAME_OF_A_META_COLUMN}",
}
"""Tasks without a default metric, because theirs cannot do without settings, and how it is written."""


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
    """The metric that a task is judged by unless the project file names another."""
    table: dict[str, str] = {
        "classify": "accuracy",
        "extract": "entity_f1",
        "answer": "exact_match",
        "chat": "token_f1",
        "rewrite": "token_f1",
        "summarise": "rouge_lsum",
        "translate": "chrf",
        "tool_call": "valid_json",
        "multi_label": "multi_label_f1",
        "regression": "pearson",
    }
    if task not in table:
        raise UserError(f"unknown task `{task}`", fix=did_you_mean(task, get_args(Task)))
    return table[task]
