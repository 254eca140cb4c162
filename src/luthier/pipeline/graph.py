"""Wiring: a project becomes the graph of its stages. The only place that knows all of them.

One decision: everything a run needs is one frozen `Graph`; a verb builds the part it asks for, and the
store does the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from luthier.core.artifacts import BaseModel, Checkpoint, Dataset, Effects, Predictions, Prepared, Prompting, Verdict
from luthier.core.config import flat
from luthier.core.keys import SourceFile, digest
from luthier.core.stage import Stage
from luthier.parts.bars import OPPONENT
from luthier.parts.probe import GENERAL
from luthier.pipeline.project import Project
from luthier.pipeline.robustness import NOTHING, Beside, beside
from luthier.pipeline.sources import Located, locate
from luthier.stages.choose.base import Base
from luthier.stages.data.clean import Clean
from luthier.stages.data.cleaning import CleanPlan
from luthier.stages.data.ingest import DataFile, Ingest
from luthier.stages.data.plant import Plant
from luthier.stages.data.prepare import Prepare
from luthier.stages.data.split import Split
from luthier.stages.evaluate.bars import JudgeBars, MetricBar
from luthier.stages.evaluate.evaluate import Evaluate
from luthier.stages.evaluate.judge import Judge
from luthier.stages.evaluate.prompting import AskAs, ChoosePrompting
from luthier.stages.evaluate.side_effects import MeasureEffects
from luthier.stages.train.general import GeneralPlan
from luthier.stages.train.train import Train


@dataclass(frozen=True)
class Graph:
    """The stages of a project by role, in the order in which they are built."""

    base: Stage[BaseModel]
    rows: Stage[Dataset]
    clean: Stage[Dataset] | None
    split: Stage[Dataset]
    prepared: Stage[Prepared]
    planted: Stage[Prepared] | None
    prompting: Stage[Prompting]
    train: Stage[Checkpoint]
    baseline: Stage[Predictions]
    tuned: Stage[Predictions]
    side_effects: Stage[Effects] | None
    verdict: Stage[Verdict]
    bars: JudgeBars | None = None
    beside: Beside = NOTHING
    refuse: tuple[str, ...] = ()

    def roles(self) -> dict[str, Stage[Any]]:
        """Every stage by role; cleaning, planting, side effects, bars, other and changed rows only where the project asks for them."""
        own = {f.name: stage for f in fields(self) if isinstance(stage := getattr(self, f.name), Stage)}
        at = list(own).index("split") + 1
        before, after = dict(list(own.items())[:at]), dict(list(own.items())[at:])
        judged = {"robustness": self.beside.judge} if self.beside.judge else {}
        return {**before, **self.beside.sets, **after, **self.beside.evaluations, **judged}

    def sealed(self) -> tuple[Stage[Any], ...]:
        """The evaluations of sealed rows whose numbers a run shows."""
        return (self.baseline, self.tuned, *(self.bars.baselines.values() if self.bars else ()), *self.beside.changed)

    def run_key(self) -> str:
        """The key of the run as a whole: the verdict's, and with it that of everything else that the project asks of the tuned model."""
        more = [*(stage.key() for stage in (self.bars, self.beside.judge) if stage is not None), *(f"refuse {n}" for n in self.refuse)]
        return digest([self.verdict.key(), *more]) if more else self.verdict.key()


