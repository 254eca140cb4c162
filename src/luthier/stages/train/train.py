"""Train: base + prepared rows -> an adapter, watched on validation rows, resumable after a kill.

One decision: the numbers that pick the best checkpoint come from the same Predictor and scorer as the
final evaluation, so the metric that is optimised is the metric that is judged.
"""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from luthier.core.artifacts import BaseModel, Checkpoint, Dataset, Prepared
from luthier.core.config import flat
from luthier.core.errors import CorruptArtifact
from luthier.core.events import Note
from luthier.core.execution import Execution
from luthier.core.files import files_below, write_bytes, write_json
from luthier.core.keys import file_sha256
from luthier.core.records import Example
from luthier.core.rows import choices_of, read_split
from luthier.core.stage import Built, Context, Stage
from luthier.engine.contract import Engine, Keeping
from luthier.engine.decoding import Decoding
from luthier.engine.memory.forecast import Forecast
from luthier.parts.scorers import ScorerConfig
from luthier.stages.train.class_weights import in_words, training_rows
from luthier.stages.train.general import General, GeneralPlan
from luthier.stages.train.loop import BEST, Rows, check_processes, final_words, rows_of_run, train
from luthier.stages.train.ranges import warnings
from luthier.stages.train.recipe import Recipe
from luthier.stages.train.watch import Watch

if TYPE_CHECKING:
    from luthier.engine.text.load import AnyRenderer

BEGUN = "scratch/begun.json"
"""The micro-batch of a build, for its resumes."""


class Train(Stage[Checkpoint]):
    """One training run."""

    base: Stage[BaseModel]
    dataset: Stage[Dataset]
    prepared: Stage[Prepared]
    recipe: Recipe
    decoding: Decoding
    metric: ScorerConfig
    general: GeneralPlan | None = None

    def identity(self) -> dict[str, Any]:
        """Every field but what is only watched."""
        return {name: value for name, value in super().identity().items() if name != "general"}

    def build(self, ctx: Context) -> Checkpoint:
        """Train with the verbs of the chosen engine; leaves `adapter/`, `renderer/`, `metrics.jsonl` and `samples.jsonl`."""
        with ExitStack() as open_until_done:
            return self._build(ctx, open_until_done)

    def _build(self, ctx: Context, open_until_done: ExitStack) -> Checkpoint:
        from luthier.engine.loading import open_for

        base, prepared = ctx.get(self.base).result, ctx.get(self.prepared)
        renderer = _copied_renderer(prepared.path / "renderer", ctx.dir / "renderer")
        execution = _as_begun(ctx)
        check_processes(execution, prepared.result)
        opened = open_for(renderer, Path(base.folder), self.recipe.method.spec(), execution, self.recipe.seed, self.recipe.precision)
        engine = open_until_done.enter_context(opened)
        engine.use_optimiser(self.recipe.optimizer, self.recipe.regularisation.ema)
        _warn(engine, self.recipe, ctx)
        watch = self._watch(ctx, engine, renderer)
        rows = self._rows(ctx, prepared)
        foreseen = _foresee(engine, rows, self.recipe, ctx)
        _keep(engine, rows, self.recipe, base.weights_sha256, ctx)
        done = train(engine, rows, self.recipe.loss(), self.recipe, watch, ctx, watch.objective)
        engine.load_state(_best_state(ctx.dir, done.best_step))
        known_anywhere = not base.source.startswith(("folder ", "GGUF file "))
        engine.save_adapter(ctx.dir / "adapter", base.name if known_anywhere else base.folder)
        return Checkpoint(
            base=base.name,
            base_folder=base.folder,
            base_sha256=base.weights_sha256,
            method=self.recipe.method.model_dump(mode="json"),
            renderer_hash=renderer.hash,
            engine=engine.name,
            steps=done.step,
            best_step=done.best_step,
            best={name: value for name, value in done.best.items() if not name.startswith("general")},
            stopped=final_words(done, self.recipe.total_steps(len(rows.sequences))),
            num_trainable=engine.num_trainable,
            trained_tokens=done.trained_tokens,
            adapter_sha256=file_sha256(ctx.dir / "adapter" / "adapter_model.safetensors"),
            micro_batch_tokens=foreseen.micro_batch_tokens if foreseen else None,
            recomputed_layers=foreseen.recomputed_layers if foreseen else 0,
            predicted_memory_bytes=foreseen.peak.total if foreseen else None,
        )

    def _rows(self, ctx: Context, prepared: Built[Prepared]) -> Rows:
        """The training rows; the weights of classes are kept and said."""
        rows, weights = training_rows(self.recipe, prepared, ctx.get(self.dataset))
        if weights:
            write_json(ctx.dir / "class_weights.json", weights)
            ctx.observer(Note(in_words(weights)))
        return rows

    def _watch(self, ctx: Context, engine: Engine, renderer: AnyRenderer) -> Watch:
        from luthier.engine.loading import predictor_for

        dataset = ctx.get(self.dataset)
        predictor, general = predictor_for(engine, renderer, self.decoding, choices_of(dataset)), None
        if self.general is not None and ctx.get(self.base).result.kind != "encoder":
            general = General.of(self.general, engine, renderer, flat(self.recipe.model_dump(mode="json")), ctx)
        sample = _sample(read_split(dataset, "train"), self.recipe)
        held = read_split(dataset, "validation")
        order = np.random.default_rng([self.recipe.seed, len(held)]).permutation(len(held))
        shown = tuple(sorted(int(i) for i in order[: self.recipe.samples] if held[i].prompt))  # raw text is not answered
        return Watch(predictor, self.metric, tuple(held), sample, shown, self.recipe.watch, ctx, general)


