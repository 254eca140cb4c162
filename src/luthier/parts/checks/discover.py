"""Finds every check in this folder.

One decision: the folder is the registry: a module here that defines a check class is a check, named by its module;
there is no list to edit.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from typing import TypeVar

from luthier.parts import checks
from luthier.parts.checks.contract import Check, CorpusCheck, RecordCheck, RecordsCheck, TextCheck

AnyCheck = TypeVar("AnyCheck", TextCheck, RecordCheck, RecordsCheck, CorpusCheck)
KINDS = (TextCheck, RecordCheck, RecordsCheck, CorpusCheck)


@functools.cache
def check_classes() -> dict[str, type[Check]]:
    """Every check by module name, in alphabetical order."""
    found: dict[str, type[Check]] = {}
    for module_info in sorted(pkgutil.iter_modules(checks.__path__), key=lambda m: m.name):
        module = importlib.import_module(f"{checks.__name__}.{module_info.name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, KINDS) and value.__module__ == module.__name__ and value not in KINDS:
                found[module_info.name] = value
    return found


def find_checks(base: type[AnyCheck]) -> dict[str, AnyCheck]:
    """Every check of one kind with its defaults, by name; not those with an option that has none."""
    classes = {name: cls for name, cls in check_classes().items() if issubclass(cls, base)}
    return {name: cls() for name, cls in classes.items() if not any(f.is_required() for f in cls.model_fields.values())}


def standing_checks(base: type[AnyCheck]) -> dict[str, AnyCheck]:
    """Those of `find_checks` that look at every file that is read."""
    return {name: check for name, check in find_checks(base).items() if check.standing}
