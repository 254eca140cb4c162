"""Wiring of what stands beside the sealed test: rows of other kinds, and the sealed rows changed.

One decision: the sets are stages of the run's graph before training, so that a set that cannot be read stops a run at once and not
after hours; the tuned model is asked under every one, the opponent on other rows, and on changed ones where the project says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from luthier.core.artifacts import Dataset, Predictions
from luthier.core.keys import SourceFile
from luthier.core.stage import Stage
from luthier.pipeline.project import Project
from luthier.pipeline.sources import found_at
from luthier.stages.data.ingest import DataFile
from luthier.stages.data.other_rows import OtherRows
from luthier.stages.evaluate.evaluate import Evaluate
from luthier.stages.evaluate.perturb import Perturb
from luthier.stages.evaluate.robustness import JudgeRobustness


@dataclass(frozen=True)
class Beside:
    """sets and evaluations by role (`typos-rows`, `typos-tuned`); changed: the evaluations of changed sealed rows; judge: of all."""

    sets: dict[str, Stage[Dataset]]
    evaluations: dict[str, Stage[Predictions]]
    changed: tuple[Stage[Predictions], ...]
    judge: JudgeRobustness | None


NOTHING = Beside({}, {}, (), None)


def beside(project: Project, places: tuple[Path, Path], tuned: Evaluate, opponent: Evaluate) -> Beside:
    """places: the project's folder, and where sources are brought to."""
    plan = project.evaluate
    others = {name: _other_rows(project, name, places, tuned.dataset) for name in plan.out_of_domain}
    changes = {p.name: Perturb(dataset=tuned.dataset, perturbation=p) for p in plan.perturbations}
    if not others and not changes:
        return NOTHING
    pairs = {n: (tuned.model_copy(update={"rows": rows}), opponent.model_copy(update={"rows": rows})) for n, rows in others.items()}
    perturbed = {name: tuned.model_copy(update={"rows": rows}) for name, rows in changes.items()}
    evaluations: dict[str, Stage[Predictions]] = {}
    for name, (one, two) in pairs.items():
        evaluations |= {f"other-{name}-baseline": two, f"other-{name}-tuned": one}
    evaluations |= {f"changed-{name}-tuned": stage for name, stage in perturbed.items()}
    also = {name: opponent.model_copy(update={"rows": rows}) for name, rows in changes.items()} if plan.perturb_opponent else {}
    evaluations |= {f"changed-{name}-baseline": stage for name, stage in also.items()}
    judge = JudgeRobustness(
        tuned=tuned,
        baseline=opponent,
        out_of_domain=dict(pairs),
        perturbed=dict(perturbed),
        perturbed_baseline=dict(also),
        perturbations=plan.perturbations,
        metric=tuned.metric,
        alpha=plan.alpha,
    )
    sets: dict[str, Stage[Dataset]] = {f"other-{name}-rows": rows for name, rows in others.items()}
    sets |= {f"changed-{name}-rows": rows for name, rows in changes.items()}
    return Beside(sets, evaluations, (*perturbed.values(), *also.values()), judge)


def _other_rows(project: Project, name: str, places: tuple[Path, Path], like: Stage[Dataset]) -> OtherRows:
    data, other = project.data, project.evaluate.out_of_domain[name]
    found = found_at(other, *places)
    files = tuple(DataFile(source=SourceFile(path=str(path)), role="test", notes=notes) for _, path, notes in found)
    mapping, prompt = other.mapping or data.mapping, other.prompt or data.prompt
    return OtherRows(name=name, files=files, mapping=mapping, prompt=prompt, strict=data.strict, repairs=data.repairs, like=like)
