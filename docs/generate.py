"""Writes the reference pages from the code: the project file, the verbs, the `--json` documents and `report.json`.

One decision: the pages are made when the site is built (a mkdocs hook) and never stored, so that they cannot
disagree with the code. `pages()` needs no mkdocs, so that the tests read the same pages.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import pydantic
import yaml
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from luthier.core.config import Config

FOLDER = "reference"


def on_files(files: Any, config: Any) -> Any:
    """The mkdocs hook: add the generated pages and schemas to the site."""
    from mkdocs.structure.files import File

    for name, text in pages().items():
        files.append(File.generated(config, f"{FOLDER}/{name}", content=text))
    return files


def pages() -> dict[str, str]:
    """Every generated file by its name below `reference/`."""
    schemas = {f"schemas/{name}.json": json.dumps(schema, indent=2) + "\n" for name, schema in all_schemas().items()}
    return {
        "configuration.md": configuration_page(),
        "verbs.md": verbs_page(),
        "documents.md": documents_page(),
        "report.md": report_page(),
        **schemas,
    }


# The project file


def configuration_page() -> str:
    """Every section and setting of luthier.yaml, from the configs that check it."""
    from luthier.parts.scorers import known_scorers
    from luthier.parts.sources.mapping import CLASSES
    from luthier.pipeline.project import Project

    out = [
        "# The project file",
        "",
        "A project is one YAML file, `luthier.yaml`. An unknown key is an error that names the nearest known one. Any setting can be",
        "overridden on the command line by its dotted path, such as `train.learning_rate=1e-4`. Paths are read against the project",
        "file's folder. `luthier schema` prints the [JSON Schema](schemas/project.json) for editors.",
        "",
    ]
    known = meanings()
    for path, cls in sections(Project, ""):
        out += section(f"`{path}`" if path else "Top level", cls, words=known, path=path)
    out += ["## Mappings", "", "`data.mapping.kind` says which one. [Data formats](../data-formats.md) has a sample row of each.", ""]
    out += ["Every mapping also takes the columns `id`, `group`, `weight` and `meta`; they are explained there.", ""]
    for kind, cls in CLASSES.items():
        out += section(f"`kind: {kind}`", cls, level=3, without=("id", "group", "weight", "meta"))
    words = "A metric is named by its kind, by a mapping with options, or as `file.py:ClassName` for one of your own."
    out += ["## Metrics", "", words, ""]
    for kind, cls in known_scorers().items():
        out += section(f"`{kind}`", cls, level=3)
    return "\n".join(out)


def sections(cls: type[pydantic.BaseModel], path: str) -> Iterator[tuple[str, type[pydantic.BaseModel]]]:
    """(dotted path, config) of `cls` and of every config below it, depth first; mappings have their own part of the page."""
    yield path, cls
    for name, field in cls.model_fields.items():
        inner = f"{path}.{name}" if path else name
        found = models_in(field.annotation)
        if name != "mapping" and len(found) == 1 and issubclass(found[0], Config) and "kind" not in _open_kinds(found[0]):
            yield from sections(found[0], inner)
        if name != "mapping" and len(found) > 1 and all(_tag(m) for m in found):
            for one in found:
                yield f"{inner}.kind: {_tag(one)}", one


def _tag(cls: type[pydantic.BaseModel]) -> str:
    """The one value of `kind` of a class that is told from its siblings by it; else nothing."""
    field = cls.model_fields.get("kind")
    return str(field.default) if field is not None and is_tag("kind", field) else ""


def _open_kinds(cls: type[pydantic.BaseModel]) -> set[str]:
    """{`kind`} for a base class of parts that are found by their folder (a metric), else nothing."""
    field = cls.model_fields.get("kind")
    return {"kind"} if field is not None and not isinstance(field.default, str) else set()


def meanings() -> dict[str, str]:
    """docs/meanings.yaml: what a setting means, by dotted path, where its own description is empty."""
    return yaml.safe_load((Path(__file__).parent / "meanings.yaml").read_text(encoding="utf-8"))


def section(
    title: str,
    cls: type[pydantic.BaseModel],
    level: int = 2,
    words: dict[str, str] | None = None,
    path: str = "",
    without: tuple[str, ...] = (),
) -> list[str]:
    """Heading, the class's own words, and a table of its fields."""
    out = [f"{'#' * level} {title}", "", words_of(cls), ""]
    fields = {n: f for n, f in cls.model_fields.items() if n not in without and not is_tag(n, f)}
    said = {n: meaning(f, (words or {}).get(f"{path}.{n}" if path else n, "")) for n, f in fields.items()}
    if not fields:
        return out
    if not any(said.values()):
        return [*out, "| key | type | default |", "|---|---|---|", *(field_row(n, f) for n, f in fields.items()), ""]
    rows = (f"{field_row(n, f)} {cell(said[n])} |" for n, f in fields.items())
    return [*out, "| key | type | default | meaning |", "|---|---|---|---|", *rows, ""]


