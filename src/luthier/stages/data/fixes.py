"""What puts a finding right: the command for the file and the line under `data` of a project, or words where only a person can.

One decision: a fix is made from the name of the check, so a new check has one (to set its rows aside) without being listed;
only checks that a repair or a verb of its own answers, and those that no machine can answer, are named here.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import yaml

from luthier.report.data_model import DataFix

_REPAIRED = {"mojibake": "mojibake", "html_residue": "html", "control_characters": "control_characters"}
_DISTINCT = "clean: {checks: [{kind: near_duplicates, fate: drop}]}"
_WORDS = {
    "reading": "Correct these rows in the file: what they mean is never guessed.",
    "class_balance": "Collect rows of the rare labels, or judge the result label by label.",
    "label_variants": "Write each label in one way in the file; only a person knows whether two spellings are one label.",
    "duplicate_ids": "Give each row an id of its own, or leave the id out of the mapping.",
    "relevance": "Look at these rows, and take out what is not of the task: give the check that found them `fate: set_aside`.",
    "conflicts": "Decide which label or answer is right, and correct or take out the other rows.",
}


def fix_for(check: str, file: str, mapping: str | None = None) -> DataFix:
    """The fix of one finding of `check` in `file` (as the user typed it); mapping: of `--map`, when one was given."""
    if check in _WORDS:
        return DataFix(words=_WORDS[check])
    given = shlex.quote(file) + (f" --map {shlex.quote(mapping)}" if mapping else "")
    suffix = next((s for s in (".csv", ".tsv") if file.endswith(s)), ".jsonl")
    if check in _REPAIRED:
        repair = _REPAIRED[check]
        command, yaml = f"clean {given} --repair {repair} --out cleaned{suffix}", f"clean: {{repairs: [{repair}]}}"
    elif check in ("duplicates", "near_duplicates"):
        command, yaml = f"duplicates {given} --out distinct{'.jsonl' if suffix == '.tsv' else suffix}", _DISTINCT
    elif check == "personal_data":
        command, yaml = f"pii {given} --redact redacted{suffix}", "clean: {checks: [{kind: personal_data, fate: drop}]}"
    else:
        command = f"clean {given} --repair none --check {shlex.quote(check)} --out cleaned{suffix}"
        yaml = f"clean: {{repairs: [], checks: [{_step(check)}]}}"
    return DataFix(command=f"luthier data {command}", yaml=yaml)


def files_line(file: Path, project: Path) -> str:
    """The line under `data` of a project that reads one file; a relative path is told from the folder of the project file."""
    path = file if file.is_absolute() else Path(os.path.relpath(file, project))
    line = yaml.safe_dump({"files": [path.as_posix()]}, default_flow_style=True, allow_unicode=True, width=1 << 20)
    return line.strip().removeprefix("{").removesuffix("}")


def _step(check: str) -> str:
    """A check that sets rows aside, as YAML: `refusals`, or with one option that is a list: `language:languages=en`."""
    name, _, rest = check.partition(":")
    key, _, value = rest.partition("=")
    return f"{{kind: {name}, {f'{key}: [{value}], ' if rest else ''}fate: set_aside}}"
