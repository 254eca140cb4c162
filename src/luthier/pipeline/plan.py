"""luthier plan: every stage with its key and state, and advice in words. Builds nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from luthier.core.artifacts import BaseModel
from luthier.core.errors import UserError
from luthier.core.rows import read_split
from luthier.engine.methods.fits import check_kind
from luthier.engine.models.kinds import describe_kind, peek_kind
from luthier.engine.models.resolve import check_name
from luthier.pipeline.estimate import not_predicted
from luthier.pipeline.looks import is_further, looks_at
from luthier.pipeline.project import doubts_of_base, legal_doubts
from luthier.pipeline.workspace import Workspace
from luthier.stages.train.class_weights import in_words, weight_of_label
from luthier.stages.train.ranges import warnings

State = Literal["built", "in progress", "to build"]
FEW_ROWS = 100


def steps(workspace: Workspace) -> Iterator[tuple[str, str, str, State]]:
    """(role, stage, key, state) in the order of building."""
    for role, stage in workspace.graph.roles().items():
        state: State = "built" if workspace.store.is_built(stage) else "in progress" if workspace.store.in_progress(stage) else "to build"
        yield role, stage.stage_name(), stage.key(), state


def advice(workspace: Workspace) -> Iterator[str]:
    """What a careful colleague would say before the run; figures only where they are known."""
    graph, recipe = workspace.graph, workspace.project.train
    yield from _base(workspace)
    yield from rights(workspace)
    if not workspace.store.is_built(graph.split):
        yield "row counts are not known before the data is read; `luthier data check FILE` judges a file now"
    else:
        dataset = workspace.store.build(graph.split, workspace.project.execution)
        counts = dataset.result.counts
        yield "rows: " + ", ".join(f"{n} {split}" for split, n in counts.items())
        yield from few_test_rows(counts, workspace.project.evaluate.alpha)
        if counts.get("train", 0) < FEW_ROWS:
            yield f"fewer than {FEW_ROWS} training rows: few-shot prompting is often as good, and the run will say so if it is"
        if recipe.regularisation.class_weights is not None:
            yield in_words(weight_of_label(recipe.regularisation, read_split(dataset, "train")))
        yield f"{recipe.total_steps(counts['train'])} optimiser steps of {recipe.batch_size} rows"
    if not workspace.store.is_built(graph.prepared):
        yield "time, memory and energy of training are estimated once the data is prepared (`luthier data show` prepares it)"
    if why := not_predicted(workspace):
        yield f"{why}: time and memory are not predicted"
    yield from warnings(recipe)
    if not recipe.shares_prefixes:
        yield "noise is drawn for each row apart, so shared prefixes are computed for each row; `shared_masks` shares them and their masks"
    if is_further(workspace):
        told = "; ".join(look.words() for look in looks_at(workspace))
        yield f"the sealed rows have been looked at ({told}); this run would be a further look, which needs a reason: --reason"


def few_test_rows(counts: dict[str, int], alpha: float) -> Iterator[str]:
    """That the sealed rows are too few for any verdict but *not proven*, with the number that the paired test needs."""
    from luthier.stats.power import rows_for_gain

    fewest = rows_for_gain(1.0, 1.0, alpha)
    if counts.get("test", 0) < fewest:
        yield f"{counts.get('test', 0)} test rows: a verdict at alpha {alpha:g} needs at least {fewest}, so it can only be *not proven*"


def rights(workspace: Workspace) -> Iterator[str]:
    """What is not known of the right to use the sources, a line each; that licences are not judged, when the use is not stated."""
    if workspace.project.objective.use is None:
        yield "the intended use is not stated (objective.use: commercial, redistribution): licences are shown in the data card, not judged"
    for doubt in legal_doubts(workspace.project):
        yield f"{doubt.source}: {doubt.reason}; {doubt.fix}"


def _base(workspace: Workspace) -> Iterator[str]:
    """What the base is, when it is missing or no decoder, from its artifact or from what is on disk already; nothing is fetched."""
    name = workspace.project.base
    local = name.startswith((".", "/", "~")) or name.endswith(".gguf")
    if local and not (workspace.root / Path(name).expanduser()).exists():
        yield f"the base {name} is not there: a run would stop at once"
        return
    try:
        if not local:
            check_name(name)
    except UserError as err:
        yield f"a run would stop at once: {err}"
        return
    stage = workspace.graph.base
    if workspace.store.is_built(stage):
        base = workspace.store.build(stage, workspace.project.execution).result
        kind, said = base.kind, describe_kind(base.name, base.kind, base.architecture)
        yield from _base_rights(workspace, base)
    else:
        kind, said = peek_kind(getattr(stage, "name", ""))
    if said:
        yield said
    try:
        check_kind(kind, workspace.project.train.method.kind)
    except UserError as err:
        yield f"a run would stop at once: {err}"


def _base_rights(workspace: Workspace, base: BaseModel) -> Iterator[str]:
    """Whether the licence of the base fits the intended use."""
    try:
        for doubt in doubts_of_base(workspace.project, base.name, base.licence):
            yield f"{doubt.source}: {doubt.reason}; {doubt.fix}"
    except UserError as err:
        yield f"a run would stop at once: {err}"
