"""Each proof holds on the toy project, and a fault planted where it could really be is caught by it.

One decision: faults are planted in the product's own code or in what it stored, never in the doctor.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from unwatched import options

from luthier.core.events import ignore
from luthier.core.records import Message
from luthier.core.store import Interrupted
from luthier.engine.contract import Batch, TokenSequence
from luthier.engine.text.prepared import PreparedSplit
from luthier.pipeline.doctor.document import ProofLine
from luthier.pipeline.doctor.project import carry_out, open_project, open_subject, prove
from luthier.pipeline.doctor.proof import find_proofs
from luthier.pipeline.doctor.proofs.accumulation import Accumulation
from luthier.pipeline.doctor.proofs.adapter import AdapterApplied
from luthier.pipeline.doctor.proofs.beginning import Beginning
from luthier.pipeline.doctor.proofs.end_of_turn import EndOfTurn
from luthier.pipeline.doctor.proofs.masks import Masks
from luthier.pipeline.doctor.proofs.merging import Merging
from luthier.pipeline.doctor.proofs.packing import Packing
from luthier.pipeline.doctor.proofs.parity import Parity
from luthier.pipeline.doctor.proofs.resume import Resume
from luthier.pipeline.doctor.subject import Subject
from luthier.pipeline.run import RunOptions
from toy_project import toy_rows, toy_settings, write_settings, write_toy

SMOOTHED = ("train.regularisation.label_smoothing=0.1", "train.regularisation.class_weights={card: 3.0, rate: 2.0, cash: 5.0}")
KINDS = {"masks", "end_of_turn", "beginning", "parity", "accumulation", "packing", "adapter", "merging", "resume"}


def figure(line: ProofLine, name: str) -> float:
    """The value of the figure whose name begins so."""
    return next(f.value for f in line.figures if f.name.startswith(name))


def plant(subject: Subject, change: Callable[[TokenSequence], TokenSequence]) -> None:
    """Change what is stored for training, as a fault in preparing rows would."""
    stored = {split: PreparedSplit(tuple(change(s) for s in rows.sequences), rows.keys) for split, rows in subject.stored.items()}
    subject.__dict__["stored"] = stored  # a cached property
    for name in ("rows", "stored_rows", "training_rows"):
        subject.__dict__.pop(name, None)


def weighted(weights: Callable[[np.ndarray], np.ndarray]) -> Callable[[TokenSequence], TokenSequence]:
    return lambda s: replace(s, weights=weights(s.weights.copy()))


@pytest.mark.parametrize("which", ["untrained_subject", "trained_subject"])
def test_every_proof_holds(which: str, request: pytest.FixtureRequest) -> None:
    subject: Subject = request.getfixturevalue(which)
    found = prove(subject, options())
    assert {line.kind: line.answer for line in found.proofs} == dict.fromkeys(KINDS, "holds"), found.proofs
    assert len(found.proofs) == len(find_proofs()) == len(KINDS)
    assert all(line.proven and line.hurts and line.figures for line in found.proofs)
    assert found.trained == (which == "trained_subject")
    assert (found.engine, found.stored_rows) == ("fast", 78)
    by_kind = {line.kind: line for line in found.proofs}
    assert figure(by_kind["adapter"], "largest change") > 1e-3
    if found.trained:
        assert figure(by_kind["end_of_turn"], "share") == 1.0
    trained = "".join(p.text for p in found.sample if p.trained)
    assert trained.removesuffix("<|im_end|>") in ("card", "rate", "cash")
    assert "".join(p.text for p in found.sample).startswith("<|im_start|>system\nLabels: ")


def all_of(weights: np.ndarray) -> np.ndarray:
    weights[1:] = 1
    return weights


def none_of(weights: np.ndarray) -> np.ndarray:
    weights[:] = 0
    return weights


def shifted(weights: np.ndarray) -> np.ndarray:
    return np.concatenate([weights[1:], weights[:1]])


def without_end(weights: np.ndarray) -> np.ndarray:
    weights[np.flatnonzero(weights)[-1]] = 0
    return weights


@pytest.mark.parametrize("wrong", [all_of, none_of, shifted])
def test_a_wrong_mask_is_caught(untrained_subject: Subject, wrong: Callable[[np.ndarray], np.ndarray]) -> None:
    plant(untrained_subject, weighted(wrong))
    line = carry_out(Masks(), untrained_subject)
    assert line.answer == "fails"
    assert figure(line, "rows whose trained text") == 78
    assert figure(line, "rows without a trained token") == (78 if wrong is none_of else 0)


def test_one_wrong_row_among_many_is_caught(untrained_subject: Subject) -> None:
    seen: list[int] = []

    def one(sequence: TokenSequence) -> TokenSequence:
        seen.append(1)
        return weighted(shifted)(sequence) if len(seen) == 33 else sequence

    plant(untrained_subject, one)
    assert figure(carry_out(Masks(), untrained_subject), "rows whose trained text") == 1


def test_answers_that_do_not_train_their_end_are_caught(untrained_subject: Subject) -> None:
    plant(untrained_subject, weighted(without_end))
    line = carry_out(EndOfTurn(), untrained_subject)
    assert (line.answer, figure(line, "rows with an answer")) == ("fails", 78)


def test_a_trained_model_that_does_not_stop_is_caught(trained_subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    from luthier.engine.fast.engine import FastEngine

    assert carry_out(EndOfTurn(), trained_subject).answer == "holds"
    sample = FastEngine.sample
    monkeypatch.setattr(FastEngine, "sample", lambda self, prompts, sampling: sample(self, prompts, replace(sampling, stop_ids=())))
    line = carry_out(EndOfTurn(), trained_subject)
    assert (line.answer, figure(line, "share")) == ("fails", 0.0)


def test_a_doubled_beginning_is_caught(untrained_subject: Subject) -> None:
    def doubled(s: TokenSequence) -> TokenSequence:
        return TokenSequence(np.concatenate([s.tokens[:1], s.tokens]), np.concatenate([s.weights[:1], s.weights]))

    assert carry_out(Beginning(), untrained_subject).answer == "holds"
    plant(untrained_subject, doubled)
    line = carry_out(Beginning(), untrained_subject)
    assert (line.answer, figure(line, "texts that begin")) == ("fails", 78)
    assert carry_out(Parity(), untrained_subject).answer == "fails"


def test_a_system_message_that_chat_leaves_out_is_caught(untrained_subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    from luthier.pipeline.chat import Conversation

    def ask(self: Conversation, text: str) -> Any:
        return self.predictor.predict([(*self.turns, Message("user", text))])[0]

    monkeypatch.setattr(Conversation, "ask", ask)
    line = carry_out(Parity(), untrained_subject)
    assert line.answer == "fails"
    assert line.faults[0].startswith("chat: token ")


def test_another_template_in_evaluation_is_caught(untrained_subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    from luthier.engine.predictor import Predictor

    plain = Predictor.predict

    def predict(self: Predictor, prompts: Any, progress: Any = None, tools: Any = None) -> Any:
        return plain(self, [(*prompt, Message("user", "")) for prompt in prompts], progress, tools)

    monkeypatch.setattr(Predictor, "predict", predict)
    line = carry_out(Parity(), untrained_subject)
    assert {fault.partition(":")[0] for fault in line.faults} == {"evaluation", "chat"}


@pytest.mark.parametrize("by", ["rows", "calls"])
def test_a_normaliser_that_is_not_the_trained_tokens_is_caught(
    untrained_subject: Subject, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    from luthier.stages.train import loop

    def mean_of_means(sequences: tuple[TokenSequence, ...]) -> Batch:
        longest = max(float(s.weights.sum()) for s in sequences)
        return Batch(sequences, longest * (len(sequences) if by == "rows" else 2))

    monkeypatch.setattr(loop, "whole_step", mean_of_means)
    line = carry_out(Accumulation(), untrained_subject)
    assert line.answer == "fails"
    assert figure(line, "loss") > 1e-2


def test_gradients_of_a_trained_model_are_taken_where_there_are_some(trained_subject: Subject) -> None:
    """At the end of training the loss is near 0 and a relative error of it means nothing; the trained weights come back."""
    kept = {name: value.clone() for name, value in trained_subject.twin.state().items()}
    assert carry_out(Accumulation(), trained_subject).answer == "holds"
    assert all(value.equal(kept[name]) for name, value in trained_subject.twin.state().items())
    with trained_subject.at_start(trained_subject.twin) as start:
        assert any(not value.equal(kept[name]) for name, value in start.state().items())


def test_rows_that_see_each_other_are_caught(untrained_subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every node of the tree hangs below the first one: later rows attend to the first row's own tokens."""
    from luthier.engine.fast import scoring
    from luthier.engine.trees import micro_batches

    def leaking(build: Callable[..., Any]) -> Callable[..., Any]:
        def wrong(*args: Any) -> Any:
            pack = build(*args)
            nodes = pack.nodes.copy()
            nodes[:-1, 2] = nodes[-1, 2]
            return replace(pack, nodes=nodes)

        return wrong

    monkeypatch.setattr(micro_batches, "build_pack", leaking(micro_batches.build_pack))
    monkeypatch.setattr(scoring, "build_pack", leaking(scoring.build_pack))
    line = carry_out(Packing(), untrained_subject)
    assert line.answer == "fails"
    assert figure(line, "log-probability against the slow twin") > 2e-3


