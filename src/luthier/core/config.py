"""Frozen configs: what a user may set, checked before anything runs.

One decision: a config is data only. Unknown keys are refused with the nearest known one, every message
names the dotted path, and a value can be overridden from the command line as `train.rank=8`.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import pydantic
import yaml

from luthier.core.errors import UserError, did_you_mean


class Config(pydantic.BaseModel):
    """Base of every config: frozen, no unknown fields, no coercion of inf or NaN."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


C = TypeVar("C", bound=pydantic.BaseModel)


class _UniqueKeyLoader(yaml.SafeLoader):
    """safe_load that refuses a key given twice (YAML would keep the last one without a word)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, (list, dict)):
                raise yaml.MarkedYAMLError(problem="a key must be plain text", problem_mark=key_node.start_mark)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"key `{key}` is given twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


# YAML 1.1 reads 2e-4 as text, because it wants a dot in a float; people write 2e-4 in project files.
_FLOAT = re.compile(r"^[-+]?(?:[0-9][0-9_]*)(?:\.[0-9_]*)?[eE][-+]?[0-9]+$")
_UniqueKeyLoader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789"))


def parse_yaml(text: str, name: str) -> Any:
    """Parse one YAML document. Raises UserError with file, line and column."""
    try:
        return yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as err:
        mark = err.problem_mark
        at = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise UserError(f"the file must be valid YAML: {err.problem}", where=at) from None
    except (yaml.YAMLError, RecursionError, ValueError) as err:
        raise UserError(f"the file must be valid YAML: {str(err).splitlines()[0]}", where=name) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a project file as a mapping. Raises UserError when it is missing, not text, or not a mapping."""
    if path.is_dir():
        raise UserError("a YAML file is wanted", f"the folder {path}")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        beside = sorted(p.name for p in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
        fix = did_you_mean(path.name, beside) if beside else "start one with `luthier init`"
        raise UserError("the project file must exist", str(path), fix=fix) from None
    except UnicodeDecodeError as err:
        raise UserError("the file must be UTF-8 text", f"byte 0x{err.object[err.start]:02x} at offset {err.start}", str(path)) from None
    data = parse_yaml(text, str(path))
    if data is None:
        raise UserError("the project file must not be empty", where=str(path), fix="start one with `luthier init`")
    if not isinstance(data, dict):
        raise UserError("the project file must be a mapping of keys to values", f"a {type(data).__name__}", str(path))
    return data


def apply_overrides(data: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Apply `a.b.c=value` overrides (value parsed as YAML; `a.0.b` indexes lists) to a copy of `data`."""
    out: dict[str, Any] = _copy(data)
    for text in overrides:
        path, eq, value = text.partition("=")
        if not eq or not path:
            raise UserError("an override must look like `train.learning_rate=2e-4`", repr(text))
        steps = path.split(".")
        here: Any = out
        for i, step in enumerate(steps[:-1]):
            where = ".".join(steps[: i + 1])
            if isinstance(here, dict) and not isinstance(here.get(step, {}), (dict, list)):
                here[step] = {"kind": here[step]} if isinstance(here[step], str) else {}
            here = _step(here, step, where)
        last, parsed = steps[-1], parse_yaml(value, f"override {path}")
        if isinstance(here, list):
            here[_index(here, last, path)] = parsed
        else:
            here[last] = parsed
    return out


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _copy(v) for k, v in value.items()}
    return [_copy(v) for v in value] if isinstance(value, list) else value


def _step(here: Any, step: str, where: str) -> Any:
    if isinstance(here, list):
        return here[_index(here, step, where)]
    return here.setdefault(step, {})


def _index(here: list[Any], step: str, where: str) -> int:
    if not step.isdigit() or int(step) >= len(here):
        raise UserError(f"an index from 0 to {len(here) - 1} is wanted", repr(step), where)
    return int(step)


def flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted names."""
    out: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, dict):
            out.update(flat(inner, f"{prefix}{key}."))
        else:
            out[f"{prefix}{key}"] = inner if isinstance(inner, (str, int, float, bool, type(None))) else json.dumps(inner)
    return out


def parse_config(cls: type[C], data: Any, where: str = "") -> C:
    """Validate `data` as `cls`. Raises one UserError that lists every fault with its dotted path."""
    try:
        return cls.model_validate(data)
    except pydantic.ValidationError as err:
        faults = [describe_fault(cls, dict(e)) for e in err.errors()]
        head = f"{where}: " if where else ""
        raise UserError(head + ("; ".join(faults) if len(faults) == 1 else "\n  - ".join(["", *faults]))) from None


def describe_fault(cls: type[pydantic.BaseModel], fault: Mapping[str, Any]) -> str:
    """One pydantic error in the house style: what must hold, what was given, where, the nearest right answer."""
    loc = [p for p in fault["loc"] if not (isinstance(p, str) and ("[" in p or p.startswith("function-")))]
    path = ".".join(str(p) for p in loc) or "top level"
    kind, got = fault["type"], fault.get("input")
    if kind == "extra_forbidden":
        return f"unknown key `{path}`; {nearest_key(cls, loc)}"
    if kind == "missing":
        return f"`{path}` must be given"
    text = str(fault["msg"])
    text = _plain(text.removeprefix("Value error, ").removeprefix("Input should be ").removeprefix("Assertion failed, "))
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _tag_fault(path, dict(fault.get("ctx", {})))
    if kind == "value_error":
        return f"{text} ({path})"
    shown = repr(got) if isinstance(got, (str, int, float, bool, type(None))) else type(got).__name__
    fix = ""
    if kind in ("literal_error", "enum") and isinstance(got, str):
        fix = _literal_fix(got, str(fault.get("ctx", {}).get("expected", "")))
    return f"`{path}` must be {text}, got {shown[:200]}{fix}"


def _plain(text: str) -> str:
    """A fault of pydantic's in the words of a YAML file."""
    if text.startswith(("a valid dictionary", "a valid mapping")):
        return "a mapping"
    if few := re.match(r"(?:Tuple|List|Set|Dictionary) should have (at (?:least|most) \d+ items?)", text):
        return f"a list of {few.group(1)}"
    return {"a valid tuple": "a list", "a valid list": "a list"}.get(text, text)


def _tag_fault(path: str, ctx: Mapping[str, Any]) -> str:
    named = str(ctx.get("discriminator", "kind")).strip("'_()")  # a function's name when the tag has a default
    where = f"{path}.{named}"
    if "tag" not in ctx:
        return f"`{where}` must be given"
    tags = [t.strip(" '") for t in str(ctx["expected_tags"]).split(",")]
    return f"`{where}` must be one of {', '.join(tags)}, got {ctx['tag']!r}{_literal_fix(ctx['tag'], ','.join(tags))}"


def _literal_fix(got: str, expected: str) -> str:
    words = [w.strip().strip("'") for w in expected.replace(" or ", ", ").split(",")]
    hint = did_you_mean(got, [w for w in words if w])
    return f"; {hint}" if hint.startswith("did") else ""


def _known_fields(cls: type[pydantic.BaseModel], path: Sequence[Any]) -> list[str]:
    """Field names valid at `path` below `cls` (tags of unions and list indices are stepped over)."""
    here: list[type[pydantic.BaseModel]] = [cls]
    for step in path:
        if isinstance(step, int):
            continue
        found = [m for c in here if step in c.model_fields for m in _models_in(c.model_fields[step].annotation)]
        if not found:  # a union's tag
            found = [c for c in here if _tag_of(c) == step] or here
        here = found
    return sorted({name for c in here for name in c.model_fields})


_FARTHER = 0.25
"""How much less alike a key in another section counts than one in the section that was meant."""


def nearest_key(cls: type[pydantic.BaseModel], path: Sequence[Any]) -> str:
    """The fix for an unknown key at `path`: the nearest key beside it or, by its dotted path, anywhere below `cls`.

    A key is near when it is spelt alike or is given by its initials or some of its words (`lr`, `rate` for `learning_rate`).
    """
    word, here = str(path[-1]), _known_fields(cls, path[:-1])
    names = [str(step) for step in path if not isinstance(step, int)]
    found = [(_alike(word, name), name) for name in here]
    for place in _places(cls, (), ()):
        if not _within(place, names):
            found.append((_alike(word, place[-1]) - _FARTHER, ".".join(place)))
    near = sorted((-score, name.count("."), name) for score, name in found if score >= 0.5)
    return f"did you mean `{near[0][2]}`?" if near else did_you_mean(word, here)


def _alike(word: str, name: str) -> float:
    """From 0 to 1; 1 for the same word or its initials, 0.9 for its first or last words."""
    word = word.lower()
    if word in (name, "".join(part[0] for part in name.split("_") if part)):
        return 1.0
    if name.startswith(f"{word}_") or name.endswith(f"_{word}"):
        return 0.9
    return difflib.SequenceMatcher(None, word, name).ratio()


def _within(place: Sequence[str], names: Sequence[str]) -> bool:
    """Whether `place` is `names` less the tags of unions in it: a key of another member of the same union."""
    rest = iter(names)
    return all(step in rest for step in place)


def _places(cls: type[pydantic.BaseModel], above: tuple[str, ...], seen: tuple[type, ...]) -> Iterator[tuple[str, ...]]:
    """The path of every field below `cls`."""
    for name, field in cls.model_fields.items():
        yield (*above, name)
        for model in _models_in(field.annotation):
            if model not in seen:
                yield from _places(model, (*above, name), (*seen, cls))


def _tag_of(cls: type[pydantic.BaseModel]) -> str | None:
    field = cls.model_fields.get("kind")
    return str(field.default) if field is not None else None


def _models_in(annotation: Any) -> list[type[pydantic.BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return [annotation]
    return [m for arg in get_args(annotation) for m in _models_in(arg)]
