"""luthier.yaml as configs: what a project is, checked before anything runs and without importing torch.

One decision: the sections are the stages' own configs wherever that is possible, so there is one place
where a setting is declared, described and validated.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, field_validator, model_validator

from luthier.core.config import Config, apply_overrides, parse_config, read_yaml
from luthier.core.errors import UserError
from luthier.core.execution import Execution
from luthier.engine.decoding import Decoding
from luthier.parts.bars import Bar, check_bars, check_baselines
from luthier.parts.legal.fit import Doubt, IntendedUse, Rights, base_doubts, doubts
from luthier.parts.origins.loading import OriginConfig, long_form
from luthier.parts.perturbations.loading import PerturbationConfig
from luthier.parts.probe import read_probe
from luthier.parts.prompting import DEFAULT_WAYS, ZERO_SHOT, Prompting, each_number_of_shots
from luthier.parts.scorers import ScorerConfig, load
from luthier.parts.scorers.loading import default_metric
from luthier.parts.sources.mapping import Mapping
from luthier.parts.sources.prompt import PromptTemplate
from luthier.parts.tasks import Task, default_prompt, defaults_of, own_name
from luthier.parts.trackers.loading import TrackerConfig
from luthier.report.side_effects import SideEffect
from luthier.stages.choose.bench import BenchPlan
from luthier.stages.data.cleaning import CleanPlan
from luthier.stages.data.plant import CanaryPlan
from luthier.stages.data.prepare import PreparePlan
from luthier.stages.data.split import SplitPlan
from luthier.stages.train.recipe import Recipe

DEFAULT_FILE = "luthier.yaml"
SetName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,59}$")]


class Objective(Config):
    """What is wanted, for whom, and the number that decides, fixed before training."""

    task: Annotated[Task, BeforeValidator(own_name)]
    goal: str = Field(min_length=1)
    metric: ScorerConfig | None = None
    metrics: tuple[ScorerConfig, ...] = ()
    bars: dict[str, Bar] = Field(
        default={}, description="what a metric must reach, by the metric's name; all of them and the verdict decide"
    )
    constraints: tuple[str, ...] = ()
    affected: tuple[str, ...] = ()
    use: IntendedUse | None = Field(default=None, description="what the model is for, as far as licences ask; they are judged by it")

    @model_validator(mode="after")
    def _decides(self) -> Objective:
        if self.metric is None and defaults_of(self.task).metric is None:
            raise ValueError(f"the task {self.task} needs a metric with settings: {defaults_of(self.task).settings}")
        if not self.primary().higher_is_better:
            raise ValueError(f"the deciding metric must be one where higher is better: list {self.primary().name} under `metrics`")
        names = [s.name for s in (self.primary(), *self.others()) if s.kind != "custom"]  # a file of the user's names itself when it is run
        if len(set(names)) < len(names):
            raise ValueError(f"metrics must have different names, got {', '.join(names)}")
        for scorer in (self.primary(), *self.others()):
            if scorer.tasks and self.task not in scorer.tasks:
                raise ValueError(f"the metric {scorer.name} is for the task {' or '.join(scorer.tasks)}, got the task {self.task}")
        check_bars(self.bars, (self.primary(), *self.others()))
        return self

    def primary(self) -> Any:
        """The scorer that decides: the one named, or the task's default."""
        return self.metric or load(default_metric(self.task))

    def others(self) -> tuple[Any, ...]:
        """Further scorers, reported beside the primary one."""
        return tuple(s for s in self.metrics if s != self.primary())


class Place(Config):
    """Where rows are: a file beside the project file, or a source that gives some."""

    path: str | None = Field(
        default=None, description="a file beside the project file, an archive, or an address such as s3://bucket/rows.jsonl"
    )
    source: OriginConfig | None = Field(
        default=None, description="a source that is no file here; `hub:`, `sql:`, `url:` and `archive:` are short"
    )

    @model_validator(mode="after")
    def _one_place(self) -> Place:
        if (self.path is None) == (self.source is None):
            raise ValueError("a path or a source must be given, and not both")
        return self

    def shown(self) -> str:
        """Where the rows come from, in a report."""
        return self.path if self.path is not None else self.source.shown()  # type: ignore[union-attr]


class FileEntry(Rights, Place):
    """One data file, or a source that gives some, the split that its rows belong to (`any`: split by us), and the right to use it."""

    split: Literal["any", "train", "validation", "test"] = "any"


class OtherSet(Place):
    """Test rows of another kind than the sealed ones, asked in the same form and with the same labels."""

    mapping: Mapping | None = Field(default=None, description="where its columns differ from the data's")
    prompt: PromptTemplate | None = Field(default=None, description="where the placeholders of the data's prompt are columns that it lacks")


