"""Finds every check in this folder.

One decision: the folder is the registry: a module here that defines a check class is a check, with its
defaults; there is no list to edit.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TypeVar

from luthier.parts import checks
from luthier.parts.checks.contract import CorpusCheck, RecordCheck, RecordsCheck, TextCheck

Check = TypeVar("Check", TextCheck, RecordCheck, RecordsCheck, CorpusCheck)


def find_checks(base: type[Check]) -> dict[str, Check]:
    """Every check of one kind with its defaults, by module name, in alphabetical order."""
    found: dict[str, Check] = {}
    for module_info in sorted(pkgutil.iter_modules(checks.__path__), key=lambda m: m.name):
        module = importlib.import_module(f"{checks.__name__}.{module_info.name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__ and value is not base:
                found[module_info.name] = value()
    return found