def _sample(rows: list[Example], recipe: Recipe) -> tuple[Example, ...]:
    """`train_sample` rows drawn by seed: the first ones of a stratified split may all be of one class."""
    order = np.random.default_rng([recipe.seed, len(rows)]).permutation(len(rows))
    return tuple(rows[i] for i in sorted(order[: recipe.train_sample]))


def _copied_renderer(source: Path, target: Path) -> AnyRenderer:
    """The renderer of the prepared rows, whose files are copied into the artifact."""
    from luthier.engine.text.load import load_renderer

    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for path in files_below(source):
        write_bytes(target / path.name, path.read_bytes())
    return load_renderer(target)


def _best_state(folder: Path, step: int) -> dict[str, Any]:
    from luthier.engine.checkpoint.folder import load_newest

    best = load_newest(folder / BEST)
    if best is None or best.step != step:
        fault = f"the best checkpoint (step {step}) is gone from {folder}"
        raise CorruptArtifact(f"{fault}; delete that folder and run the same command again")
    return best.state


def _as_begun(ctx: Context) -> Execution:
    """The execution, with the micro-batch that a killed build began with: other free memory must not round otherwise after it."""
    begun = ctx.dir / BEGUN
    if ctx.execution.micro_batch_tokens != "auto" or not begun.exists():
        return ctx.execution
    return ctx.execution.model_copy(update=json.loads(begun.read_text(encoding="utf-8")))


def _warn(engine: Engine, recipe: Recipe, ctx: Context) -> None:
    """Say what of the machine is left aside, why no faster engine was taken, and which settings are outside what is recommended."""
    from luthier.engine.select import unused_device

    if words := unused_device(ctx.execution):
        ctx.observer(Note(words))
    if engine.refusal:
        ctx.observer(Note(f"engine: {engine.name}, because a faster one refused: {engine.refusal}", "warning"))
    for words in warnings(recipe):
        ctx.observer(Note(words, "warning"))


def _keep(engine: Engine, rows: Rows, recipe: Recipe, weights: str, ctx: Context) -> None:
    """Keep what frozen layers give below the build's scratch, where that pays; says what was decided."""
    limit = int(ctx.execution.cache_gb * 2**30)
    keeping = Keeping(ctx.dir / "scratch" / "activations", limit, weights, recipe.noise_rates())
    if words := engine.keep_activations(keeping, rows.sequences, rows_of_run(len(rows.sequences), recipe)):
        ctx.observer(Note(words))


def _foresee(engine: Engine, rows: Rows, recipe: Recipe, ctx: Context) -> Forecast | None:
    """Look over every step's rows before the first: the worst one must fit. Says what was chosen."""
    found = engine.forecast(rows.sequences, rows_of_run(len(rows.sequences), recipe), recipe.noise_rates())
    if found is not None:
        each = f" of each of {ctx.execution.nproc} processes" if ctx.execution.nproc > 1 else ""
        again = f", {found.recomputed_layers} layers computed again in the worst step" if found.recomputed_layers else ""
        peak = f"{found.peak.total / 2**30:.1f} GB predicted at the peak of training{each}"
        write_json(ctx.dir / BEGUN, {"micro_batch_tokens": found.micro_batch_tokens})
        ctx.observer(Note(f"memory: micro-batches of up to {found.micro_batch_tokens} tokens{again}; {peak}"))
    return found
