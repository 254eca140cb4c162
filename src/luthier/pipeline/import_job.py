"""A foreign job file on its way to a project: what was carried over, what was not and why, line by line.

One decision: every key of the file is accounted for. A key that no importer mentions becomes a line too, and a default
of the other tool that changes the training is written out, because Luthier's own default may be another.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from luthier.core.errors import UserError

Fate = Literal["carried", "default", "not carried", "no effect"]
MISSING = object()
_SECRET = re.compile(r"hub_token|api_key|secret|password")


@dataclass(frozen=True, slots=True)
class Line:
    """One setting: `key` and `value` of the foreign file, its fate, where it went (`to`), and a note on how or why not.

    `default`: the file does not give it, and the other tool's own default was written; `no effect`: it cannot change the model.
    """

    key: str
    value: str
    fate: Fate
    to: str = ""
    note: str = ""


@dataclass
class Job:
    """data: the foreign file; folder: where it stands; out: the folder of the project file to come."""

    data: dict[str, Any]
    folder: Path
    out: Path
    project: dict[str, Any] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    untrainable: list[str] = field(default_factory=list)
    _seen: set[str] = field(default_factory=set)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key (dots step into sections), or `default`; nothing is marked."""
        here: Any = self.data
        for step in key.split("."):
            if not isinstance(here, dict) or here.get(step) is None:
                return default
            here = here[step]
        return here

    def put(self, to: str, value: Any) -> None:
        """Set a dotted path of the project."""
        *path, last = to.split(".")
        here = self.project
        for step in path:
            here = here.setdefault(step, {})
        here[last] = value

    def carry(self, key: str, to: str, default: Any = MISSING, note: str = "") -> None:
        """Copy a value; when it is absent write the other tool's default, if one is given."""
        value = self.get(key)
        if value is not None:
            self.carry_as(key, to, value, note)
        elif default is not MISSING:
            self.put(to, default)
            self.lines.append(Line(key, "", "default", to, f"{shown(default)}{': ' + note if note else ''}"))

    def carry_as(self, key: str, to: str, value: Any, note: str = "") -> None:
        """Write `value` for a key, changed or not; how it was changed belongs in `note`."""
        self.put(to, value)
        same = value == self.get(key)
        self.lines.append(Line(key, self._value(key), "carried", f"{to}{'' if same else ' = ' + shown(value)}", note))
        self._seen.add(key)

    def leave(self, key: str, why: str) -> None:
        """A key that is given and has no counterpart. False, 0 and empty values ask for nothing and are not reported as lost."""
        value = self.get(key)
        if value is None:
            return
        self._seen.add(key)
        idle = value in (False, 0, "", "none", "None", [], {})
        self.lines.append(Line(key, self._value(key), "no effect" if idle else "not carried", "", "off" if idle else why))

    def stop(self, key: str, why: str) -> None:
        """A key that asks for what cannot be trained at all."""
        self._seen.add(key)
        self.lines.append(Line(key, self._value(key), "not carried", "", f"cannot be trained: {why}"))
        self.untrainable.append(why)

    def ignore(self, keys: tuple[str, ...], why: str = "does not change the trained model") -> None:
        """Keys about logging, folders and machines."""
        for key in keys:
            if self.get(key) is not None:
                self._seen.add(key)
                self.lines.append(Line(key, self._value(key), "no effect", "", why))

    def seen(self, *keys: str) -> None:
        """Keys that other lines account for."""
        self._seen.update(k for k in keys if self.get(k) is not None)

    def add(self, to: str, value: Any, note: str) -> None:
        """Something that a project needs and the foreign file does not say."""
        self.put(to, value)
        self.lines.append(Line("", "", "default", to, f"{shown(value)}: {note}"))

    def whole(self, key: str, default: int) -> int:
        """A whole number from 1. Raises UserError."""
        value = self.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UserError("a whole number from 1 is wanted", shown(value), key)
        return value

    def _value(self, key: str) -> str:
        """The foreign value on one line; a credential is never shown."""
        return "(hidden)" if _SECRET.search(key) else shown(self.get(key))

    def finish(self) -> None:
        """A line for every key that nobody mentioned."""
        for key in _leaves(self.data):
            if not any(key == s or key.startswith(s + ".") for s in self._seen):
                value = self.get(key)
                if value is None or value == {}:
                    continue
                self.lines.append(Line(key, self._value(key), "not carried", "", "not known to this importer"))


def _leaves(data: dict[str, Any], above: str = "") -> list[str]:
    """Dotted paths of every value that is not a mapping."""
    out: list[str] = []
    for key, value in data.items():
        path = f"{above}{key}"
        out += _leaves(value, f"{path}.") if isinstance(value, dict) and value else [path]
    return out


def shown(value: Any) -> str:
    """A value on one line."""
    text = ", ".join(str(v) for v in value) if isinstance(value, (list, tuple)) else str(value)
    return " ".join(text.split())[:120]
