"""luthier init: a project folder with a commented luthier.yaml, from an example or from the user's own file.

One decision: nothing existing is ever overwritten; a folder that holds anything is refused.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import luthier
from luthier.core.errors import UserError, did_you_mean
from luthier.parts.tasks import defaults_of

TEMPLATE = """\
# A Luthier project. `luthier plan` shows what would run, `luthier run` runs it to a verdict.
name: {name}

objective:
  task: {task}                # classify, multi_label, regression, extract, answer, chat, rewrite, summarise, translate, rank, pretrain ...
  goal: Say here what the model is for, in one sentence.
  # metric: accuracy          # the number that decides; a task has a sensible default
  # affected: [who the answers touch]

base: smollm2-135m-instruct   # `luthier models list` shows the others; a folder or a .gguf file works too

data:
  files:
    - path: {path}
      # licence: CC BY 4.0
{mapping}
{prompt}
split: {{validation: 0.1, test: 0.2, seed: 13}}   # test rows are sealed: only the verdict looks at them

prepare: {{max_length: 1024, too_long: {too_long}}}

train:
  method: {{kind: lora, rank: 16}}
  learning_rate: 5e-4
  schedule: {{kind: cosine, warmup_ratio: 0.05}}
  epochs: 1
  batch_size: 16
"""
NOT_TRAINED = ("preference", "openai_preference", "kto")
TASK_OF = {"classification": "classify", "entities": "extract", "text": "pretrain"}
"""The task of a kind of rows; `chat` for any other."""
DOCUMENTS = "       # a row is what stands between blank lines; or `line`, or `file`: one row for each file"
CLASSIFY_PROMPT = """\
  prompt:
    system: "{system}"
    user: "{{{text}}}"
"""


def examples_folder() -> Path:
    """Where the shipped examples are: in the package, or in the checkout it was installed from."""
    inside = Path(luthier.__file__).parent / "examples"
    return inside if inside.is_dir() else Path(luthier.__file__).parents[2] / "examples"


def create(folder: Path, example: str | None, data: Path | None) -> list[str]:
    """Create `folder`; returns the files in it. Raises UserError when it exists and is not empty, or the data cannot be mapped."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError("the folder must be new or empty", str(folder), fix="choose another name; nothing is overwritten")
    if (example is None) == (data is None):
        raise UserError("exactly one of --example NAME and --data FILE must be given", fix="known examples: " + ", ".join(known_examples()))
    if example is not None:
        return _copy_example(folder, example)
    assert data is not None
    text = project_text(folder, data)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "luthier.yaml").write_text(text, encoding="utf-8")
    return ["luthier.yaml"]


def known_examples() -> list[str]:
    """Names of the shipped examples."""
    return sorted(p.parent.name for p in examples_folder().glob("*/luthier.yaml"))


def _copy_example(folder: Path, example: str) -> list[str]:
    if example not in known_examples():
        raise UserError("a shipped example is wanted", repr(example), "--example", did_you_mean(example, known_examples()))
    shutil.copytree(examples_folder() / example, folder, ignore=shutil.ignore_patterns(".luthier", "__pycache__"), dirs_exist_ok=True)
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def project_text(folder: Path, data: Path) -> str:
    """The project file for the user's own data: its mapping proposed from the columns. Raises UserError when it is ambiguous."""
    from luthier.parts.sources.mapping import mapping_from, mapping_yaml
    from luthier.stages.data.check import check_file

    if not data.exists():
        raise UserError("the data file must exist", str(data), "--data")
    judged = check_file(data)
    if data.is_file() and judged.format.startswith("text"):
        judged = check_file(data, mapping_from({"kind": "text", "document": "paragraph"}))  # a file of one row cannot be divided
    if judged.mapping is None:
        reasons = [p.reason for p in judged.findings] or [p.reason for p in judged.set_aside[:1]] or ["its columns are not understood"]
        raise UserError(f"the data must have a known form (--data {data}): {'; '.join(reasons)}")
    mapping = mapping_from(judged.mapping)
    if mapping.kind in NOT_TRAINED:
        raise UserError(
            "the data must have a prompt and an answer in each row",
            f"{mapping.kind} rows",
            "--data",
            "this version trains on examples only",
        )
    classify = mapping.kind == "classification"
    text_column = judged.mapping.get("text", "text") if classify else ""
    return TEMPLATE.format(
        name=folder.resolve().name,
        task=TASK_OF.get(mapping.kind, "chat"),
        path=os.path.relpath(data, folder),
        mapping=mapping_yaml(mapping) + DOCUMENTS * ("document" in judged.mapping),
        too_long="split" if mapping.kind == "text" else "error",
        prompt=CLASSIFY_PROMPT.format(system=defaults_of("classify").system, text=text_column) if classify else "",
    )
