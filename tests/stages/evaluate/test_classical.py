"""Classical baselines are scikit-learn's models after a round trip through the files of their artifact."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from luthier.core.artifacts import ClassicalModel, Dataset
from luthier.core.errors import CorruptArtifact, UserError
from luthier.core.events import ignore
from luthier.core.execution import Execution
from luthier.core.records import Example, Message, Source, with_ids, write_records
from luthier.core.stage import Built, Stage
from luthier.stages.data.bare import Bare
from luthier.stages.evaluate.classical import NEIGHBOURS, STRENGTHS, Classical, nearest, text_of, vote
from luthier.stages.evaluate.classical_predictor import load_classical
from toy_project import toy_rows

SYSTEM = Message("system", "Labels: late, stolen, wrong")


class Rows(Stage[Dataset]):
    """Stands for a division that is built elsewhere."""


@dataclass
class Ctx:
    """A context over one finished dataset."""

    dir: Path
    dataset: Built[Dataset]
    execution: Execution = field(default_factory=Execution)
    observer: Any = ignore

    def get(self, stage: Stage[Any]) -> Built[Any]:
        return self.dataset

    def stop_requested(self) -> bool:
        return False

    def stop(self, done: str) -> None:
        raise AssertionError(done)


def dataset(folder: Path, rows: list[tuple[str, str]]) -> Built[Dataset]:
    """The first rows are for training, the last nine for validation."""
    made = [Example((SYSTEM, Message("user", t), Message("assistant", a)), Source("f", str(i)), label=a) for i, (t, a) in enumerate(rows)]
    keyed = list(with_ids(made))
    parts = {"train": keyed[:-9], "validation": keyed[-9:], "test": keyed[:1]}
    for split, part in parts.items():
        write_records(folder / f"{split}.jsonl", part)
    counts = {s: len(p) for s, p in parts.items()}
    result = Dataset(kind="example", files={s: f"{s}.jsonl" for s in parts}, counts=counts, labels=tuple(sorted({a for _, a in rows})))
    return Built(stage="split", key="0" * 64, path=folder, result=result)


def fitted(tmp_path: Path, kind: Any, rows: list[tuple[str, str]]) -> tuple[ClassicalModel, Any]:
    (tmp_path / "out").mkdir()
    result = Classical(dataset=Rows(), kind=kind).build(Ctx(tmp_path / "out", dataset(tmp_path, rows)))
    return result, load_classical(Built(stage="classical", key="1" * 64, path=tmp_path / "out", result=result), Execution())


def test_tfidf_is_scikit_learns_pipeline(tmp_path: Path) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    rows = toy_rows(20)
    rows[0] = (rows[0][0], "late")  # not every row can be learnt, so the probabilities are no extremes
    model, predictor = fitted(tmp_path, "tfidf", rows)
    assert model.settings["C"] in STRENGTHS
    oracle = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b"),
        LogisticRegression(C=model.settings["C"], max_iter=2000),
    ).fit([t for t, _ in rows[:-9]], [a for _, a in rows[:-9]])
    asked = ["now now card", "rate is wrong", "nothing known", ""]
    outputs = predictor.predict([(SYSTEM, Message("user", t)) for t in asked])
    assert [o.text for o in outputs] == oracle.predict(asked).tolist()
    assert np.array([o.label_logprobs for o in outputs]) == pytest.approx(oracle.predict_log_proba(asked), abs=1e-9)


def test_the_strength_is_chosen_on_training_rows_alone(tmp_path: Path) -> None:
    """Other validation rows change nothing."""
    rows = toy_rows(20)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, _ = fitted(tmp_path / "a", "tfidf", rows)
    two, _ = fitted(tmp_path / "b", "tfidf", [*rows[:-9], *[(f"other {i}", a) for i, (_, a) in enumerate(rows[-9:])]])
    assert one == two
    assert (tmp_path / "a/out/model.safetensors").read_bytes() == (tmp_path / "b/out/model.safetensors").read_bytes()


def test_the_constant_answer_is_the_most_frequent_one(tmp_path: Path) -> None:
    _, predictor = fitted(tmp_path, "constant", [("a", "late")] * 3 + [("b", "wrong")] * 2 + toy_rows(3))
    assert [o.text for o in predictor.predict([(Message("user", "x"),)] * 2)] == ["late", "late"]
    with pytest.raises(UserError, match="reads text"):
        predictor.predict([(Message("user", "x"),)], None, [({"name": "tool"},)])
    with pytest.raises(UserError, match="language model"):
        predictor.mean_nll([])


def test_one_label_cannot_be_classified(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="two labels"):
        fitted(tmp_path, "tfidf", [(f"row {i}", "late") for i in range(20)])


def test_an_encoder_is_needed_for_embeddings(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="encoder"):
        fitted(tmp_path, "neighbours", toy_rows(10))


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    model, _ = fitted(tmp_path, "tfidf", toy_rows(10))
    (tmp_path / "out/model.safetensors").write_bytes(b"no")
    with pytest.raises(CorruptArtifact, match="rebuild"):
        load_classical(Built(stage="classical", key="1" * 64, path=tmp_path / "out", result=model), Execution())


def test_nearest_equals_scikit_learn_and_votes_break_ties_by_nearness() -> None:
    from sklearn.neighbors import NearestNeighbors

    rows = np.random.default_rng(0).normal(size=(50, 6))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    queries = rows[:7] + 0.01
    oracle = NearestNeighbors(n_neighbors=5, metric="cosine").fit(rows).kneighbors(queries, return_distance=False)
    assert nearest(queries / np.linalg.norm(queries, axis=1, keepdims=True), rows, 5).tolist() == oracle.tolist()
    assert vote(["a", "b", "b"], [0, 1, 2]) == "b"
    assert vote(["a", "b"], [1, 0]) == "b"
    assert vote(["a"], []) == ""
    assert NEIGHBOURS[0] == 1


def test_bare_rows_keep_their_keys_and_lose_the_system_message_and_the_test_rows(tmp_path: Path) -> None:
    from luthier.core.rows import read_split

    source = dataset(tmp_path, toy_rows(10))
    (tmp_path / "out").mkdir()
    result = Bare(dataset=Rows()).build(Ctx(tmp_path / "out", source))
    built = Built(stage="bare", key="2" * 64, path=tmp_path / "out", result=result)
    for split in ("train", "validation"):
        before, after = read_split(source, split), read_split(built, split)
        assert [r.key for r in after] == [r.key for r in before]
        assert {m.role for r in after for m in r.messages} == {"user", "assistant"}
    assert set(result.files) == {"train", "validation"}
    assert text_of(read_split(source, "train")[0].prompt) == text_of(after_prompt(built))


def after_prompt(built: Built[Dataset]) -> tuple[Message, ...]:
    """The prompt of the first training row."""
    from luthier.core.rows import read_split

    return read_split(built, "train")[0].prompt
