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
    estimate: dict[str, Any] | None = None
    probe: dict[str, Any] | None = None


class BenchStep(pydantic.BaseModel):
    """One candidate of a dry run. `state`: built, in progress, to build, or skipped (`what` is then the reason)."""

    model_config = pydantic.ConfigDict(frozen=True)

    name: str
    state: Literal["built", "in progress", "to build", "skipped"]
    what: str


class BenchPlanDocument(Document):
    """`luthier bench --dry-run --json`."""

    kind: Literal["bench_plan"] = "bench_plan"
    project: str
    candidates: tuple[BenchStep, ...]


class BenchDocument(Document):
    """`luthier bench --json`: candidates from best to worst on validation rows, every pair, the groups and the decision in words.

    Latency in milliseconds a row answered alone, memory and size in MB of 10^6 bytes; `table` is what `bench.json` holds.
    """

    kind: Literal["bench"] = "bench"
    project: str
    folder: str
    table: dict[str, Any]
    decision: dict[str, Any]


class RunDocument(Document):
    """`luthier run --json`. bars: those of the objective, with their outcomes. refused: side effects that were found and are refused.

    accepted: better, every bar met and nothing refused (exit code 0).
    """

    kind: Literal["run"] = "run"
    run: int
    name: str
    folder: str
    cached: bool
    verdict: dict[str, Any]
    bars: tuple[dict[str, Any], ...] = ()
    refused: tuple[str, ...] = ()
    accepted: bool


class TrainDocument(Document):
    """`luthier train --json`."""

    kind: Literal["train"] = "train"
    key: str
    folder: str
    cached: bool
    checkpoint: dict[str, Any]


class RemoteTrainDocument(Document):
    """`luthier train --on URL --json`."""

    kind: Literal["train_remote"] = "train_remote"
    key: str
    folder: str
    cached: bool
    remote: dict[str, Any]


class ProfilePart(pydantic.BaseModel):
    """One part of a step. `limit_ms`: its unavoidable FLOPs at the measured rate of matrix products, or null."""

    model_config = pydantic.ConfigDict(frozen=True)

    name: str
    milliseconds: float
    share: float
    limit_ms: float | None


class ProfileDocument(Document):
    """`luthier train --profile --json`: milliseconds are of one optimiser step; the parts add up to `profiled_ms`."""

    kind: Literal["profile"] = "profile"
    engine: str
    steps: int
    step_ms: float
    profiled_ms: float
    limit_ms: float
    ratio_to_limit: float
    gemm_gflops: float
    tokens: int
    parts: tuple[ProfilePart, ...]
    trace: str


class LrRangeDocument(Document):
    """`luthier train --lr-range --json`: one figure a step. suggested: where the smoothed loss falls most steeply, or null.

    diverged: the rate at which the loss blew up, or null. current: `train.learning_rate`. usual: the recommended rates, or null.
    """

    kind: Literal["lr_range"] = "lr_range"
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggested: float | None
    diverged: float | None
    current: float
    usual: tuple[float, float] | None
    plot: str
    figures: str


class HarnessDocument(Document):
    """`luthier harness MODEL --tasks NAMES --json`: the harness's own figures by task."""

    kind: Literal["harness"] = "harness"
    model: str
    tasks: tuple[str, ...]
    num_fewshot: int | None
    limit: int | None
    results: dict[str, dict[str, Any]]


class EvalDocument(Document):
    """`luthier eval --json`."""

    kind: Literal["eval"] = "eval"
    key: str
    folder: str
    cached: bool
    looks: int | None
    predictions: dict[str, Any]


class CompareDocument(Document):
    """`luthier compare --json`: `comparison` has the runs from best to worst, every pair, the groups, and what differs.

    a, b, verdict: of two runs, the opponent, the challenger and what is proven; null with more. page: what `--out` wrote, or null.
    """

    kind: Literal["compare"] = "compare"
    a: str | None = None
    b: str | None = None
    looks: int
    verdict: dict[str, Any] | None = None
    comparison: dict[str, Any]
    page: str | None = None


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