def meaning(field: FieldInfo, otherwise: str) -> str:
    """The field's description; else `otherwise`; else the first sentence of the section that it holds."""
    inside = [m for m in models_in(field.annotation) if issubclass(m, Config) and not _open_kinds(m)]
    first = words_of(inside[0]).partition(". ")[0].rstrip(".") if len(inside) == 1 else ""
    return field.description or otherwise or first


def words_of(cls: type[pydantic.BaseModel]) -> str:
    """The class's docstring as one paragraph."""
    return " ".join((cls.__doc__ or "").split())


def is_tag(name: str, field: FieldInfo) -> bool:
    """True for `kind` with one value."""
    return name == "kind" and get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1


def field_row(name: str, field: FieldInfo) -> str:
    """Key, type with its limits, and default as a table row."""
    kind = ", ".join(filter(None, (type_words(field.annotation), limits(field))))
    return f"| `{name}` | {cell(kind)} | {cell(default_words(field))} |"


def cell(text: str) -> str:
    """Text that stays inside its table cell."""
    return text.replace("|", "\\|").replace("\n", " ")


def limits(field: FieldInfo) -> str:
    """The numeric and length limits of a field, in symbols."""
    signs = (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"), ("min_length", "length >="), ("max_length", "length <="))
    return ", ".join(f"{sign} {getattr(m, name):g}" for m in field.metadata for name, sign in signs if getattr(m, name, None) is not None)


def default_words(field: FieldInfo) -> str:
    """The default as it would stand in YAML, or that a value must be given."""
    if field.is_required():
        return "must be given"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, pydantic.BaseModel):
        return "its own defaults"
    if isinstance(value, tuple) and value and isinstance(value[0], pydantic.BaseModel):
        return ", ".join(f"`{getattr(v, 'name', v)}`" for v in value)
    if value is PydanticUndefined:
        return ""
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def type_words(annotation: Any) -> str:
    """An annotation in words."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{a}`" for a in args)
    if origin in (Union, types.UnionType):
        inner = [type_words(a) for a in args]
        if set(inner) == {"a section"}:
            return "a section, told by its `kind`"
        return "one of the mappings below" if len(inner) > 6 else " or ".join(inner)
    if origin is tuple:
        inner = [a for a in args if a is not Ellipsis]
        return "a list of " + type_words(inner[0]) if Ellipsis in args else "[" + ", ".join(type_words(a) for a in inner) + "]"
    if origin is dict:
        return f"a mapping of {type_words(args[0])} to {type_words(args[1])}"
    if origin is not None and args:
        return type_words(args[0])
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return "a metric" if _open_kinds(annotation) else "a section" if issubclass(annotation, Config) else annotation.__name__
    names = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null", Any: "anything"}
    return names.get(annotation, str(getattr(annotation, "__name__", annotation)))


def models_in(annotation: Any) -> list[type[pydantic.BaseModel]]:
    """The pydantic classes in an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return [annotation]
    return [m for arg in get_args(annotation) for m in models_in(arg)]


