"""A proposed mapping, only when the columns leave no doubt.

One decision: a proposal needs column names that mean one thing in this field (`instruction` with `output`);
anything else (unknown names, two readings, rows of different kinds) proposes nothing and prints what there is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.core.errors import UserError
from luthier.parts.sources.mapping import Mapping, mapping_yaml
from luthier.parts.sources.mapping_chat import Messages, OpenAssistant, ShareGPT
from luthier.parts.sources.mapping_instruct import Alpaca, Classification, Dolly, Entities, PlainText, PromptCompletion
from luthier.parts.sources.mapping_preference import ChosenRejected, Kto, OpenAIPreference
from luthier.parts.sources.rows import RawRow

TEXT_NAMES = ("text", "sentence", "review", "tweet", "utterance", "query", "message")
LABEL_NAMES = ("label", "category", "intent", "class", "sentiment", "label_text")
_BESIDE_TEXT = ("id", "idx", "url", "source", "split", "title", "timestamp", "date", "lang", "language", "meta", "metadata")
_MAX_NAMED = 8


@dataclass(frozen=True, slots=True)
class Proposal:
    """`mapping` when there is no doubt; otherwise why not, the mappings that would fit, and what to paste."""

    mapping: Mapping | None
    reason: str
    alternatives: tuple[Mapping, ...]
    yaml_to_paste: str


@dataclass(frozen=True, slots=True)
class _Schema:
    """Column names (lower case) that together mean one mapping."""

    kind: str
    needs: frozenset[str]
    build: Callable[[dict[str, str]], Mapping]


def _schema(kind: str, needs: Iterable[str], build: Callable[[dict[str, str]], Mapping]) -> _Schema:
    return _Schema(kind, frozenset(needs), build)


def _kto_messages(n: dict[str, str]) -> Mapping:
    return Kto(messages=n["messages"], label=n["label"], prompt=None)


def _chosen_messages(n: dict[str, str]) -> Mapping:
    return ChosenRejected(chosen=n["chosen_messages"], rejected=n["rejected_messages"], prompt=None)


_SCHEMAS = (
    _schema("messages", ["messages"], lambda n: Messages(messages=n["messages"], tools=n.get("tools"))),
    _schema(
        "sharegpt", ["conversations"], lambda n: ShareGPT(conversations=n["conversations"], system=n.get("system"), tools=n.get("tools"))
    ),
    _schema(
        "alpaca",
        ["instruction", "output"],
        lambda n: Alpaca(
            instruction=n["instruction"], output=n["output"], input=n.get("input"), system=n.get("system"), history=n.get("history")
        ),
    ),
    _schema(
        "dolly",
        ["instruction", "response"],
        lambda n: Dolly(instruction=n["instruction"], response=n["response"], context=n.get("context")),
    ),
    _schema("prompt_completion", ["prompt", "completion"], lambda n: PromptCompletion(prompt=n["prompt"], completion=n["completion"])),
    _schema("kto", ["prompt", "completion", "label"], lambda n: Kto(prompt=n["prompt"], completion=n["completion"], label=n["label"])),
    _schema("kto", ["messages", "label"], _kto_messages),
    _schema("preference", ["chosen", "rejected"], lambda n: ChosenRejected(chosen=n["chosen"], rejected=n["rejected"], prompt=None)),
    _schema(
        "preference",
        ["prompt", "chosen", "rejected"],
        lambda n: ChosenRejected(chosen=n["chosen"], rejected=n["rejected"], prompt=n["prompt"]),
    ),
    _schema(
        "preference",
        ["conversations", "chosen", "rejected"],
        lambda n: ChosenRejected(chosen=n["chosen"], rejected=n["rejected"], prompt=n["conversations"]),
    ),
    _schema("preference", ["chosen_messages", "rejected_messages"], _chosen_messages),
    _schema(
        "openai_preference",
        ["input", "preferred_output", "non_preferred_output"],
        lambda n: OpenAIPreference(
            input=n["input"], preferred_output=n["preferred_output"], non_preferred_output=n["non_preferred_output"]
        ),
    ),
    _schema("oasst", ["message_tree_id", "prompt"], lambda n: OpenAssistant(prompt=n["prompt"], tree_id=n["message_tree_id"])),
    _schema("entities", ["tokens", "ner_tags"], lambda n: Entities(tokens=n["tokens"], tags=n["ner_tags"])),
    _schema("text", ["text"], lambda n: PlainText(text=n["text"])),
)


def propose(columns: Sequence[str], sample_rows: Sequence[RawRow]) -> Proposal:
    """Propose a mapping from the columns of a sample of rows; `columns` in the order they were met."""
    names = {c.lower(): c for c in columns}
    if len(names) < len(columns):
        return _none("two columns differ in case only", columns, ())
    by_schema = _rows_by_schema(sample_rows)
    if len(by_schema) > 1:
        parts = [f"{schema.kind} on {_places(rows)}" for schema, rows in by_schema.items()]
        fits = tuple(schema.build(names) for schema in by_schema)
        return _none("rows of different kinds in one file: " + "; ".join(parts), columns, fits)
    if not by_schema:
        return _none("no known set of column names", columns, _guesses(list(columns)))
    schema = next(iter(by_schema))
    mapping = _with_id(schema.build(names), names)
    if (
        schema.kind == "kto"
        and schema.needs == {"messages", "label"}
        and not all(isinstance(r.fields.get(names["label"]), bool) for r in sample_rows)
    ):
        return _none("`messages` with `label`: ratings (KTO) have true or false as label, this has not", columns, (Messages(),))
    return Proposal(mapping, f"columns {', '.join(columns)}", (), mapping_yaml(mapping))


def _with_id(mapping: Mapping, names: dict[str, str]) -> Mapping:
    return mapping.model_copy(update={"id": names["id"]}) if "id" in names and names["id"] not in mapping.required() else mapping


def _schemas_of(columns: frozenset[str]) -> list[_Schema]:
    """The schemas that a set of column names fits, each that is part of a larger one left out."""
    fits = [s for s in (*_SCHEMAS, *_label_schemas(columns)) if s.needs <= columns]
    largest = [s for s in fits if not any(s.needs < other.needs for other in fits)]
    return [s for s in largest if s.kind != "text" or columns <= {"text", *_BESIDE_TEXT}]


def _label_schemas(columns: frozenset[str]) -> list[_Schema]:
    texts, labels = [c for c in TEXT_NAMES if c in columns], [c for c in LABEL_NAMES if c in columns]
    other = columns - set(texts) - set(labels) - {"id", "idx", "split"}
    if other:
        return []
    return [_label_schema(t, label) for t in texts for label in labels]


def _label_schema(text: str, label: str) -> _Schema:
    return _schema("classification", [text, label], lambda n: Classification(text=n[text], label=n[label]))


def _rows_by_schema(rows: Sequence[RawRow]) -> dict[_Schema, list[RawRow]]:
    """Rows by the schema they fit; a schema whose columns are part of another's that was found counts as that one."""
    by_columns: dict[frozenset[str], list[RawRow]] = {}
    for row in rows:
        by_columns.setdefault(frozenset(c.lower() for c in row.fields), []).append(row)
    fits = {columns: _schemas_of(columns) for columns in by_columns}
    found = {(s.kind, s.needs): s for schemas in fits.values() for s in schemas}
    largest = {key: s for key, s in found.items() if not any(s.needs < other.needs for other in found.values())}
    out: dict[_Schema, list[RawRow]] = {}
    for columns, schemas in fits.items():
        for schema in schemas:
            if (schema.kind, schema.needs) in largest:
                out.setdefault(largest[schema.kind, schema.needs], []).extend(by_columns[columns])
    return out


