"""The training loop: one flat function over the engine's verbs, resumable to the same bytes.

One decision: nothing random is carried in memory. The rows of step s follow from (seed, epoch), so a
resume needs the engine's state and this module's small `Progressed` record, and nothing else.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from luthier.core.artifacts import Prepared
from luthier.core.errors import UserError
from luthier.core.events import Metric, Note, Progress
from luthier.core.execution import Execution
from luthier.core.files import fsync_path, write_atomic
from luthier.core.stage import Context
from luthier.engine.contract import Batch, Engine, Loss, Noise, NonFiniteLoss, NonFiniteOutput, TokenSequence
from luthier.engine.optim.schedules import factor
from luthier.report.curves import read_curves
from luthier.report.live import holding, sentence
from luthier.stages.train.ranges import settings_of
from luthier.stages.train.recipe import Recipe

LOWER = "lower train.learning_rate"
CHECKPOINTS, BEST, LOOP = "scratch/checkpoints", "scratch/best", "loop"
METRICS, SAMPLES = "metrics.jsonl", "samples.jsonl"

Evaluation = Callable[[int], dict[str, float]]
"""Task metric and loss on validation and training rows at a step: `validation/<metric>`, `validation/loss` ..."""


@dataclass(frozen=True)
class Progressed:
    """How far a run is: all of the loop's state that is not in the engine."""

    step: int = 0
    best_step: int = 0
    best: dict[str, float] = field(default_factory=dict)
    without_gain: int = 0
    trained_tokens: int = 0
    evaluated: int = 0
    stopped: str = ""
    said: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Rows:
    """Training sequences with the key of each row, for messages."""

    sequences: tuple[TokenSequence, ...]
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Objective:
    """Which validation number is watched, and whether more is better."""

    name: str
    higher_is_better: bool

    def gain(self, new: dict[str, float], old: dict[str, float]) -> float:
        """How much better `new` is (in the metric's unit); ties are broken by the validation loss, scaled down to nothing."""
        difference = new[self.name] - old[self.name]
        gain = difference if self.higher_is_better else -difference
        less_loss = old["validation/loss"] - new["validation/loss"]
        return gain if gain != 0 or less_loss == 0 else math.copysign(1e-12, less_loss)


def check_processes(execution: Execution, prepared: Prepared) -> None:
    """Raises UserError when there are more processes than training rows."""
    rows = prepared.counts["train"]
    if execution.nproc > rows:
        raise UserError("there must be a training row for each process", f"{execution.nproc} processes, {rows} rows", "execution.nproc")


def rows_of_step(step: int, num_rows: int, recipe: Recipe) -> np.ndarray:
    """Row numbers of optimiser step `step` (from 0): a slice of the epoch's permutation. int64 [<= batch_size]."""
    per_epoch = recipe.steps_per_epoch(num_rows)
    epoch, at = divmod(step, per_epoch)
    order = np.random.default_rng([recipe.seed, epoch]).permutation(num_rows)
    return order[at * recipe.batch_size : (at + 1) * recipe.batch_size]


def batch_of_step(step: int, sequences: Sequence[TokenSequence], recipe: Recipe) -> tuple[np.ndarray, Batch]:
    """The row numbers of optimiser step `step` (from 0), and their sequences with weights and noise."""
    picked, rates = rows_of_step(step, len(sequences), recipe), recipe.noise_rates()
    chosen = tuple(sequences[i] for i in picked)
    epoch = step // recipe.steps_per_epoch(len(sequences))
    noise = Noise(rates, recipe.seed, epoch, tuple(int(i) for i in picked)) if rates else None
    return picked, replace(whole_step(chosen), noise=noise)


def rows_of_run(num_rows: int, recipe: Recipe) -> list[np.ndarray]:
    """`rows_of_step` of every optimiser step of the run, each epoch drawn once."""
    per_epoch, total = recipe.steps_per_epoch(num_rows), recipe.total_steps(num_rows)
    steps: list[np.ndarray] = []
    for epoch in range(math.ceil(total / per_epoch)):
        order = np.random.default_rng([recipe.seed, epoch]).permutation(num_rows)
        steps += [order[at : at + recipe.batch_size] for at in range(0, num_rows, recipe.batch_size)]
    return steps[:total]