class NamedTestSet(Config):
    """A test set of the user's, of which no row may be trained on."""

    path: str = Field(description="the file, read against the project's folder")
    mapping: Mapping | None = Field(default=None, description="where its columns differ from the data's")


def _entry(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


def _or_default(schema: dict[str, Any]) -> None:
    """A prompt may be the word `default` too (`Project` writes it out)."""
    schema["anyOf"] = [*schema["anyOf"], {"const": "default"}]


class DataSection(Config):
    """Files, how their columns map to rows, and the prompt around them."""

    files: tuple[Annotated[FileEntry, BeforeValidator(long_form)], ...] = Field(min_length=1)
    mapping: Mapping
    prompt: PromptTemplate | None = Field(
        default=None, description="the words around a row; `default` takes those of the task", json_schema_extra=_or_default
    )
    labels: tuple[str, ...] | None = None
    strict: bool = Field(default=False, description="any bad row is an error")
    repairs: bool = Field(default=True, description="safe repairs (BOM, line ends, role spelling ...) are made and announced")
    against: tuple[Annotated[NamedTestSet, BeforeValidator(_entry)], ...] = Field(
        default=(), description="test sets of which no row may be trained on: the leakage check looks at them too"
    )
    clean: CleanPlan | None = Field(default=None, description="repairs of texts and checks of rows; nothing is cleaned when not given")

    @field_validator("files", "against", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return [value] if isinstance(value, (str, dict)) else value


class EvaluateSection(Config):
    """How answers are made and compared. `baselines` are the ways in which the untuned base is asked."""

    decoding: Decoding | None = None
    baselines: Annotated[tuple[Prompting, ...], BeforeValidator(each_number_of_shots)] = DEFAULT_WAYS
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    out_of_domain: dict[SetName, Annotated[OtherSet, BeforeValidator(long_form)]] = Field(
        default={}, description="test rows of other kinds by name, evaluated beside the sealed ones"
    )
    perturbations: tuple[PerturbationConfig, ...] = Field(
        default=(), description="changes of the sealed rows' text under which the tuned model is evaluated again"
    )
    perturb_opponent: bool = Field(default=False, description="ask the opponent under every perturbation too; it takes as long again")
    look_reason: str = Field(
        default="", description="why the sealed rows are looked at again, where `--reason` does not say; kept with each look"
    )

    @model_validator(mode="after")
    def _names(self) -> EvaluateSection:
        names = [b.name for b in self.baselines]
        if not names:
            raise ValueError("at least one baseline must be given: a verdict needs an opponent")
        if len(set(names)) < len(names):
            raise ValueError(f"baselines must have different names, got {', '.join(names)}")
        changes = [p.name for p in self.perturbations]
        if len(set(changes)) < len(changes):
            raise ValueError(f"each perturbation must be listed once, got {', '.join(changes)}")
        return self


class WatchSection(Config):
    """What is measured of a training besides its task: forgetting on a probe, memorisation, canaries."""

    side_effects: bool = Field(default=True, description="measure forgetting and memorisation after training")
    probe: str | None = Field(default=None, description="a JSONL file of prompts and answers; the shipped general one when not given")
    margin: float = Field(default=0.05, ge=0, description="nats a token on the probe up to which nothing is called forgotten")
    membership_rows: int = Field(default=200, ge=2, description="most training rows, and most unseen rows, whose losses are compared")
    canaries: int = Field(default=0, ge=0, le=1000, description="random secrets planted among the training rows, for each of the repeats")
    canary_repeats: tuple[int, ...] = Field(default=(1,), min_length=1, description="how often a canary stands in the rows")
    references: int = Field(default=255, ge=15, le=10_000, description="unseen secrets among which each canary is ranked")
    refuse: tuple[SideEffect, ...] = Field(default=(), description="what ends a run with `no` when it is proven: forgotten, memorised")

    @model_validator(mode="after")
    def _measured(self) -> WatchSection:
        if self.canaries and not self.side_effects:
            raise ValueError("canaries are planted to be measured: side_effects must be true")
        if self.refuse and not self.side_effects:
            raise ValueError("what is refused must be measured: side_effects must be true")
        if len(set(self.refuse)) < len(self.refuse):
            raise ValueError(f"refuse must name each side effect once, got {', '.join(self.refuse)}")
        if min(self.canary_repeats) < 1 or len(set(self.canary_repeats)) < len(self.canary_repeats):
            raise ValueError(f"canary_repeats must be different numbers from 1, got {list(self.canary_repeats)}")
        return self

    def plan(self) -> CanaryPlan:
        """What is planted."""
        return CanaryPlan(count=self.canaries, repeats=self.canary_repeats, references=self.references)


class Project(Config):
    """The whole of luthier.yaml."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    objective: Objective
    base: str = Field(min_length=1)
    base_permission: str | None = Field(
        default=None, description="a written permission to use the base beyond its licence: from whom, when"
    )
    data: DataSection
    split: SplitPlan = SplitPlan()
    prepare: PreparePlan = PreparePlan()
    train: Recipe = Recipe()
    evaluate: EvaluateSection = EvaluateSection()
    watch: WatchSection = WatchSection()
    bench: BenchPlan = BenchPlan()
    execution: Execution = Execution()
    track: tuple[TrackerConfig, ...] = Field(default=(), description="where a run's numbers go besides its own folder; no part of any key")

    @field_validator("track", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return [value] if isinstance(value, (str, dict)) else value

    @model_validator(mode="after")
    def _each_tracker_once(self) -> Project:
        if len({repr(t) for t in self.track}) < len(self.track):
            raise ValueError(f"each tracker must be listed once, got {', '.join(str(getattr(t, 'kind', t)) for t in self.track)}")
        return self

    @model_validator(mode="before")
    @classmethod
    def _default_prompt(cls, value: Any) -> Any:
        """`data.prompt: default` written out. Raises UserError for a mapping that it does not go with."""
        data, objective = (value.get(name) if isinstance(value, dict) else None for name in ("data", "objective"))
        if not isinstance(data, dict) or data.get("prompt") != "default" or not isinstance(objective, dict):
            return value
        task = own_name(objective.get("task"))
        return value if not isinstance(task, str) else {**value, "data": {**data, "prompt": default_prompt(task, data.get("mapping"))}}

    @model_validator(mode="after")
    def _bars_have_their_baselines(self) -> Project:
        check_baselines(self.objective.bars, [way.name for way in self.ways])
        return self

    @model_validator(mode="after")
    def _raw_text_is_continued(self) -> Project:
        """Raw text has no prompt: it goes with the task `pretrain` alone, and the base is measured on it as it is."""
        if (self.objective.task == "pretrain") != (self.data.mapping.kind == "text"):
            got = f"task: {self.objective.task}, kind: {self.data.mapping.kind}"
            raise ValueError(f"the task pretrain and a mapping of kind text go together, got {got}")
        if self.objective.task != "pretrain":
            return self
        asked = [way.name for way in self.evaluate.baselines if way.shots or way.before or way.after]
        if asked and "baselines" in self.evaluate.model_fields_set:
            must = "raw text is not asked for: evaluate.baselines must be one way without shots or words"
            raise ValueError(f"{must}, got {', '.join(asked)}")
        if self.evaluate.perturbations:
            raise ValueError("raw text has no question to change: leave evaluate.perturbations out")
        return self

    @property
    def ways(self) -> tuple[Prompting, ...]:
        """The ways in which the base is asked: those of `evaluate.baselines`; of raw text the base as it is."""
        return (ZERO_SHOT,) if self.objective.task == "pretrain" else self.evaluate.baselines

    @model_validator(mode="after")
    def _a_row_for_each_process(self) -> Project:
        if self.execution.nproc > self.train.batch_size:
            got = f"execution.nproc={self.execution.nproc}, train.batch_size={self.train.batch_size}"
            raise ValueError(f"an optimiser step must have a row for each process, got {got}")
        return self

    def decoding(self) -> Decoding:
        """How answers are made: over the label list for classification, as text otherwise, unless stated."""
        if self.evaluate.decoding is not None:
            return self.evaluate.decoding
        return Decoding(kind="labels" if self.objective.task == "classify" else "text")


def _with_own_metrics_placed(objective: dict[str, Any], root: Path) -> dict[str, Any]:
    """The section with the paths of its metrics (`file.py:Class`, a database, a reference set) read against `root`."""

    def placed(value: Any) -> Any:
        if isinstance(value, str) and ".py:" in value:
            return str(root / value)
        return _placed(value, root)

    out = dict(objective)
    if "metric" in out:
        out["metric"] = placed(out["metric"])
    if isinstance(out.get("metrics"), list):
        out["metrics"] = [placed(m) for m in out["metrics"]]
    return out


def _with_schema_read(evaluate: dict[str, Any], root: Path) -> dict[str, Any]:
    """The section with `decoding.json_schema` read from its file, when it is a path: what the file says is the setting."""
    decoding = evaluate.get("decoding")
    if not isinstance(decoding, dict) or not isinstance(decoding.get("json_schema"), str):
        return evaluate
    where, file = "evaluate.decoding.json_schema", root / decoding["json_schema"]
    try:
        schema = json.loads(file.read_text(encoding="utf-8"))
    except OSError:
        raise UserError("the schema must be a mapping or the path of a JSON file", decoding["json_schema"], where) from None
    except ValueError as err:  # not JSON, or not UTF-8
        raise UserError("the schema's file must be JSON", str(err), f"{where}, {file}") from None
    return {**evaluate, "decoding": {**decoding, "json_schema": schema}}


def _with_blocks_placed(train: dict[str, Any], root: Path) -> dict[str, Any]:
    """The section with the path of a quantised base (`method.stored.path`) read against `root`."""
    return {**train, "method": _placed(train["method"], root)} if "method" in train else train


def _with_references_placed(data: dict[str, Any], root: Path) -> dict[str, Any]:
    """The section with the files that checks of a cleaning compare with (`{path: FILE}`) read against `root`."""
    clean = data.get("clean")
    checks = clean.get("checks") if isinstance(clean, dict) else None
    return {**data, "clean": {**clean, "checks": [_placed(c, root) for c in checks]}} if clean and isinstance(checks, list) else data


def _placed(part: Any, root: Path) -> Any:
    """A part's options with each `{path: FILE}` read against `root`."""
    if not isinstance(part, dict):
        return part
    files = {k: f for k, f in part.items() if isinstance(f, dict) and isinstance(f.get("path"), str)}
    return {**part, **{k: {**f, "path": str(root / f["path"])} for k, f in files.items()}}


def legal_doubts(project: Project) -> list[Doubt]:
    """What is not known of the right to use each source, and what conflicts with the intended use."""
    use = project.objective.use
    return [doubt for entry in project.data.files for doubt in doubts(entry.shown(), entry, use)]


def refuse_conflicts(project: Project) -> None:
    """Raise UserError when a source may not be used as intended."""
    conflicts = [d for d in legal_doubts(project) if d.blocks]
    if conflicts:
        use = project.objective.use
        more = f"; and {len(conflicts) - 1} more" if len(conflicts) > 1 else ""
        must = f"each source must allow the intended use ({use.words()})" if use else "each source must be allowed to be used"
        raise UserError(must, f"{conflicts[0].source}: {conflicts[0].reason}{more}", "data.files, objective.use", conflicts[0].fix)


def doubts_of_base(project: Project, name: str, licence: str) -> tuple[Doubt, ...]:
    """What is not known of the right to use the project's base as intended. Raises UserError when its licence forbids it."""
    use = project.objective.use
    found = () if project.base_permission else tuple(base_doubts(name, licence, use))
    for doubt in found:
        if doubt.blocks and use is not None:
            must = f"the base must allow the intended use ({use.words()})"
            raise UserError(must, f"{name}: {doubt.reason}", "base, objective.use", doubt.fix)
    return found


def load_project(path: Path, overrides: tuple[str, ...] = ()) -> Project:
    """Read, override and check a project file. Paths in it are relative to its folder. Raises UserError."""
    data = apply_overrides(read_yaml(path), overrides)
    objective = data.get("objective")
    if isinstance(objective, dict):
        data["objective"] = _with_own_metrics_placed(objective, path.parent)
    if isinstance(data.get("data"), dict):
        data["data"] = _with_references_placed(data["data"], path.parent)
    if isinstance(data.get("evaluate"), dict):
        data["evaluate"] = _with_schema_read(data["evaluate"], path.parent)
    if isinstance(data.get("train"), dict):
        data["train"] = _with_blocks_placed(data["train"], path.parent)
    project = parse_config(Project, data, str(path))
    for i, entry in enumerate(project.data.files):
        given = entry.path or getattr(entry.source, "path", None)
        if given is not None and not (path.parent / given).exists():
            raise UserError("the data file must exist", given, f"data.files.{i}.path, looked for in {path.parent.resolve()}")
    for name, other in project.evaluate.out_of_domain.items():
        given = other.path or getattr(other.source, "path", None)
        if given is not None and not (path.parent / given).exists():
            where = f"evaluate.out_of_domain.{name}, looked for in {path.parent.resolve()}"
            raise UserError("the out-of-domain set must exist", given, where)
    refuse_conflicts(project)
    if project.watch.probe is not None and not (path.parent / project.watch.probe).is_file():
        raise UserError("the probe must exist", project.watch.probe, f"watch.probe, looked for in {path.parent.resolve()}")
    if project.watch.probe is not None:
        read_probe(path.parent / project.watch.probe)
    for i, named in enumerate(project.data.against):
        if not (path.parent / named.path).exists():
            raise UserError("the test set must exist", named.path, f"data.against.{i}.path, looked for in {path.parent.resolve()}")
    return project