# The verbs


def verbs() -> dict[str, str]:
    """`--help` of every verb by its name (`data check`)."""
    from typer.main import get_command

    from luthier.cli.main import app

    return {" ".join(path): help_text(path) for path in leaves(get_command(app), ())}


def leaves(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The path of each command without commands of its own."""
    inner = getattr(command, "commands", {})
    if not inner:
        yield path
    for name, below in inner.items():
        yield from leaves(below, (*path, name))


def help_text(path: tuple[str, ...]) -> str:
    """What `luthier VERB --help` prints, 100 columns wide, without colour."""
    from typer.testing import CliRunner

    from luthier.cli.main import app

    result = CliRunner().invoke(app, [*path, "--help"], prog_name="luthier", env={"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"})
    assert result.exit_code == 0, result.output
    return "\n".join(line.rstrip() for line in result.output.strip().splitlines())


def verbs_page() -> str:
    """Every verb with its help."""
    words = "Every verb but `schema` takes `--json` and then prints one [document](documents.md) on stdout; people read stderr."
    out = ["# Verbs", "", words, ""]
    for name, text in verbs().items():
        out += [f"## luthier {name}", "", "```text", text, "```", ""]
    return "\n".join(out)


# The documents


def all_schemas() -> dict[str, dict[str, Any]]:
    """JSON Schemas by file name: the project file, every `--json` document, and report.json."""
    from luthier.pipeline.project import Project
    from luthier.report.model import RunReport

    found = {kind: cls.model_json_schema(mode="serialization") for kind, cls in documents().items()}
    return {"project": Project.model_json_schema(), "run_report": RunReport.model_json_schema(mode="serialization"), **found}


def documents() -> dict[str, type[pydantic.BaseModel]]:
    """The classes of the `--json` documents by their `kind`."""
    from luthier.cli import documents as module
    from luthier.pipeline.doctor.document import DoctorDocument
    from luthier.report.data_model import DataReport
    from luthier.stages.data.check_document import DataCheck
    from luthier.stages.data.duplicates import DataDuplicates
    from luthier.stages.data.label_errors import DataLabels

    own = [c for c in vars(module).values() if isinstance(c, type) and issubclass(c, module.Document) and "kind" in c.model_fields]
    others = (DataCheck, DataDuplicates, DataLabels, DataReport, DoctorDocument)
    return {str(c.model_fields["kind"].default): c for c in (*own, *others)}


def documents_page() -> str:
    """Every document with its fields and a link to its schema."""
    out = [
        "# JSON documents",
        "",
        "`--json` prints exactly one document. Each has a `kind` and a `version`; within a version fields are added, never renamed or",
        'removed. An error is the document `{"kind": "error", "version": 1, "error": ..., "message": ..., "exit_code": ...}`.',
        "",
    ]
    for kind, cls in documents().items():
        out += [*section(f"`{kind}`", cls), f"Schema: [{kind}.json](schemas/{kind}.json)", ""]
    return written("\n".join(out))


def report_page() -> str:
    """The parts of report.json with their fields."""
    from luthier.report.model import RunReport

    out = [
        "# report.json",
        "",
        "Everything that the pages, the cards and the terminal show is in this one document, and nothing else is. What was not measured",
        "is `null` or empty. Schema: [run_report.json](schemas/run_report.json). The `verdict` is the part to build on.",
        "",
    ]
    seen: set[type[pydantic.BaseModel]] = set()
    waiting: list[type[pydantic.BaseModel]] = [RunReport]
    while waiting:
        cls = waiting.pop(0)
        if cls not in seen:
            seen.add(cls)
            out += section(cls.__name__, cls)
            waiting += [m for field in cls.model_fields.values() for m in models_in(field.annotation)]
    return written("\n".join(out))


def written(page: str) -> str:
    """The words of a page about what Luthier writes, where a field without a default is always there."""
    return page.replace("| must be given |", "| always there |")
