"""Classical baselines: a constant answer, TF-IDF with logistic regression, nearest neighbours and a linear head on embeddings.

One decision: each is fitted and tuned on the training rows alone (strength and neighbours by cross-validation there), so its
figure on validation rows is as honest as that of a model which never chose anything on them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from luthier.core.artifacts import BaseModel, ClassicalModel, Dataset
from luthier.core.errors import MachineError, UserError
from luthier.core.events import Progress
from luthier.core.execution import Execution
from luthier.core.files import write_json
from luthier.core.records import Example, Message
from luthier.core.rows import choices_of, read_split
from luthier.core.stage import Context, Stage

if TYPE_CHECKING:
    from luthier.engine.encoder.engine import EncoderEngine
    from luthier.engine.text.plain import TextRenderer

Tell = Callable[[int, int], None]
Kind = Literal["constant", "tfidf", "neighbours", "linear_head"]
EMBEDDED: tuple[Kind, ...] = ("neighbours", "linear_head")
STRENGTHS = (1.0, 10.0, 100.0)
"""Inverse strength of the L2 penalty (scikit-learn's C)."""
NEIGHBOURS = (1, 3, 5, 11)
FOLDS = 3
WEIGHTS, ANSWERS, TERMS = "model.safetensors", "answers.json", "terms.json"
_AT_ONCE = 1024


class Classical(Stage[ClassicalModel]):
    """Fit `kind` on the training rows of `dataset` (rows without a system message). encoder: whose embeddings are read."""

    dataset: Stage[Dataset]
    kind: Kind
    encoder: Stage[BaseModel] | None = None
    seed: int = 13

    def build(self, ctx: Context) -> ClassicalModel:
        """Leaves `answers.json` and, but for a constant answer, `model.safetensors`; `terms.json` of TF-IDF."""
        rows: list[Example] = read_split(ctx.get(self.dataset), "train")
        texts, answers = [text_of(r.prompt) for r in rows], [r.reference for r in rows]
        base = None if self.encoder is None else ctx.get(self.encoder).result
        if self.kind == "constant":
            write_json(ctx.dir / ANSWERS, [Counter(answers).most_common(1)[0][0]])
            return ClassicalModel(kind=self.kind)
        if self.kind == "tfidf":
            settings = self._tfidf(texts, answers, ctx)
        else:
            if base is None:
                raise UserError(f"{self.kind} needs an encoder", "none")
            engine, renderer = load_embedder(Path(base.folder), base.context_length, ctx.execution)
            features = embed(engine, renderer, texts, lambda done, total: _tell(ctx, "embedding", done, total))
            settings = self._neighbours(features, answers, ctx) if self.kind == "neighbours" else self._head(features, answers, ctx)
        return ClassicalModel(
            kind=self.kind,
            settings={**settings, **({"context_length": float(base.context_length)} if base else {})},
            base=base.name if base else None,
            base_folder=base.folder if base else None,
        )

    def _tfidf(self, texts: list[str], answers: list[str], ctx: Context) -> dict[str, float]:
        vectors = vectorizer()
        features = vectors.fit_transform(texts)
        fit = self._logistic(features, answers, ctx)
        terms = sorted(vectors.vocabulary_, key=vectors.vocabulary_.get)
        write_json(ctx.dir / TERMS, terms)
        _save(ctx.dir, {"weight": fit[1], "bias": fit[2], "idf": vectors.idf_}, fit[0])
        return {"C": fit[3], "terms": float(len(terms))}

    def _head(self, features: np.ndarray, answers: list[str], ctx: Context) -> dict[str, float]:
        labels, weight, bias, strength = self._logistic(features, answers, ctx)
        _save(ctx.dir, {"weight": weight, "bias": bias}, labels)
        return {"C": strength}

    def _neighbours(self, features: np.ndarray, answers: list[str], ctx: Context) -> dict[str, float]:
        """k by leaving out each training row in turn; the smaller k on a tie."""
        order = nearest(features, features, max(NEIGHBOURS) + 1, lambda done, total: _tell(ctx, "neighbours", done, total))
        own = np.arange(len(features))[:, None]
        others = np.array([row[row != i][: max(NEIGHBOURS)] for i, row in zip(own[:, 0], order, strict=True)])
        right = {k: np.mean([vote(answers, row[:k]) == a for row, a in zip(others, answers, strict=True)]) for k in NEIGHBOURS}
        best = max(right.values()) if len(features) > 1 else 0.0
        k = next((k for k, share in right.items() if share == best), 1)
        _save(ctx.dir, {"embeddings": features.astype(np.float32)}, answers)
        return {"k": float(k)}

    def _logistic(self, features: Any, answers: list[str], ctx: Context) -> tuple[list[str], np.ndarray, np.ndarray, float]:
        """(labels, weight [labels, features], bias [labels], C): C by cross-validation, the first on a tie.

        Labels are the dataset's, in its order, as a scorer of probabilities expects them.
        """
        labels = list(choices_of(ctx.get(self.dataset)))
        if len(set(answers)) < 2:
            raise UserError("a classifier needs training rows of at least two labels", f"one: {answers[0]}", "data")
        classes = np.array([labels.index(a) for a in answers])
        fold = np.random.default_rng([self.seed, len(answers)]).permutation(len(answers)) % FOLDS
        right = []
        for number, strength in enumerate(STRENGTHS):
            _tell(ctx, "cross-validation", number, len(STRENGTHS))
            right.append(sum(_hits(features, classes, fold == f, strength) for f in range(FOLDS)))
        strength = STRENGTHS[int(np.argmax(right))]
        weight, bias = _fitted(features, classes, strength, len(labels))
        return labels, weight, bias, strength


def _hits(features: Any, classes: np.ndarray, held_out: np.ndarray, strength: float) -> int:
    """Rows of a fold that a fit on the others gets right; 0 where those have one label."""
    here, there = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    if not len(there) or len(np.unique(classes[here])) < 2:
        return 0
    weight, bias = _fitted(features[here], classes[here], strength, int(classes.max()) + 1)
    return int(((features[there] @ weight.T + bias).argmax(axis=1) == classes[there]).sum())


def text_of(prompt: Sequence[Message]) -> str:
    """What the user wrote, without system messages."""
    return "\n\n".join(m.content for m in prompt if m.role != "system")


def vectorizer(terms: Sequence[str] | None = None, idf: np.ndarray | None = None) -> Any:
    """Words and pairs of words, with log counts and rows of unit length; a fitted one from its terms and weights."""
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError:
        raise MachineError("TF-IDF needs scikit-learn: pip install 'luthier[data]'") from None
    found = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b", vocabulary=terms)
    if idf is not None:
        found.idf_ = idf
    return found


def _fitted(features: Any, classes: np.ndarray, strength: float, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits of each class; a class without rows is never named."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise MachineError("a classical baseline needs scikit-learn: pip install 'luthier[data]'") from None
    weight, bias = np.zeros((num_classes, features.shape[1])), np.full(num_classes, -1e9)
    seen = np.unique(classes)
    fit: Any = LogisticRegression(C=strength, max_iter=2000).fit(features, classes)
    if len(seen) == 2:
        weight[seen[1]], bias[seen] = fit.coef_[0], (0.0, fit.intercept_[0])
    else:
        weight[seen], bias[seen] = fit.coef_, fit.intercept_
    return weight, bias


def load_embedder(folder: Path, context_length: int, execution: Execution) -> tuple[EncoderEngine, TextRenderer]:
    """The frozen encoder and what cuts a text at the end of what it can read."""
    from luthier.engine.encoder.load import load_encoder
    from luthier.engine.select import prepare_machine
    from luthier.engine.text.answers import Answers
    from luthier.engine.text.plain import TextPolicy, TextRenderer

    engine = load_encoder(folder, None, None, execution, 0, prepare_machine(execution, "float32"))
    return engine, TextRenderer.from_model(folder, TextPolicy(max_length=context_length, cut="end"), Answers(kind="number"))


def embed(engine: EncoderEngine, renderer: TextRenderer, texts: Sequence[str], tell: Tell | None = None) -> np.ndarray:
    """float64 [n, hidden] of unit length."""
    from luthier.engine.encoder.predictor import embeddings

    return embeddings(engine, renderer, [(Message("user", text),) for text in texts], tell)


def nearest(queries: np.ndarray, rows: np.ndarray, k: int, tell: Tell | None = None) -> np.ndarray:
    """int64 [queries, min(k, rows)]: the rows of the largest cosines, nearest first; the earlier row on a tie."""
    out = []
    for at in range(0, len(queries), _AT_ONCE):
        cosine = queries[at : at + _AT_ONCE] @ rows.T
        out.append(np.argsort(-cosine, axis=1, kind="stable")[:, :k])
        if tell:
            tell(min(at + _AT_ONCE, len(queries)), len(queries))
    return np.concatenate(out)


def vote(answers: Sequence[str], neighbours: Sequence[int]) -> str:
    """The most frequent answer; the one of the nearest neighbour among those on a tie. Empty without neighbours."""
    counts = Counter(answers[i] for i in neighbours)
    return max(counts, key=counts.__getitem__) if counts else ""


def _save(folder: Path, tensors: dict[str, np.ndarray], answers: list[str]) -> None:
    from safetensors.numpy import save

    (folder / WEIGHTS).write_bytes(save({name: np.ascontiguousarray(t) for name, t in tensors.items()}))
    (folder / ANSWERS).write_text(json.dumps(answers, ensure_ascii=False), encoding="utf-8")


def _tell(ctx: Context, what: str, done: int, total: int) -> None:
    ctx.observer(Progress("classical", done, total, what))
    if ctx.stop_requested():
        ctx.stop(f"{what} ({done} of {total}) starts over")