def wire(project: Project, root: Path, located: Sequence[Located] | None = None, home: Path | None = None) -> Graph:
    """The graph of `project`; `root` is the folder of the project file, against which its paths are read.

    located: the data files, sources brought here; they are looked for, and brought below `home` (`.luthier` in `root`), when not given.
    """
    home = home or root / ".luthier"
    metric, others, decoding = project.objective.primary(), project.objective.others(), project.decoding()
    base = Base(name=base_name(project.base, root))
    rows = ingest(project, root, located)
    plan, against = project.data.clean, named_test_sets(project, root)
    clean = Clean(dataset=rows, plan=plan) if plan is not None else None
    if plan is not None:  # what is compared is repaired alike
        against = tuple(Clean(dataset=s, plan=CleanPlan(repairs=plan.repairs)) for s in against)
    split = Split(dataset=clean or rows, plan=project.split, against=against)
    prepared = Prepare(base=base, dataset=split, plan=project.prepare)
    prompting = ChoosePrompting(base=base, dataset=split, ways=project.ways, metric=metric, decoding=decoding)
    planted = Plant(prepared=prepared, plan=project.watch.plan()) if project.watch.canaries else None
    general = GeneralPlan(probe=_probe(project, root), margin=project.watch.margin) if project.watch.side_effects else None
    train = Train(
        base=base, dataset=split, prepared=planted or prepared, recipe=project.train, decoding=decoding, metric=metric, general=general
    )
    baseline = Evaluate(model=base, dataset=split, split="test", metric=metric, others=others, decoding=decoding, prompting=prompting)
    tuned = Evaluate(model=train, dataset=split, split="test", metric=metric, others=others, decoding=decoding)
    verdict = Judge(tuned=tuned, baseline=baseline, metric=metric, alpha=project.evaluate.alpha)
    effects = side_effects(project, root, (base, train, planted or prepared)) if project.watch.side_effects else None
    bars = _bars(project, tuned, baseline)
    aside = beside(project, (root, home), tuned, baseline)
    return Graph(
        base, rows, clean, split, prepared, planted, prompting, train, baseline, tuned, effects, verdict, bars, aside, project.watch.refuse
    )


def side_effects(project: Project, root: Path, of: tuple[Stage[BaseModel], Stage[Checkpoint], Stage[Prepared]]) -> MeasureEffects:
    """Forgetting and memorisation of a training; `of`: its base, itself, and the rows that it was trained on."""
    watch, (base, tuned, prepared) = project.watch, of
    probe = _probe(project, root)
    settings = flat(project.train.model_dump(mode="json"))
    return MeasureEffects(
        base=base, tuned=tuned, prepared=prepared, probe=probe, margin=watch.margin, rows=watch.membership_rows, settings=settings
    )


def _probe(project: Project, root: Path) -> SourceFile:
    return SourceFile(path=str(GENERAL if project.watch.probe is None else root / project.watch.probe))


def _bars(project: Project, tuned: Evaluate, opponent: Evaluate) -> JudgeBars | None:
    """The bars of the objective, with an evaluation of each way of asking that one names."""
    objective = project.objective
    if not objective.bars:
        return None
    scorers = {s.name: s for s in (objective.primary(), *objective.others())}
    named = {bar.no_worse_than.baseline for bar in objective.bars.values() if bar.no_worse_than}
    ways = {way.name: AskAs(dataset=opponent.dataset, way=way) for way in project.ways if way.name in named}
    baselines: dict[str, Stage[Predictions]] = {name: opponent.model_copy(update={"prompting": ask}) for name, ask in ways.items()}
    if OPPONENT in named:
        baselines[OPPONENT] = opponent
    bars = tuple(MetricBar(metric=scorers[name], bar=bar) for name, bar in objective.bars.items())
    return JudgeBars(tuned=tuned, baselines=baselines, bars=bars, alpha=project.evaluate.alpha)


def ingest(project: Project, root: Path, located: Sequence[Located] | None = None) -> Ingest:
    """The first stage of the data: files and mapping as the project says."""
    data = project.data
    located = tuple(locate(project, root, root / ".luthier")) if located is None else located
    files = tuple(DataFile(source=SourceFile(path=str(f.path)), role=f.entry.split, notes=f.notes) for f in located)
    return Ingest(files=files, mapping=data.mapping, prompt=data.prompt, labels=data.labels, strict=data.strict, repairs=data.repairs)


def named_test_sets(project: Project, root: Path) -> tuple[Ingest, ...]:
    """The test sets that no row may be trained on, read as the data is unless they have a mapping of their own."""
    data, out = project.data, []
    for named in data.against:
        file = DataFile(source=SourceFile(path=str(root / named.path)), role="test")
        own = named.mapping is not None
        mapping, prompt = (named.mapping or data.mapping), (None if own else data.prompt)
        out.append(Ingest(files=(file,), mapping=mapping, prompt=prompt, strict=data.strict, repairs=data.repairs))
    return tuple(out)


def base_name(name: str, root: Path) -> str:
    """A path is read against the project's folder; every other name is left as it is."""
    return str(root / name) if (root / name).exists() and name not in ("", ".") else name