@pytest.mark.parametrize("which", ["untrained_subject", "trained_subject"])
def test_an_adapter_that_is_not_loaded_is_caught(which: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    subject: Subject = request.getfixturevalue(which)
    from luthier.engine.fast.linear import Linear

    def forgets(self: Linear) -> None:
        assert self.scratch is not None
        assert self.rest is not None
        self.scratch.copy_(self.rest)

    monkeypatch.setattr(Linear, "fill", forgets)
    line = carry_out(AdapterApplied(), subject)
    assert line.answer == "fails"
    assert figure(line, "largest change") == 0
    assert figure(line, "canary answers") == 0


def test_another_scale_of_the_adapter_is_caught(untrained_subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    from luthier.engine.fast import load

    build = load.build_weights
    monkeypatch.setattr(load, "build_weights", lambda *a: build(*a[:-1], dataclasses.replace(a[-1], scale=0.5 * a[-1].scale)))
    line = carry_out(AdapterApplied(), untrained_subject)
    assert line.answer == "fails"
    assert figure(line, "largest change") > 1e-6
    assert figure(line, "against plain PEFT") > 2e-3


def test_a_merge_that_loses_something_is_caught(untrained_subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    from luthier.engine.export import loading

    monkeypatch.setattr(loading, "merge", lambda model: model.unload())
    line = carry_out(Merging(), untrained_subject)
    assert line.answer == "fails"
    assert figure(line, "largest logit difference") > 1e-2


@pytest.mark.parametrize("fault", ["moments", "order of rows"])
def test_a_resume_that_forgets_is_caught(untrained_subject: Subject, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    from luthier.engine.optim.optimiser import Optimiser
    from luthier.stages.train import loop

    if fault == "moments":
        monkeypatch.setattr(Optimiser, "load_state", lambda self, state: None)
    else:
        picked = loop.rows_of_step
        began: list[int] = []

        def from_the_start(step: int, num_rows: int, recipe: Any) -> np.ndarray:
            began.append(step)
            return picked(step if len(began) <= 4 else step - 1, num_rows, recipe)

        monkeypatch.setattr(loop, "rows_of_step", from_the_start)
    line = carry_out(Resume(), untrained_subject)
    assert line.answer == "fails"
    assert figure(line, "tensors and values") > 0


def test_a_stop_between_proofs_says_how_far_it_was(untrained_subject: Subject) -> None:
    with pytest.raises(Interrupted, match="stopped after 0 of 9 proofs"):
        prove(untrained_subject, RunOptions(observer=ignore, stop_flag=lambda: True))


def test_nothing_of_the_project_changes_and_the_work_is_gone(untrained_file: Path, untrained_subject: Subject) -> None:
    def state() -> dict[str, int]:
        return {str(p): p.stat().st_mtime_ns for p in untrained_file.parent.rglob("*") if p.is_file()}

    before = state()
    workspace, name = open_project(untrained_file, (), None)
    with open_subject(workspace, name, options()) as subject:
        work = subject.work
        assert carry_out(Resume(), subject).answer == "holds"
        assert any(work.rglob("COMMITTED"))
    assert not work.exists()
    assert state() == before


def test_smoothed_labels_and_class_weights_are_part_of_what_is_proven(tmp_path: Path, learner_base: Path) -> None:
    workspace, name = open_project(write_toy(tmp_path, learner_base), SMOOTHED, None)
    with open_subject(workspace, name, options()) as subject:
        assert all(s.weights.max() > 1 for s in subject.sequences)
        for proof in (Accumulation(), Packing(), Resume()):
            line = carry_out(proof, subject)
            assert line.answer == "holds", line


def write_conversations(folder: Path, base: Path) -> Path:
    """Two turns each, a first answer that is not trained in some, and rows that the limit cuts in two."""
    rows = []
    for i, (text, label) in enumerate(toy_rows(12)):
        first = {"role": "assistant", "content": "go on", **({"weight": 0} if i % 3 == 0 else {})}
        asked = [{"role": "system", "content": "Be short."}, {"role": "user", "content": f"hello {i}"}, first]
        last = {"role": "user", "content": text * (9 if i % 5 == 0 else 1)}
        rows.append({"messages": [*asked, last, {"role": "assistant", "content": label}]})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    settings = toy_settings(
        base,
        objective={"task": "chat", "goal": "Answer."},
        data={"files": ["rows.jsonl"], "mapping": {"kind": "messages", "messages": "messages"}},
        split={"train": 20, "validation": 6, "test": 6, "seed": 3},
        prepare={"max_length": 100, "too_long": "split"},
        evaluate={"decoding": {"kind": "text", "max_new_tokens": 8}, "baselines": [{"name": "zero-shot"}]},
    )
    return write_settings(folder, settings)


def test_conversations_with_weights_and_cut_rows(tmp_path: Path, learner_base: Path) -> None:
    workspace, name = open_project(write_conversations(tmp_path, learner_base), (), None)
    with open_subject(workspace, name, options()) as subject:
        assert any(row.cut for row in subject.stored_rows)
        assert any(m.weight == 0 for row in subject.rows for m in row.example.messages)
        for proof in (Masks(), EndOfTurn(), Beginning(), Parity()):
            line = carry_out(proof, subject)
            assert line.answer == "holds", line
        plant(subject, weighted(all_of))
        assert figure(carry_out(Masks(), subject), "rows whose trained text") == len(subject.stored_rows)


def test_a_refusal_inside_a_proof_is_a_line_and_not_an_end(untrained_subject: Subject, tmp_path: Path) -> None:
    untrained_subject.__dict__["checkpoint"] = untrained_subject.checkpoint.model_copy(update={"path": tmp_path})
    line = carry_out(Merging(), untrained_subject)
    assert line.answer == "fails"
    assert "an adapter folder must hold adapter_config.json" in line.faults[0]
