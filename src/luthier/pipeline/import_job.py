"""A foreign job file on its way to a project: what was carried over, what was not and why, line by line.

One decision: every value of the file has a line, and `finish` compares the lines with the file itself, so that nothing rests
on an importer's memory. A default of the other tool that changes the training is written out: Luthier's own may be another.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from luthier.core.errors import UserError

Fate = Literal["carried", "changed", "default", "not carried", "no effect"]
MISSING = object()
_SECRET = re.compile(r"^env\.|(?:hub|hf|ms|om|wandb|access|api|auth|bearer)_?token|api_?key|secret|passw|credential|webhook", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"\b(?:hf_|sk-|sk_)[A-Za-z0-9_-]{8,}|(?<=//)[^/@\s]+(?=@)")
HIDDEN = "(hidden)"


@dataclass(frozen=True, slots=True)
class Line:
    """One setting: `key` and `value` of the foreign file, its fate, where it went (`to`), and a note on how or why not.

    carried: as it stands. changed: it has a place, with another value or meaning. default: the file does not give it, and the
    other tool's own default was written. not carried: it has no place. no effect: it cannot change the model.
    """

    key: str
    value: str
    fate: Fate
    to: str = ""
    note: str = ""


@dataclass
class Job:
    """data: the foreign file; folder: where it stands; out: the folder of the project file to come.

    paths: where a key that an importer reads under another name stands in the file (`r` -> `lora.lora_r`).
    """

    data: dict[str, Any]
    folder: Path
    out: Path
    project: dict[str, Any] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    untrainable: list[str] = field(default_factory=list)
    paths: dict[str, str] = field(default_factory=dict)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key (dots step into sections and lists), or `default`; nothing is noted."""
        here: Any = self.data
        for step in key.split("."):
            if isinstance(here, list) and step.isdigit() and int(step) < len(here):
                here = here[int(step)]
            elif isinstance(here, dict) and here.get(step) is not None:
                here = here[step]
            else:
                return default
        return here

    def line(self, key: str, fate: Fate, to: str = "", note: str = "") -> None:
        """Note the fate of a key of the file."""
        path = self.paths.get(key, key)
        self.lines.append(Line(path, value_of(path, self.get(key)), fate, to, note))

    def put(self, to: str, value: Any) -> None:
        """Set a dotted path of the project."""
        *path, last = to.split(".")
        here = self.project
        for step in path:
            here = here.setdefault(step, {})
        here[last] = value

    def carry(self, key: str, to: str, default: Any = MISSING, note: str = "") -> None:
        """Copy a value; when it is absent write the other tool's default, if one is given. `note` explains the default."""
        value = self.get(key)
        if value is not None:
            self.carry_as(key, to, value)
        elif default is not MISSING:
            self.add(to, default, note)

    def carry_as(self, key: str, to: str, value: Any, note: str = "") -> None:
        """Write `value` for a key, changed or not; how it was changed belongs in `note`."""
        self.put(to, value)
        same = value == self.get(key)
        self.line(key, "carried" if same else "changed", f"{to}{'' if same else ' = ' + shown(value)}", note)

    def leave(self, key: str, why: str) -> None:
        """A key that has no counterpart. False, 0 and empty values ask for nothing and are not reported as lost."""
        value = self.get(key)
        if value is not None:
            idle = value in (False, 0, "", "none", "None", [], {})
            self.line(key, "no effect" if idle else "not carried", "", "off" if idle else why)

    def stop(self, key: str, why: str) -> None:
        """A key that asks for what cannot be trained at all."""
        self.line(key, "not carried", "", f"cannot be trained: {why}")
        self.untrainable.append(why)

    def ignore(self, keys: tuple[str, ...], why: str = "does not change the trained model") -> None:
        """Keys about logging, folders and machines, and keys that another line explains."""
        for key in keys:
            if self.get(key) is not None:
                self.line(key, "no effect", "", why)

    def add(self, to: str, value: Any, note: str) -> None:
        """Something that a project needs and the foreign file does not say."""
        self.put(to, value)
        self.lines.append(Line("", "", "default", to, f"{shown(value)}: {note}"))

    def whole(self, key: str, default: int) -> int:
        """A whole number from 1. Raises UserError."""
        value = self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UserError("a whole number from 1 is wanted", shown(value), self.paths.get(key, key))
        return value

    def finish(self, source: dict[str, Any]) -> None:
        """A line for every value of the file as it was read (`source`) that has none yet."""
        told = {line.key for line in self.lines}
        for path, value in leaves(source):
            steps = path.split(".")
            if any(".".join(steps[:n]) in told for n in range(1, len(steps) + 1)):
                continue
            if value is None or value in ({}, [], ""):
                self.lines.append(Line(path, shown(value), "no effect", "", "empty"))
            else:
                self.lines.append(Line(path, value_of(path, value), "not carried", "", "not known to this importer"))


def leaves(data: Any, above: str = "") -> list[tuple[str, Any]]:
    """(dotted path, value) of everything that is not a mapping and not a list with mappings in it."""
    inner = data.items() if isinstance(data, dict) else enumerate(data)
    out: list[tuple[str, Any]] = []
    for key, value in inner:
        nested = (isinstance(value, dict) and value) or (isinstance(value, list) and any(isinstance(v, dict) for v in value))
        out += leaves(value, f"{above}{key}.") if nested else [(f"{above}{key}", value)]
    return out


def value_of(path: str, value: Any) -> str:
    """A value of the file on one line; a credential is never shown, wherever it stands."""
    return HIDDEN if _SECRET.search(path) and not isinstance(value, (bool, type(None))) else shown(value)


def shown(value: Any) -> str:
    """A value on one line, without credentials."""
    if isinstance(value, dict):
        text = ", ".join(f"{k}: {value_of(str(k), v)}" for k, v in value.items())
    else:
        text = ", ".join(shown(v) for v in value) if isinstance(value, (list, tuple)) else str(value)
    return _SECRET_VALUE.sub(HIDDEN, " ".join(text.split()))[:120]
