"""The mapping: which columns mean what, as one frozen config told apart by `kind`.

One decision: a run's mapping is explicit in the project file; a proposal is only ever shown, or used by
`data check`, which prints it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import Field

from luthier.core.config import Config, parse_config, parse_yaml
from luthier.core.errors import UserError, did_you_mean
from luthier.core.records import Source
from luthier.parts.sources.mapping_base import PLAIN, Asking, Converted, RowFault
from luthier.parts.sources.mapping_chat import Messages, OpenAssistant, ShareGPT
from luthier.parts.sources.mapping_head import MultiLabel, Regression
from luthier.parts.sources.mapping_instruct import Alpaca, Classification, Dolly, Entities, PlainText, PromptCompletion
from luthier.parts.sources.mapping_preference import ChosenRejected, Kto, OpenAIPreference
from luthier.parts.sources.rows import BadRow, RawRow

Mapping = Annotated[
    Messages
    | ShareGPT
    | OpenAssistant
    | PromptCompletion
    | Alpaca
    | Dolly
    | PlainText
    | Classification
    | MultiLabel
    | Regression
    | Entities
    | ChosenRejected
    | OpenAIPreference
    | Kto,
    Field(discriminator="kind"),
]
"""Any mapping; `kind` says which."""

CLASSES: dict[str, type[Config]] = {cls.model_fields["kind"].default: cls for cls in get_args(get_args(Mapping)[0])}
TEMPLATED = ("classification", "multi_label", "regression", "prompt_completion", "alpaca", "dolly", "entities")
"""The kinds that a prompt template applies to."""


def convert(row: RawRow, mapping: Mapping, file: str, asking: Asking = PLAIN) -> Converted | BadRow:
    """The row's records, or why it is set aside."""
    try:
        return mapping.convert(row.fields, Source(file, row.at), asking)
    except RowFault as err:
        return BadRow(row.at, str(err))


def mapping_from(data: Any, where: str = "mapping") -> Mapping:
    """A mapping from plain data. Raises UserError naming the wrong key and the nearest right one."""
    kind = data.get("kind") if isinstance(data, dict) else None
    if kind not in CLASSES:
        got = repr(kind) if isinstance(data, dict) else f"{data!r}"
        raise UserError("a mapping must have a known `kind`", got, where, did_you_mean(str(kind), CLASSES))
    return parse_config(CLASSES[str(kind)], data, where)  # type: ignore[return-value]


def mapping_from_text(text: str) -> Mapping:
    """A mapping from the command line: `alpaca`, `classification:text=title,label=topic`, or YAML in braces."""
    if text.lstrip().startswith("{"):
        return mapping_from(parse_yaml(text, "--map"), "--map")
    kind, _, rest = text.partition(":")
    if "=" in kind:
        columns = {name.strip(): column.strip() for name, _, column in (pair.partition("=") for pair in text.split(","))}
        first = columns.pop("kind", "classification")
        meant = ",".join(f"{name}={column}" for name, column in columns.items())
        raise UserError("a mapping must start with its kind and a colon", repr(text), "--map", f"write --map {first}:{meant}")
    data: dict[str, Any] = {"kind": kind.strip()}
    for pair in filter(None, (p.strip() for p in rest.split(","))):
        name, equals, column = pair.partition("=")
        if not equals or not name.strip() or not column.strip():
            raise UserError(
                "columns must be given as `name=column`", repr(pair), "--map", "for example classification:text=title,label=topic"
            )
        value = column.strip()
        data[name.strip()] = value.split("+") if name.strip() in ("text", "meta") and "+" in value else value
    return mapping_from(data, "--map")


def shown_mapping(mapping: Mapping) -> dict[str, Any]:
    """The mapping as data: its kind, its column names, and whatever else is not at its default."""
    fields = type(mapping).model_fields
    dumped = {name: value for name, value in mapping.model_dump(mode="json").items() if value not in (None, [])}
    columns = {name for name, value in dumped.items() if isinstance(value, str) and get_origin(fields[name].annotation) is not Literal}
    shown = {name: value for name, value in dumped.items() if name in columns or value != fields[name].default}
    return {"kind": mapping.kind, **{name: value for name, value in shown.items() if name != "kind"}}


def mapping_yaml(mapping: Mapping) -> str:
    """The lines to paste under `data:` in the project file."""
    lines = [f"    {name}: {_scalar(value)}" for name, value in shown_mapping(mapping).items()]
    return "\n".join(["  mapping:", *lines])


def _scalar(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_scalar(v) for v in value) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    plain = isinstance(value, str) and value.replace("_", "").replace("-", "").isalnum() and not value.isdigit()
    return value if plain and value.lower() not in ("true", "false", "null", "yes", "no", "on", "off") else repr(value)


def check_columns(mapping: Mapping, found: Iterable[str], file: str) -> None:
    """Raise UserError naming the columns found when a required one is in no row of the file."""
    columns = sorted(found)
    for name in mapping.required():
        if name not in columns:
            close = did_you_mean(name, columns)
            fix = (close + " " if close.startswith("did") else "") + "correct the mapping to the columns found"
            raise UserError(f"column `{name}` not found", "the columns " + ", ".join(repr(c) for c in columns), file, fix)
