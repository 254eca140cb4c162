"""The candidates of a bench as stages: every base asked in each way, tuned for a short while, and the classical baselines.

One decision: a candidate is an ordinary evaluation of validation rows over ordinary artifacts, so it is kept, resumed, verified
and reused like those of a run; nothing here names the sealed test rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from luthier.core.artifacts import BaseModel, Dataset, Footprint, LanguageFit, Predictions, Prompting
from luthier.core.stage import Stage
from luthier.parts.methods.lora import LoRA
from luthier.pipeline.graph import base_name
from luthier.pipeline.workspace import Workspace
from luthier.stages.choose.base import Base
from luthier.stages.choose.bench import Family, Skipped
from luthier.stages.data.bare import Bare
from luthier.stages.data.prepare import Prepare, PreparePlan
from luthier.stages.evaluate.classical import EMBEDDED, Classical, Kind
from luthier.stages.evaluate.evaluate import Evaluate
from luthier.stages.evaluate.footprint import Measure
from luthier.stages.evaluate.language_fit import MeasureFit
from luthier.stages.evaluate.prompting import AskAs
from luthier.stages.train.recipe import Recipe
from luthier.stages.train.train import Train

WORDS: dict[Kind, str] = {
    "constant": "most frequent answer",
    "tfidf": "TF-IDF + logistic regression",
    "neighbours": "nearest neighbours",
    "linear_head": "linear head",
}
RATES = {"decoder": 1e-3, "encoder": 2e-3, "seq2seq": 1e-3}
"""Learning rates of a short LoRA tune of a base without a recipe of its own, as in the examples of the documentation."""
HEADED = ("classify", "multi_label", "regression")
"""Tasks that an encoder's head answers."""
BaseKind = Literal["decoder", "encoder", "seq2seq"]


@dataclass(frozen=True)
class Candidate:
    """One line of the table. training: the stage that a tuned or fitted one is made by. how: of a tuned one, what was done.

    fit: of a decoder's line, how well the base knows the rows' language.
    """

    name: str
    family: Family
    base: Stage[BaseModel] | None
    training: Stage[Any] | None
    predictions: Stage[Predictions]
    footprint: Stage[Footprint]
    how: str = ""
    fit: Stage[LanguageFit] | None = None

    def figures(self) -> tuple[Stage[Any], ...]:
        """Everything that is measured for the line."""
        return (self.predictions, self.footprint, *((self.fit,) if self.fit else ()))


def bases_of(workspace: Workspace) -> tuple[str, ...]:
    """The project's base, those of `bench.bases`, and the default encoder where each row has one label."""
    project = workspace.project
    own = (project.bench.encoder,) if project.objective.task == "classify" else ()
    return tuple(dict.fromkeys((project.base, *project.bench.bases, *own)))


def base_stage(workspace: Workspace, name: str) -> Stage[BaseModel]:
    """The base of that name, by the project's own stage where it is the project's."""
    return workspace.graph.base if name == workspace.project.base else Base(name=base_name(name, workspace.root))


def candidates(workspace: Workspace, kind_of: Callable[[str], BaseKind], machine: str) -> Iterator[Candidate | Skipped]:
    """Cheapest first; a candidate that does not fit the task is told with the reason. kind_of: what a base is."""
    wire = _Wiring(workspace, machine)
    yield from _classical(wire)
    kinds: dict[str, BaseKind] = {name: kind_of(name) for name in bases_of(workspace)}
    for name in (n for n, kind in kinds.items() if kind != "encoder"):
        yield from (wire.asked(name, way, kinds[name]) for way in workspace.project.ways)
    if not workspace.project.bench.tune:
        return
    for name in sorted(kinds, key=lambda n: kinds[n] != "encoder"):
        if kinds[name] == "encoder" and workspace.project.objective.task not in HEADED:
            yield Skipped(
                name=f"{wire.called(name)}, tuned", reason=f"an encoder's head does not answer the task {workspace.project.objective.task}"
            )
        else:
            yield wire.tuned(name, kinds[name])


