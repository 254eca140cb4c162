"""The artifact types: what each kind of finished stage says about itself (`record.json: result`).

One decision: the types live here and not with their stages, so that a stage can name its input by type
without knowing who makes it.
"""

from __future__ import annotations

from typing import Any, Literal

import pydantic

from luthier.core.stage import Artifact


class BaseModel(Artifact):
    """A pretrained model in a local folder of safetensors (read-only, outside the store)."""

    name: str
    folder: str
    weights_sha256: str
    architecture: str
    num_parameters: int
    context_length: int
    licence: str
    source: str
    kind: Literal["decoder", "encoder", "seq2seq"] = "decoder"


class Dataset(Artifact):
    """Rows in JSONL files by split (`any`, `train`, `validation`, `test`), with `ledger.jsonl` beside them.

    answers: the form of a row's answer: text (one of `labels` when there are any), a JSON list of labels, or a number.
    """

    kind: str
    files: dict[str, str]
    counts: dict[str, int]
    labels: tuple[str, ...] = ()
    answers: Literal["text", "labels", "number"] = "text"
    ledger: dict[str, int] = {}
    findings: int = 0


class Prepared(Artifact):
    """Tokenised training and validation rows (`<split>.npz`), the renderer, lengths and the ledger so far."""

    renderer_hash: str
    counts: dict[str, int]
    tokens: dict[str, int]
    trained_tokens: dict[str, int]
    max_length: int
    labels: tuple[str, ...] = ()


class Checkpoint(Artifact):
    """A trained adapter in `adapter/` (PEFT format) with the renderer in `renderer/`."""

    base: str
    base_folder: str
    base_sha256: str
    method: dict[str, Any]
    renderer_hash: str
    engine: str
    steps: int
    best_step: int
    best: dict[str, float]
    stopped: str
    num_trainable: int
    trained_tokens: int
    adapter_sha256: str
    micro_batch_tokens: int | None = None
    recomputed_layers: int = 0
    predicted_memory_bytes: int | None = None


class RemoteModel(Artifact):
    """A model that was tuned elsewhere: where it is and under what name; its adapter in `adapter/` when the server gave one."""

    url: str
    base: str
    model: str
    job: str
    trained_tokens: int | None
    hyperparameters: dict[str, Any]
    sent: dict[str, str]
    rows: dict[str, int]
    results: tuple[str, ...]
    adapter_sha256: str | None


class Prompting(Artifact):
    """How the base is asked, chosen on validation rows: `prompting.json` and every candidate's figures."""

    chosen: str
    metric: str
    validation: dict[str, float]


class ClassicalModel(Artifact):
    """A model that is no language model, fitted on the training rows, in the artifact's folder; some read an encoder's embeddings."""

    kind: str
    settings: dict[str, float] = {}
    base: str | None = None
    base_folder: str | None = None


class Footprint(Artifact):
    """What answering rows one by one costs on one machine, in a process of its own. latency_ms: the median with its interval.

    peak_memory_mb: of that process, model included. tokens_per_character: of the rows' own text; None without a tokenizer.
    """

    num_rows: int
    latency_ms: dict[str, float]
    cpu_seconds_per_row: float
    peak_memory_mb: float
    size_mb: float
    tokens_per_character: float | None
    machine: str
    measured: str


class LanguageFit(Artifact):
    """How well a base knows the language of the rows' own text; each figure is value, low and high.

    perplexity: of a token, comparable between bases of one vocabulary; bits_per_character: comparable between all.
    """

    num_rows: int
    perplexity: dict[str, float]
    bits_per_character: dict[str, float]


class Predictions(Artifact):
    """One model's answers to one split (`predictions.jsonl`) and their scores with intervals."""

    model: str
    split: str
    metric: str
    num_rows: int
    num_cut: int = 0  # answers that reached the limit of tokens before they ended
    scores: dict[str, dict[str, float]]
    seconds: float = 0.0


class Effects(Artifact):
    """What training did besides the task, in a word each (`side_effects.json` has the figures)."""

    forgetting: str
    memorisation: str


class Verdict(Artifact):
    """The paired comparison on sealed rows: DESIGN section 6."""

    decision: str
    metric: str
    baseline: float
    tuned: float
    effect: float
    interval: tuple[float, float]
    p: float
    test: str
    num_rows: int
    minimum_detectable_effect: float
    alpha: float = 0.05
    sentence: str = ""


class BarOutcome(pydantic.BaseModel):
    """One bar of an objective. value, low, high: the metric of the tuned model, or for `no_worse_than` its gain over `against`."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    metric: str
    kind: Literal["at_least", "at_most", "no_worse_than"]
    bar: float
    against: str | None = None
    value: float
    low: float
    high: float
    num_rows: int
    method: str
    outcome: Literal["met", "not met", "not proven"]


class Bars(Artifact):
    """Every bar of the objective on the sealed rows, in the order of the project file."""

    bars: tuple[BarOutcome, ...]


class Shift(pydantic.BaseModel):
    """One model on rows of another kind, or on sealed rows that were changed. before: on the sealed rows that it is compared with.

    change: after less before, turned so that below 0 is a loss; None where the right answer may have changed too. answers_changed: the
    share of changed rows with another answer. num_left_out: sealed rows that the perturbation could not change.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Literal["out of domain", "perturbation"]
    model: Literal["tuned", "baseline"]
    metric: str
    before: float
    after: float
    after_low: float
    after_high: float
    num_rows: int
    change: float | None = None
    change_low: float | None = None
    change_high: float | None = None
    method: str = ""
    answers_changed: float | None = None
    answers_changed_low: float | None = None
    answers_changed_high: float | None = None
    num_left_out: int = 0


class Robustness(Artifact):
    """The deciding metric on rows of another kind and on changed rows."""

    shifts: tuple[Shift, ...]