def _places(rows: Sequence[RawRow]) -> str:
    word = rows[0].at.split()[0]
    numbers = [r.at.split()[-1] for r in rows]
    more = f" and {len(numbers) - _MAX_NAMED} more" if len(numbers) > _MAX_NAMED else ""
    return f"{word}{'s' if len(numbers) > 1 else ''} {', '.join(numbers[:_MAX_NAMED])}{more}"


def _guesses(columns: list[str]) -> tuple[Mapping, ...]:
    """Mappings to choose from when nothing is known: never used, only printed."""
    lower = {c.lower(): c for c in columns}
    for prompt, answer in (
        ("question", "answer"),
        ("input", "output"),
        ("prompt", "response"),
        ("source", "target"),
        ("document", "summary"),
    ):
        if prompt in lower and answer in lower:
            return (PromptCompletion(prompt=lower[prompt], completion=lower[answer]),)
    labels = [c for c in columns if c.lower() in LABEL_NAMES]
    texts = [c for c in columns if c not in labels and c.lower() not in ("id", "idx", "split")]
    if labels and texts:
        return (Classification(text=texts[0] if len(texts) == 1 else tuple(texts), label=labels[0]),)
    if len(columns) >= 2:
        return (PromptCompletion(prompt=columns[0], completion=columns[-1]), Classification(text=columns[0], label=columns[-1]))
    return (PlainText(text=columns[0]),) if columns else ()


def _none(reason: str, columns: Sequence[str], fits: tuple[Mapping, ...]) -> Proposal:
    return Proposal(
        None, f"{reason}; columns found: {', '.join(repr(c) for c in columns)}", fits, "\n  # or:\n".join(mapping_yaml(m) for m in fits)
    )


def require(proposal: Proposal, file: str) -> Mapping:
    """The proposed mapping. Raises UserError with the columns found and the mapping to paste when there is none."""
    if proposal.mapping is not None:
        return proposal.mapping
    paste = (
        f"say which columns mean what, for example (under data: in luthier.yaml, or with --map):\n{proposal.yaml_to_paste}"
        if proposal.yaml_to_paste
        else ""
    )
    raise UserError(f"the mapping must be given: {proposal.reason}", where=file, fix=paste)


def sample_of(rows: Iterable[Any], limit: int = 1000) -> tuple[list[str], list[RawRow]]:
    """(columns in the order they were met, up to `limit` rows) of a stream of items."""
    columns: dict[str, None] = {}
    taken: list[RawRow] = []
    for item in rows:
        if isinstance(item, RawRow):
            columns.update(dict.fromkeys(item.fields))
            taken.append(item)
            if len(taken) >= limit:
                break
    return list(columns), taken