def whole_step(sequences: tuple[TokenSequence, ...]) -> Batch:
    """The rows of one optimiser step, its loss a mean over their own trained tokens: a last, smaller step is no exception."""
    return Batch(sequences, normaliser=float(sum(s.weights.sum() for s in sequences)))


def train(engine: Engine, rows: Rows, loss: Loss, recipe: Recipe, evaluate: Evaluation, ctx: Context, objective: Objective) -> Progressed:
    """Train to the end or to early stopping; the best state is left in `scratch/best`. Returns how it ended."""
    total = recipe.total_steps(len(rows.sequences))
    evaluation_steps = recipe.evaluation_steps(total)
    lengths = np.array([len(s.tokens) for s in rows.sequences])
    tokens = np.cumsum([lengths[chosen].sum() for chosen in rows_of_run(len(lengths), recipe)]).astype(float)
    done = resume(engine, ctx)
    if done.step == 0:
        _emit(ctx, 0, _measured(evaluate, 0))
    while True:
        if done.step in evaluation_steps and done.evaluated < done.step:
            done = _evaluate(engine, evaluate, recipe, done, ctx, objective)
            done = _speak(recipe, done, len(rows.sequences), ctx)
            _save(engine, done, ctx)
        if done.step >= total or done.stopped:
            return done
        started = time.monotonic()
        done = _one_step(engine, rows, loss, recipe, done, total, ctx)
        ctx.observer(Metric(done.step, "train", "seconds_per_step", time.monotonic() - started))
        ctx.observer(Progress("train", done.step, total, "steps", work=(tokens[done.step - 1], tokens[-1])))
        due = done.step % ctx.execution.save_every == 0 or done.step in evaluation_steps
        if due or ctx.stop_requested():
            _save(engine, done, ctx)
        if ctx.stop_requested():
            ctx.stop(f"training is saved at step {done.step} of {total}")


def _save(engine: Engine, done: Progressed, ctx: Context) -> None:
    """Save a resume point; what it says is measured must be on disk before it."""
    from luthier.engine.checkpoint.folder import save_checkpoint

    said = [ctx.dir / name for name in (METRICS, SAMPLES) if (ctx.dir / name).exists()]
    for path in (*said, *{path.parent for path in said}):  # their names too
        fsync_path(path)
    save_checkpoint(ctx.dir / CHECKPOINTS, done.step, {**engine.state(), LOOP: asdict(done)})


def resume(engine: Engine, ctx: Context) -> Progressed:
    """Load the newest whole checkpoint, if any, and cut `metrics.jsonl` and `samples.jsonl` back to it."""
    from luthier.engine.checkpoint.folder import load_newest

    found = load_newest(ctx.dir / CHECKPOINTS)
    if found is None:
        for name in (METRICS, SAMPLES):
            (ctx.dir / name).unlink(missing_ok=True)
        return Progressed()
    for note in found.notes:
        ctx.observer(Note(note, "warning"))
    done = Progressed(**found.state.pop(LOOP))
    engine.load_state(found.state)
    for name in (METRICS, SAMPLES):
        _cut(ctx.dir / name, done)
    ctx.observer(Note(f"resumed training at step {done.step}"))
    return done