def _classical(wire: _Wiring) -> Iterator[Candidate | Skipped]:
    task, metric = wire.workspace.project.objective.task, wire.workspace.project.objective.primary()
    for kind in WORDS:
        if kind in ("constant", "neighbours") and metric.needs != "text":
            yield Skipped(name=WORDS[kind], reason=f"it gives no probabilities, which {metric.name} reads")
            continue
        if kind in ("tfidf", "linear_head") and task != "classify":
            yield Skipped(name=WORDS[kind], reason=f"it gives one label to a row, and the task is {task}")
        else:
            yield wire.classical(kind)


@dataclass(frozen=True)
class _Wiring:
    """What the candidates of one project share."""

    workspace: Workspace
    machine: str

    def classical(self, kind: Kind) -> Candidate:
        encoder = base_stage(self.workspace, self.workspace.project.bench.encoder) if kind in EMBEDDED else None
        rows = Bare(dataset=self.workspace.graph.split)
        fitted = Classical(dataset=rows, kind=kind, encoder=encoder)
        name = WORDS[kind] if encoder is None else f"{WORDS[kind]} on {self.called(self.workspace.project.bench.encoder)} embeddings"
        return Candidate(name, "classical", encoder, fitted, *self._measured(fitted, rows))

    def called(self, name: str) -> str:
        """What people call a base: the last part of a path, any other name as it is."""
        folder = self.workspace.root / name
        return folder.name if folder.exists() else name

    def asked(self, name: str, way: Any, kind: BaseKind) -> Candidate:
        base, rows = base_stage(self.workspace, name), self.workspace.graph.split
        measured = self._measured(base, rows, AskAs(dataset=rows, way=way))
        return Candidate(f"{self.called(name)}, {way.name}", "prompted", base, None, *measured, fit=self._fit(base, kind))

    def tuned(self, name: str, kind: BaseKind) -> Candidate:
        project, base = self.workspace.project, base_stage(self.workspace, name)
        own = name == project.base
        rows = Bare(dataset=self.workspace.graph.split) if kind == "encoder" else self.workspace.graph.split
        plan = project.prepare if own or kind != "encoder" else PreparePlan(too_long="cut_end")
        recipe = self._recipe(project.train if own else Recipe(method=LoRA(rank=16, alpha=32), learning_rate=RATES[kind]), kind)
        prepared = Prepare(base=base, dataset=rows, plan=plan)
        train = Train(
            base=base, dataset=rows, prepared=prepared, recipe=recipe, decoding=project.decoding(), metric=project.objective.primary()
        )
        fit = self._fit(base, kind)
        return Candidate(f"{self.called(name)}, tuned", "tuned", base, train, *self._measured(train, rows), _how(recipe), fit)

    def _fit(self, base: Stage[BaseModel], kind: BaseKind) -> MeasureFit | None:
        """Perplexity is a decoder's alone: the others do not read a text from left to right."""
        return MeasureFit(base=base, dataset=self.workspace.graph.split) if kind == "decoder" else None

    def _recipe(self, recipe: Recipe, kind: BaseKind) -> Recipe:
        """The same method and rates for a short while, judged once, at the end: nothing is chosen on validation rows."""
        plan = self.workspace.project.bench
        length = {"steps": None, "epochs": plan.encoder_epochs} if kind == "encoder" else {"steps": plan.steps, "epochs": None}
        return recipe.model_copy(update={**length, "evaluations": 1, "early_stopping": None, "train_sample": 0})

    def _measured(
        self, model: Stage[Any], rows: Stage[Dataset], prompting: Stage[Prompting] | None = None
    ) -> tuple[Stage[Predictions], Stage[Footprint]]:
        project = self.workspace.project
        metric, decoding = project.objective.primary(), project.decoding()
        predictions = Evaluate(model=model, dataset=rows, split="validation", metric=metric, decoding=decoding, prompting=prompting)
        timed = project.bench.timed_rows
        return predictions, Measure(model=model, dataset=rows, decoding=decoding, machine=self.machine, prompting=prompting, rows=timed)


def _how(recipe: Recipe) -> str:
    rank = getattr(recipe.method, "rank", None)
    method = recipe.method.kind + (f" of rank {rank}" if rank is not None else "")
    length = f"{recipe.steps} steps" if recipe.steps is not None else f"{recipe.epochs:g} epochs in steps"
    return f"{method} at learning rate {recipe.learning_rate:g}, {length} of {recipe.batch_size} rows"