class PiiKind(pydantic.BaseModel):
    """What was found of one kind: values, distinct values, rows, values by column, and the first 1,000 places."""

    model_config = pydantic.ConfigDict(frozen=True)

    name: str
    values: int
    distinct: int
    rows: int
    columns: dict[str, int]
    places: tuple[str, ...]


class DataPiiDocument(Document):
    """`luthier data pii --json`: counts and places, never a value. key: whose key the copy is under."""

    kind: Literal["data_pii"] = "data_pii"
    file: str
    format: str
    rows: int
    rows_with: int
    unreadable: tuple[str, ...]
    kinds: tuple[PiiKind, ...]
    copy_file: str | None
    style: Literal["tag", "fake"]
    key: Literal["project", "fresh", "none"]


class ExportDocument(Document):
    """`luthier export MODEL --json`: the folder and what its export.json says (figures, bound, files with hashes)."""

    kind: Literal["exported"] = "exported"
    folder: str
    record: dict[str, Any]


class ImportDocument(Document):
    """`luthier import FILE --json`: one line for each setting of the foreign file, with its fate."""

    kind: Literal["imported"] = "imported"
    format: str
    file: str
    lines: tuple[dict[str, Any], ...]
    trainable: bool


class DataReviewDocument(Document):
    """`luthier data review --json`: the queue, most surely wrong first, with each row's outcome so far.

    reviewers: how often each decided what. agreement: `measure` (`cohen_kappa`, `krippendorff_alpha`, or null with `why`), its value
    and interval, `items` decided by two or more, and `same`. sample: of the rows drawn at random, how many were `decided`, `wrong`,
    and the rate with its interval, or null. applied: what `--apply` wrote and the line to paste, or null.
    """

    kind: Literal["data_review"] = "data_review"
    file: str
    queue: int
    checks: tuple[str, ...]
    mapping: dict[str, Any]
    rows: int
    set_aside: int
    notes: tuple[str, ...]
    labels: tuple[str, ...]
    reviewers: dict[str, dict[str, int]]
    agreement: dict[str, Any]
    undecided: int
    disputed: int
    sample: dict[str, Any] | None
    items: tuple[dict[str, Any], ...]
    applied: dict[str, Any] | None


class DataCleanDocument(Document):
    """`luthier data clean FILE --json`: rows by fate, texts by repair, rows taken away by check; at most 1,000 of each are listed."""

    kind: Literal["data_clean"] = "data_clean"
    file: str
    format: str
    mapping: dict[str, Any]
    rows: int
    fates: dict[str, int]
    repairs: dict[str, int]
    checks: dict[str, int]
    changes: tuple[dict[str, Any], ...]
    removed: tuple[dict[str, Any], ...]
    findings: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]
    out: str | None
    changes_file: str | None


class DataUndoneDocument(Document):
    """`luthier data clean FILE --undo --json`: the file with the rows as they were."""

    kind: Literal["data_undone"] = "data_undone"
    file: str
    rows: int
    unreadable: int
    out: str


class DataWhyDocument(Document):
    """`luthier data why ROW --json`: for each row that was named, its steps, changes, findings and answers, in order."""

    kind: Literal["data_why"] = "data_why"
    row: str
    stories: tuple[dict[str, Any], ...]


class DataDiffDocument(Document):
    """`luthier data diff A B --json`: counts in full; at most 1,000 rows of each list. label_shift: total variation distance, in [0, 1]."""

    kind: Literal["data_diff"] = "data_diff"
    a: str
    b: str
    rows: dict[str, int]
    counts: dict[str, int]
    added: tuple[dict[str, Any], ...]
    removed: tuple[dict[str, Any], ...]
    changed: tuple[dict[str, Any], ...]
    moved: tuple[dict[str, Any], ...]
    labels: dict[str, dict[str, int]]
    label_shift: float | None
    lengths: dict[str, dict[str, dict[str, float]]]
    findings: dict[str, dict[str, int]]


class DataFrozenDocument(Document):
    """`luthier data freeze NAME --json`: the version, its split's key and folder, and whether it was named so already."""

    kind: Literal["data_frozen"] = "data_frozen"
    version_name: str
    key: str
    folder: str
    known: bool
    rows: dict[str, int]
