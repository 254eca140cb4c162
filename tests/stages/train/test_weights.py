"""Row, message and class weights: from the data file to the weights of the tokens, and through them to the gradient."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from luthier.core.config import parse_config
from luthier.core.errors import UserError
from luthier.core.events import Note
from luthier.core.records import Example, Message, Source
from luthier.core.rows import read_split
from luthier.engine.contract import Batch, TokenSequence
from luthier.engine.methods.lora import LoRASpec
from luthier.engine.text.prepared import read_prepared
from luthier.parts.losses.sft import SFT
from luthier.pipeline.plan import advice
from luthier.pipeline.workspace import Workspace
from luthier.stages.train.class_weights import in_words, weight_of_label, weighted
from luthier.stages.train.loop import Rows
from luthier.stages.train.regularisation import Regularisation
from toy_project import toy_settings, write_settings, write_toy
from toys import relative_errors, toy_engine


def prepared_rows(folder: Path, base: Path, mapping: dict[str, object], lines: list[dict[str, object]]) -> list[TokenSequence]:
    """The training rows of a project on `lines`, prepared as a run would, in the order of the lines."""
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    data = {"files": [{"path": "rows.jsonl", "split": "train"}], "mapping": mapping}
    (folder / "other.jsonl").write_text("".join(json.dumps(_talk(f"other {i}")) + "\n" for i in range(4)), encoding="utf-8")
    data["files"] += [{"path": "other.jsonl", "split": "any"}]  # type: ignore[operator]
    settings = toy_settings(base, data=data, split={"validation": 2, "test": 2, "seed": 3})
    settings["objective"] |= {"task": "answer", "metric": "exact_match", "metrics": []}
    workspace = Workspace.open(write_settings(folder, settings))
    built = workspace.store.build(workspace.graph.prepared, workspace.project.execution, lambda event: None)
    split = workspace.store.build(workspace.graph.split, workspace.project.execution)
    line_of = {row.key: int(row.source.at.removeprefix("line ")) for row in read_split(split, "train")}
    found = read_prepared(built.path, "train")
    return [s for _, s in sorted(zip((line_of[k] for k in found.keys), found.sequences, strict=True), key=lambda pair: pair[0])]


def _talk(question: str, *weights: float | None, row: float | None = None) -> dict[str, object]:
    turns: list[dict[str, object]] = []
    for i, weight in enumerate(weights or (None,)):
        answer = {"role": "assistant", "content": "my card"} | ({} if weight is None else {"weight": weight})
        turns += [{"role": "user", "content": f"{question} {i}"}, answer]
    return {"messages": turns} | ({"importance": 1.0 if row is None else row})


def test_row_and_message_weights_reach_the_tokens(tmp_path: Path, toy_base: Path) -> None:
    lines = [_talk("a"), _talk("b", row=2.5), _talk("c", 0.0, 1.0), _talk("d", 1.0, 0.25, row=4.0)]
    rows = prepared_rows(tmp_path, toy_base, {"kind": "messages", "weight": "importance"}, lines)
    found = [sorted(set(s.weights[s.weights != 0].tolist())) for s in rows]
    assert found == [[1.0], [2.5], [1.0], [1.0, 4.0]]
    plain, silent = rows[0], rows[2]
    assert int((silent.weights != 0).sum()) == int((plain.weights != 0).sum())  # of two equal answers one is silent
    assert not silent.weights[: len(silent.weights) // 2].any()
    assert rows[3].weights[len(rows[3].weights) // 2 :].max() == 1.0  # 4 x 0.25, the second turn
    assert rows[3].weights[: len(rows[3].weights) // 2].max() == 4.0


def test_a_weight_of_two_is_the_row_twice(tmp_path: Path, toy_base: Path) -> None:
    """Through the engine: the gradient of a weighted row equals that of the repeated one."""
    rows = prepared_rows(tmp_path, toy_base, {"kind": "messages", "weight": "importance"}, [_talk("a", row=2.0), _talk("b")])
    heavy, light = rows
    once = TokenSequence(heavy.tokens, heavy.weights / 2)
    left, right = (toy_engine(toy_base, "fast", LoRASpec(rank=2, alpha=4.0)) for _ in range(2))
    total = float(heavy.weights.sum() + light.weights.sum())
    left.forward_backward(Batch((heavy, light), total), SFT())
    right.forward_backward(Batch((once, light, once), total), SFT())
    assert max(relative_errors(left.gradients(), right.gradients()).values()) < 1e-10


def rows_of(labels: list[str | None]) -> list[Example]:
    talk = (Message("user", "q"), Message("assistant", "a"))
    return [Example(talk, Source("rows.csv", f"row {i}"), key=f"k{i}", label=label) for i, label in enumerate(labels)]


def test_balanced_weights_equal_scikit_learn() -> None:
    labels = ["card"] * 7 + ["rate"] * 2 + ["cash"]
    found = weight_of_label(Regularisation(class_weights="balanced"), rows_of([*labels]))
    classes = np.unique(labels)
    wanted = compute_class_weight("balanced", classes=classes, y=labels)
    assert found == pytest.approx(dict(zip(classes.tolist(), wanted.tolist(), strict=True)))


def test_given_weights_hold_for_the_labels_they_name() -> None:
    given = Regularisation(class_weights={"rate": 3.0})
    assert weight_of_label(given, rows_of(["card", "rate", "card"])) == {"card": 1.0, "rate": 3.0}
    assert weight_of_label(Regularisation(), rows_of(["card"])) == {}
    with pytest.raises(UserError, match=r"label of the training rows, got ratee .*did you mean"):
        weight_of_label(Regularisation(class_weights={"ratee": 3.0}), rows_of(["card", "rate"]))
    with pytest.raises(UserError, match=r"rows.csv row 1"):
        weight_of_label(given, rows_of(["rate", None]))


@pytest.mark.parametrize("bad", [{"card": 0.0}, {"card": -1}, "even", {"card": float("nan")}])
def test_bad_class_weights_are_refused(bad: object) -> None:
    with pytest.raises(UserError, match="class_weights"):
        parse_config(Regularisation, {"class_weights": bad})


def test_pieces_of_a_row_keep_its_class_weight() -> None:
    sequence = TokenSequence(np.array([1, 2, 3], np.int32), np.array([0, 1, 0.5], np.float32))
    rows = weighted(Rows((sequence,) * 3, ("k0", "k0#2", "k1")), rows_of(["card", "rate"]), {"card": 2.0, "rate": 0.5})
    assert [s.weights.tolist() for s in rows.sequences] == [[0, 2, 1], [0, 2, 1], [0, 0.5, 0.25]]
    assert rows.sequences[0].weights.dtype == np.float32
    assert sequence.weights.tolist() == [0, 1, 0.5]


def test_a_long_list_is_shown_by_its_ends() -> None:
    words = in_words({f"label{i:02}": 1.0 + i for i in range(20)})
    assert words == (
        "class weights: label19 20, label18 19, label17 18, label16 17, 12 labels between, label03 4, label02 3, label01 2, label00 1"
    )


def test_class_weights_are_in_the_plan_the_notes_and_the_run(tmp_path: Path, learner_base: Path) -> None:
    file = write_toy(tmp_path / "toy", learner_base)
    workspace = Workspace.open(file, ("train.regularisation.class_weights={card: 2.0}", "train.epochs=1"))
    assert workspace.graph.train.key() != Workspace.open(file, ("train.epochs=1",)).graph.train.key()
    notes: list[str] = []
    built = workspace.store.build(
        workspace.graph.train, workspace.project.execution, lambda event: notes.append(event.text) if isinstance(event, Note) else None
    )
    line = "class weights: card 2, cash 1, rate 1"
    assert line in notes
    assert line in list(advice(workspace))
    assert json.loads((built.path / "class_weights.json").read_text()) == {"card": 2.0, "cash": 1.0, "rate": 1.0}
