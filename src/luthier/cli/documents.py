"""The documents of `--json`: one pydantic model a verb, each with `kind` and `version`.

One decision: a document holds facts and never prose for people; fields are added, never renamed.
"""

from __future__ import annotations

from typing import Any, Literal

import pydantic


class Document(pydantic.BaseModel):
    """Base of every `--json` document."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1


class PlanStep(pydantic.BaseModel):
    """One stage of a plan. `state`: built, in progress (a stopped build will go on), or to build."""

    model_config = pydantic.ConfigDict(frozen=True)

    role: str
    stage: str
    key: str
    state: Literal["built", "in progress", "to build"]


class PlanDocument(Document):
    """`luthier plan --json`."""

    kind: Literal["plan"] = "plan"
    project: str
    steps: tuple[PlanStep, ...]
    advice: tuple[str, ...]


class RunDocument(Document):
    """`luthier run --json`."""

    kind: Literal["run"] = "run"
    run: int
    name: str
    folder: str
    cached: bool
    verdict: dict[str, Any]


class TrainDocument(Document):
    """`luthier train --json`."""

    kind: Literal["train"] = "train"
    key: str
    folder: str
    cached: bool
    checkpoint: dict[str, Any]


class EvalDocument(Document):
    """`luthier eval --json`."""

    kind: Literal["eval"] = "eval"
    key: str
    folder: str
    cached: bool
    looks: int | None
    predictions: dict[str, Any]


class CompareDocument(Document):
    """`luthier compare --json`: `a` is the opponent, `b` the challenger."""

    kind: Literal["compare"] = "compare"
    a: str
    b: str
    looks: int
    verdict: dict[str, Any]


class RunsDocument(Document):
    """`luthier show --json`."""

    kind: Literal["runs"] = "runs"
    runs: tuple[dict[str, Any], ...]


class ArtifactsDocument(Document):
    """`luthier show artifacts --json`."""

    kind: Literal["artifacts"] = "artifacts"
    artifacts: tuple[dict[str, Any], ...]


class ShowRunDocument(Document):
    """`luthier show RUN --json`."""

    kind: Literal["show_run"] = "show_run"
    run: dict[str, Any]
    folder: str
    report: dict[str, Any] | None
    lineage: tuple[dict[str, Any], ...]


class ChatDocument(Document):
    """`luthier chat MODEL --prompt TEXT --json`."""

    kind: Literal["chat"] = "chat"
    model: str
    prompt: str
    answer: str
    finish: str
    label_logprobs: dict[str, float] = {}


class ModelsDocument(Document):
    """`luthier models list --json`."""

    kind: Literal["models"] = "models"
    models: tuple[dict[str, Any], ...]


class ModelDocument(Document):
    """`luthier models show|pull --json`."""

    kind: Literal["model"] = "model"
    model: dict[str, Any]


class InitDocument(Document):
    """`luthier init --json`."""

    kind: Literal["init"] = "init"
    folder: str
    files: tuple[str, ...]


class DataShowDocument(Document):
    """`luthier data show --json`: each row as pieces of text, trained or not."""

    kind: Literal["data_show"] = "data_show"
    split: str
    rows: tuple[dict[str, Any], ...]
    lengths: dict[str, Any]
