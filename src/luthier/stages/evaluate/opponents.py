"""The opponents of a tuned encoder: a constant answer, and linear models on the frozen encoder's embeddings.

One decision: an encoder cannot be prompted, so the honest question is whether moving its weights beats reading its
embeddings as they are. Every opponent is a linear map (the constant one has no slope); the best on validation rows is
chosen, and the sealed rows see that one alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from luthier.core.artifacts import BaseModel, Dataset, Prompting
from luthier.core.errors import CorruptArtifact, MachineError, UserError
from luthier.core.events import Note, Progress
from luthier.core.execution import Execution
from luthier.core.files import write_json
from luthier.core.records import Example
from luthier.core.rows import choices_of, read_split
from luthier.core.stage import Built, Context
from luthier.parts.prompting import DEFAULT_WAYS
from luthier.parts.prompting import Prompting as Way
from luthier.parts.scorers import Scorer

if TYPE_CHECKING:
    from luthier.engine.encoder.predictor import LinearPredictor
    from luthier.engine.text.answers import Answers

CONSTANT = "constant answer"
STRENGTHS = (1.0, 10.0, 100.0)
"""Inverse strength of the L2 penalty (scikit-learn's C) of the probes that are tried."""
WEIGHTS = "opponent.safetensors"
_NEVER = -50.0


@dataclass(frozen=True, eq=False)
class Linear:
    """values = weight @ embedding + bias; weight float64 [num_values, hidden], bias float64 [num_values]."""

    weight: np.ndarray
    bias: np.ndarray


def is_opponent(prompting: Built[Prompting]) -> bool:
    """Whether the artifact holds an encoder's opponent, and not a way of asking."""
    return (prompting.path / WEIGHTS).is_file()


def choose_opponent(base: BaseModel, dataset: Built[Dataset], ways: Sequence[Way], metric: Scorer, ctx: Context) -> Prompting:
    """Fit every opponent on the training rows, keep the best on the validation rows by `metric` (first on a tie).

    Leaves `prompting.json`, `opponent.safetensors` and `renderer/`. Raises UserError for ways of prompting.
    """
    from safetensors.numpy import save

    from luthier.engine.encoder.predictor import embeddings, outputs_of

    if tuple(ways) != DEFAULT_WAYS:
        must = "an encoder cannot be prompted: its opponents are a constant answer and linear probes"
        raise UserError(must, ", ".join(w.name for w in ways), "evaluate.baselines", "leave evaluate.baselines out")
    training, validation = read_split(dataset, "train"), read_split(dataset, "validation")
    blank = _frozen(base, dataset, ctx.execution)
    answers = blank.renderer.answers
    assert answers is not None
    _say_cut(blank, [*training, *validation], ctx)
    features = {
        name: embeddings(blank.engine, blank.renderer, [r.prompt for r in rows], _teller(ctx, name))
        for name, rows in (("training", training), ("validation", validation))
    }
    found: dict[str, Linear] = {}
    estimates: dict[str, dict[str, float]] = {}
    for name, linear in _fitted(features["training"], training, answers, ctx):
        values = features["validation"] @ linear.weight.T + linear.bias
        found[name], estimates[name] = linear, _estimate(metric, validation, [o.text for o in outputs_of(answers, values)])
    figures = {name: e["value"] for name, e in estimates.items()}
    best = max(figures.values()) if metric.higher_is_better else min(figures.values())
    chosen = next(name for name, value in figures.items() if value == best)
    (ctx.dir / WEIGHTS).write_bytes(save({"weight": found[chosen].weight, "bias": found[chosen].bias}))
    blank.renderer.save(ctx.dir / "renderer")
    write_json(ctx.dir / "prompting.json", {"chosen": {"name": chosen}, "demonstrations": [], "estimates": estimates})
    return Prompting(chosen=chosen, metric=metric.name, validation=figures)


def load_opponent(prompting: Built[Prompting], base: BaseModel, execution: Execution) -> LinearPredictor:
    """The chosen opponent. Raises CorruptArtifact when its weights cannot be read."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    from luthier.engine.encoder.load import load_encoder
    from luthier.engine.encoder.predictor import LinearPredictor
    from luthier.engine.select import prepare_machine
    from luthier.engine.text.plain import TextRenderer

    try:
        stored = load_file(prompting.path / WEIGHTS)
        weight, bias = stored["weight"], stored["bias"]
    except (SafetensorError, KeyError, OSError) as err:
        raise CorruptArtifact(f"{prompting.path / WEIGHTS} cannot be read ({err}); rebuild it with the same command") from None
    engine = load_encoder(Path(base.folder), None, None, execution, 0, prepare_machine(execution, "float32"))
    return LinearPredictor(engine, TextRenderer.load(prompting.path / "renderer"), weight, bias)


def _frozen(base: BaseModel, dataset: Built[Dataset], execution: Execution) -> LinearPredictor:
    """The encoder as it is, with a renderer that cuts a text at what the model can read, and no slope yet."""
    from luthier.engine.encoder.load import load_encoder
    from luthier.engine.encoder.predictor import LinearPredictor
    from luthier.engine.select import prepare_machine
    from luthier.engine.text.answers import answers_of
    from luthier.engine.text.plain import TextPolicy, TextRenderer

    answers = answers_of(dataset.result.answers, choices_of(dataset))
    if answers is None:
        raise UserError("an encoder answers with a label, several labels or a number", "free text", "data.mapping.kind")
    engine = load_encoder(Path(base.folder), None, None, execution, 0, prepare_machine(execution, "float32"))
    renderer = TextRenderer.from_model(Path(base.folder), TextPolicy(max_length=base.context_length, cut="end"), answers)
    return LinearPredictor(engine, renderer, np.zeros((answers.num_values, 1)), np.zeros(answers.num_values))


def _say_cut(blank: LinearPredictor, rows: list[Example], ctx: Context) -> None:
    limit = blank.renderer.policy.max_length
    cut = sum(blank.renderer.whole_length(r.messages, r.tools) > limit for r in rows)
    if cut:
        ctx.observer(Note(f"{cut} of {len(rows)} texts are longer than the {limit} tokens of the encoder: its opponents read their start"))


def _fitted(features: np.ndarray, rows: list[Example], answers: Answers, ctx: Context) -> list[tuple[str, Linear]]:
    """The opponents by name. features: float64 [n, hidden] of the training rows."""
    wanted = answers.numbers(np.stack([answers.ids(r.reference) for r in rows]))
    weights = np.array([r.weight for r in rows])
    out = [(CONSTANT, _constant(wanted, weights, answers, features.shape[1]))]
    for number, strength in enumerate(STRENGTHS):
        ctx.observer(Progress("opponents", number, len(STRENGTHS), "linear probes"))
        if ctx.stop_requested():
            ctx.stop("the linear probes start over")
        out.append((f"linear probe, C={strength:g}", _probe(features, wanted, weights, answers, strength)))
    return out


def _constant(wanted: np.ndarray, weights: np.ndarray, answers: Answers, hidden: int) -> Linear:
    """How often each label is wanted, as log-probabilities (one label) or log-odds (several); the mean of numbers."""
    share = (weights @ wanted) / weights.sum()
    if answers.kind == "number":
        bias = share
    elif answers.kind == "labels":
        low, high = np.maximum(share, 1e-9), np.maximum(1 - share, 1e-9)
        bias = np.log(low / high)
    else:
        bias = np.log(np.maximum(share, 1e-9))
    return Linear(np.zeros((len(bias), hidden)), bias)


def _probe(features: np.ndarray, wanted: np.ndarray, weights: np.ndarray, answers: Answers, strength: float) -> Linear:
    """Logistic regression (one softmax, or one unit a label) or ridge regression by scikit-learn."""
    try:
        from sklearn.linear_model import Ridge
    except ImportError:
        raise MachineError("a linear probe needs scikit-learn: pip install 'luthier[data]'") from None
    if answers.kind == "number":
        ridge: Any = Ridge(alpha=1 / strength).fit(features, wanted[:, 0], weights)
        return Linear(np.atleast_2d(ridge.coef_), np.atleast_1d(ridge.intercept_))
    if answers.kind == "label":
        return _logistic(features, wanted.argmax(axis=1), weights, wanted.shape[1], strength)
    parts = [_logistic(features, wanted[:, k].astype(int), weights, 2, strength) for k in range(wanted.shape[1])]
    return Linear(np.stack([p.weight[1] - p.weight[0] for p in parts]), np.array([p.bias[1] - p.bias[0] for p in parts]))


def _logistic(features: np.ndarray, classes: np.ndarray, weights: np.ndarray, num_classes: int, strength: float) -> Linear:
    """Logits of each class; a class without training rows is never named."""
    from sklearn.linear_model import LogisticRegression

    weight, bias = np.zeros((num_classes, features.shape[1])), np.full(num_classes, _NEVER)
    seen = np.unique(classes)
    if len(seen) == 1:
        bias[seen[0]] = 0.0
        return Linear(weight, bias)
    fit: Any = LogisticRegression(C=strength, max_iter=2000).fit(features, classes, weights)
    if len(seen) == 2:
        weight[seen[1]], bias[seen] = fit.coef_[0], (0.0, fit.intercept_[0])
    else:
        weight[seen], bias[seen] = fit.coef_, fit.intercept_
    return Linear(weight, bias)


def _estimate(metric: Scorer, rows: list[Example], outputs: list[str]) -> dict[str, float]:
    from luthier.parts.scorers.summary import evaluate

    e = evaluate((metric,), rows, outputs).estimates[metric.name]
    return {"value": e.value, "low": e.low, "high": e.high, "n": e.n}


def _teller(ctx: Context, name: str) -> Any:
    def tell(done: int, total: int) -> None:
        ctx.observer(Progress("opponents", done, total, f"{name} rows embedded"))
        if ctx.stop_requested():
            ctx.stop(f"embedding the {name} rows ({done} of {total}) starts over")

    return tell