def _cut(path: Path, done: Progressed) -> None:
    """Drop the lines of what is done again: later steps, an evaluation that was not saved, and a line that a kill left torn."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").split("\n"):
        try:
            if line and _is_kept(json.loads(line), done):
                kept.append(line + "\n")
        except json.JSONDecodeError:
            continue
    write_atomic(path, "".join(kept).encode())


def _is_kept(line: dict[str, Any], done: Progressed) -> bool:
    return line["step"] <= (done.step if line.get("split") == "train" else done.evaluated)


def _one_step(engine: Engine, rows: Rows, loss: Loss, recipe: Recipe, done: Progressed, total: int, ctx: Context) -> Progressed:
    picked, batch = batch_of_step(done.step, rows.sequences, recipe)
    step = done.step + 1
    learning_rate = recipe.learning_rate * factor(recipe.schedule, done.step, total)
    try:
        out = engine.forward_backward(batch, loss)
        norm = engine.optim_step(learning_rate)
    except NonFiniteLoss as err:
        raise _diverged(err, step, [rows.keys[picked[i]] for i in err.sequences or range(len(picked))]) from err
    for name, value in (
        ("loss", out.loss),
        ("learning_rate", learning_rate),
        ("gradient_norm", norm),
        ("unique_tokens", out.unique_tokens),
    ):
        ctx.observer(Metric(step, "train", name, float(value)))
    return replace(done, step=step, trained_tokens=done.trained_tokens + out.num_targets)


def _diverged(err: NonFiniteLoss, step: int, keys: list[str]) -> UserError:
    shown = ", ".join(keys[:8]) + (f" and {len(keys) - 8} more" if len(keys) > 8 else "")
    fix = f"the last good checkpoint is kept; {LOWER}, or look at these rows with `luthier data show`"
    return UserError(f"training must stay finite: {err}", None, f"step {step}, rows {shown}", fix)


def _evaluate(engine: Engine, evaluate: Evaluation, recipe: Recipe, done: Progressed, ctx: Context, objective: Objective) -> Progressed:
    from luthier.engine.checkpoint.folder import save_checkpoint

    with averaged(engine):
        figures = _measured(evaluate, done.step)
        _emit(ctx, done.step, figures)
        done = replace(done, evaluated=done.step)
        gain = objective.gain(figures, done.best) if done.best else math.inf
        if gain > 0:
            save_checkpoint(ctx.dir / BEST, done.step, engine.state(), keep=1)
            done = replace(done, best=figures, best_step=done.step)
    patience = recipe.early_stopping
    without = 0 if gain > (patience.min_delta if patience else 0.0) else done.without_gain + 1
    if patience is None or without < patience.patience:
        return replace(done, without_gain=without)
    times = "1 evaluation" if without == 1 else f"{without} evaluations"
    words = f"early: {objective.name} has not improved for {times} (best at step {done.best_step})"
    return replace(done, without_gain=without, stopped=words)


def _measured(evaluate: Evaluation, step: int) -> dict[str, float]:
    """The figures at a step. Raises UserError where the model's outputs are not finite, before it could pass for the best one."""
    try:
        return evaluate(step)
    except NonFiniteOutput as err:
        fix = f"the last good checkpoint is kept; {LOWER}" if step else "fetch or convert the base again"
        raise UserError(f"training must stay finite: {err.must}", err.got, f"evaluation at step {step}", fix) from err


def _speak(recipe: Recipe, done: Progressed, num_rows: int, ctx: Context) -> Progressed:
    """Say what the curves show by now; each finding once, the first time it holds."""
    total, settings = recipe.total_steps(num_rows), settings_of(recipe)
    share = 1.0 if done.stopped else done.step / total
    found = holding(read_curves(ctx.dir / METRICS), settings, recipe.steps_per_epoch(num_rows), share, done.said)
    for diagnosis in found:
        ctx.observer(Note(sentence(diagnosis, done.step), "warning"))
    return replace(done, said=[*done.said, *(d.finding for d in found)])


@contextmanager
def averaged(engine: Engine) -> Iterator[None]:
    """Within it the engine's weights are their average, where one is kept."""
    engine.swap_average()
    try:
        yield
    finally:
        engine.swap_average()


def _emit(ctx: Context, step: int, figures: dict[str, float]) -> None:
    for name, value in figures.items():
        split, _, metric = name.partition("/")
        ctx.observer(Metric(step, split, metric, value))


def final_words(done: Progressed, total: int) -> str:
    """Why training ended, for the record."""
    return done.stopped or f"done: {done.step} of {total} steps"
