"""The doctor on encoders and encoder-decoders: every proof holds, and a planted fault is caught by the proof that it is for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from unwatched import options

from luthier.engine.contract import Batch, TokenSequence
from luthier.engine.text.prepared import PreparedSplit
from luthier.pipeline.doctor.document import ProofLine
from luthier.pipeline.doctor.project import carry_out, open_project, open_subject, prove
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
from toy_encoders import make_toy_encoder, make_toy_seq2seq
from toy_project import FILLERS, toy_rows, toy_settings, write_rows, write_settings

NUM_PROOFS = 9


def _row(task: str, i: int, text: str, label: str) -> dict[str, Any]:
    if task == "several labels":
        return {"text": text, "labels": [label, "even"] if i % 2 else [label]}
    if task == "numbers":
        return {"text": " ".join([text, *["red"] * (i % 4)]), "score": 1.5 * (i % 4)}
    if task == "pairs":
        return {"text": text, "pair": f"two {FILLERS[i % 7]} three", "label": label}
    return {"text": text, "label": label, "prompt": text, "completion": f"it is {label} now"}


MAPPINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "one label": ({"kind": "classification"}, {"task": "classify", "goal": "Name it.", "metric": "accuracy"}),
    "several labels": ({"kind": "multi_label"}, {"task": "multi_label", "goal": "Name them."}),
    "numbers": ({"kind": "regression"}, {"task": "regression", "goal": "Rate it."}),
    "pairs": ({"kind": "classification", "pair": "pair"}, {"task": "classify", "goal": "Compare.", "metric": "accuracy"}),
    "text": ({"kind": "prompt_completion"}, {"task": "summarise", "goal": "Say it.", "metric": "exact_match"}),
}


def _write(folder: Path, base: Path, task: str) -> Path:
    mapping, objective = MAPPINGS[task]
    write_rows(folder, [_row(task, i, text, label) for i, (text, label) in enumerate(toy_rows())])
    settings = toy_settings(base, objective=objective, data={"files": ["rows.jsonl"], "mapping": mapping}, prepare={"max_length": 48})
    del settings["evaluate"]
    if task == "text":
        settings["evaluate"] = {"decoding": {"kind": "text", "max_new_tokens": 8}, "baselines": [{"name": "zero-shot"}]}
    return write_settings(folder, settings)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bases")
    encoders = {arch: make_toy_encoder(root / arch, arch) for arch in ("bert", "roberta")}
    return {**encoders, **{arch: make_toy_seq2seq(root / arch, arch) for arch in ("t5", "bart")}}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, bases: dict[str, Path]) -> dict[str, Path]:
    """The project files whose rows are prepared once."""
    root = tmp_path_factory.mktemp("projects")
    return {"encoder": _write(root / "encoder", bases["bert"], "one label"), "seq2seq": _write(root / "text", bases["t5"], "text")}


@pytest.fixture
def encoder(files: dict[str, Path]) -> Iterator[Subject]:
    workspace, name = open_project(files["encoder"], (), None)
    with open_subject(workspace, name, options()) as subject:
        yield subject


@pytest.fixture
def seq2seq(files: dict[str, Path]) -> Iterator[Subject]:
    workspace, name = open_project(files["seq2seq"], (), None)
    with open_subject(workspace, name, options()) as subject:
        yield subject


def figure(line: ProofLine, name: str) -> float:
    return next(f.value for f in line.figures if f.name.startswith(name))


def plant(subject: Subject, change: Callable[[TokenSequence], TokenSequence]) -> None:
    """Change what is stored for training, as a fault in preparing rows would."""
    stored = {split: PreparedSplit(tuple(change(s) for s in rows.sequences), rows.keys) for split, rows in subject.stored.items()}
    subject.__dict__["stored"] = stored  # a cached property


@pytest.mark.parametrize(("arch", "task"), [("bert", "pairs"), ("bart", "text")])
def test_every_proof_holds(arch: str, task: str, bases: dict[str, Path], tmp_path: Path) -> None:
    workspace, name = open_project(_write(tmp_path, bases[arch], task), (), None)
    with open_subject(workspace, name, options()) as subject:
        found = prove(subject, options())
    answers = {p.kind: p.answer for p in found.proofs}
    assert not [(p.kind, p.faults, p.figures) for p in found.proofs if p.answer == "fails"]
    assert len(answers) == NUM_PROOFS
    assert {kind for kind, answer in answers.items() if answer == "does not apply"} == ({"end_of_turn"} if task != "text" else set())
    assert figure(next(p for p in found.proofs if p.kind == "adapter"), "largest change") > 1e-4
    assert found.stored_rows == 78
    assert ("".join(p.text for p in found.sample if p.trained) in ("card", "rate", "cash")) == (task == "pairs")


@pytest.mark.parametrize(("arch", "task"), [("bert", "several labels"), ("bert", "numbers"), ("roberta", "one label"), ("t5", "text")])
def test_every_kind_of_answer_is_read_and_loaded_as_the_libraries_do(arch: str, task: str, bases: dict[str, Path], tmp_path: Path) -> None:
    workspace, name = open_project(_write(tmp_path, bases[arch], task), (), None)
    with open_subject(workspace, name, options()) as subject:
        lines = [carry_out(proof, subject) for proof in (Masks(), Beginning(), Parity(), AdapterApplied())]
    assert [line.answer for line in lines] == ["holds"] * len(lines), lines


def test_full_tuning_and_rows_one_at_a_time(files: dict[str, Path]) -> None:
    workspace, name = open_project(files["encoder"], ("train.method={kind: full}", "execution.engine=reference"), None)
    with open_subject(workspace, name, options()) as subject:
        answers = {proof.kind: carry_out(proof, subject) for proof in (Packing(), AdapterApplied(), Merging())}
    assert answers["packing"].answer == "does not apply"
    assert "each row alone" in answers["packing"].proven
    assert (answers["adapter"].answer, answers["merging"].answer) == ("holds", "holds")


@pytest.mark.parametrize(("arch", "method"), [("bert", "{kind: bottleneck, size: 8}"), ("t5", "{kind: last_layers, layers: 1}")])
def test_a_method_with_and_without_a_merged_form(arch: str, method: str, bases: dict[str, Path], tmp_path: Path) -> None:
    file = _write(tmp_path, bases[arch], "one label" if arch == "bert" else "text")
    workspace, name = open_project(file, (f"train.method={method}",), None)
    with open_subject(workspace, name, options()) as subject:
        adapter, merging = (carry_out(proof, subject) for proof in (AdapterApplied(), Merging()))
    assert (adapter.answer, merging.answer) == ("holds", "does not apply" if arch == "bert" else "holds"), adapter


def _other_label(s: TokenSequence) -> TokenSequence:
    return replace(s, tokens=np.where(s.weights != 0, (s.tokens + 1) % 3, s.tokens))


def _all_trained(s: TokenSequence) -> TokenSequence:
    return replace(s, weights=np.concatenate([s.weights[:1], np.ones_like(s.weights[1:])]))


@pytest.mark.parametrize("wrong", [_other_label, _all_trained])
def test_a_wrong_label_or_mask_is_caught(encoder: Subject, wrong: Callable[[TokenSequence], TokenSequence]) -> None:
    assert carry_out(Masks(), encoder).answer == "holds"
    encoder.__dict__.pop("stored_rows")
    plant(encoder, wrong)
    line = carry_out(Masks(), encoder)
    assert (line.answer, figure(line, "rows whose trained text")) == ("fails", 78)


def test_an_answer_that_does_not_train_its_end_is_caught(seq2seq: Subject) -> None:
    plant(seq2seq, lambda s: replace(s, weights=np.concatenate([s.weights[:-1], [np.float32(0)]])))
    line = carry_out(EndOfTurn(), seq2seq)
    assert (line.answer, figure(line, "rows with an answer")) == ("fails", 78)
    assert carry_out(Masks(), seq2seq).answer == "fails"


def test_a_doubled_beginning_is_caught(encoder: Subject) -> None:
    plant(encoder, lambda s: TokenSequence(np.concatenate([s.tokens[:1], s.tokens]), np.concatenate([s.weights[:1], s.weights])))
    line = carry_out(Beginning(), encoder)
    assert (line.answer, figure(line, "texts that begin")) == ("fails", 78)
    assert carry_out(Parity(), encoder).answer == "fails"


def test_special_tokens_that_evaluation_leaves_out_are_caught(encoder: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    from luthier.engine.encoder.engine import EncoderEngine
    from luthier.engine.encoder.predictor import EncoderPredictor, outputs_of

    def predict(self: EncoderPredictor, prompts: Any, progress: Any = None, tools: Any = None) -> Any:
        answers = self.renderer.answers
        assert answers is not None
        return outputs_of(answers, EncoderEngine.values(self.engine, [self.renderer.prompt(p)[1:] for p in prompts]))

    assert carry_out(Parity(), encoder).answer == "holds"
    monkeypatch.setattr(EncoderEngine, "values", lambda self, prompts, progress=None: self.values(prompts))
    monkeypatch.setattr(EncoderPredictor, "predict", predict)
    line = carry_out(Parity(), encoder)
    assert line.answer == "fails"
    assert {fault.partition(":")[0] for fault in line.faults} == {"evaluation"}


def test_a_tokenizer_that_puts_nothing_around_a_text_is_caught(encoder: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows stored without [CLS] and [SEP]: training and evaluation agree, transformers' own tokenizer does not."""
    from luthier.engine.text.tokenizer import TextTokenizer

    def bare(self: TextTokenizer, text: str, pair: str | None = None, cut: Any = None) -> list[int]:
        return list(self._ids(text))

    monkeypatch.setattr(TextTokenizer, "whole", bare)
    plant(encoder, lambda s: TokenSequence(np.delete(s.tokens, [0, -2]), np.delete(s.weights, [0, -2])))
    line = carry_out(Parity(), encoder)
    assert line.answer == "fails"
    assert {fault.partition(":")[0] for fault in line.faults} == {"transformers' tokenizer"}


@pytest.mark.parametrize("which", ["encoder", "seq2seq"])
def test_padding_that_is_read_is_caught(which: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from luthier.engine import padded
    from luthier.engine.encoder import engine as encoders
    from luthier.engine.seq2seq import engine as seq2seqs

    subject: Subject = request.getfixturevalue(which)
    plant(subject, _of_other_lengths(subject))
    assert carry_out(Packing(), subject).answer == "holds"

    def unmasked(rows: Any, pad: int) -> Any:
        ids, mask = padded.padded(rows, pad)
        return ids, torch.ones_like(mask)

    for module in (encoders, seq2seqs):
        monkeypatch.setattr(module, "padded", unmasked)
    line = carry_out(Packing(), subject)
    assert line.answer == "fails"
    assert figure(line, "log-probability against each row alone") > 2e-3


def _of_other_lengths(subject: Subject) -> Callable[[TokenSequence], TokenSequence]:
    """Every other row gets two more tokens in its text: rows of one length need no padding."""
    seen: list[int] = []

    def longer(s: TokenSequence) -> TokenSequence:
        seen.append(1)
        if len(seen) % 2:
            return s
        tokens = np.concatenate([s.tokens[:3], s.tokens[1:]])
        return TokenSequence(tokens, np.concatenate([s.weights[:3] * 0, s.weights[1:]]))

    return longer


def test_rows_that_see_each_other_are_caught(encoder: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that is averaged over the rows computed together."""
    from luthier.engine.encoder.engine import EncoderEngine

    head = EncoderEngine._head

    def mixed(self: EncoderEngine, rows: list[np.ndarray]) -> Any:
        values = head(self, rows)
        return values + 0.01 * values.mean(0)

    monkeypatch.setattr(EncoderEngine, "_head", mixed)
    line = carry_out(Packing(), encoder)
    assert line.answer == "fails"
    assert figure(line, "other rows moved") > 1e-5


@pytest.mark.parametrize("which", ["encoder", "seq2seq"])
def test_a_mean_of_means_is_caught(which: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    from luthier.stages.train import loop

    subject: Subject = request.getfixturevalue(which)
    assert carry_out(Accumulation(), subject).answer == "holds"
    monkeypatch.setattr(loop, "whole_step", lambda rows: Batch(rows, 2 * max(float(s.weights.sum()) for s in rows)))
    line = carry_out(Accumulation(), subject)
    assert (line.answer, figure(line, "loss") > 1e-2) == ("fails", True)


@pytest.mark.parametrize("lost", ["adapter and head", "head", "adapter"])
def test_an_adapter_or_a_head_that_is_not_loaded_is_caught(encoder: Subject, monkeypatch: pytest.MonkeyPatch, lost: str) -> None:
    from luthier.engine.encoder import load

    put_on = load.put_on

    def forgets(model: Any, spec: Any, weights: Any, *rest: Any) -> Any:
        if weights is None:
            return put_on(model, spec, weights, *rest)
        fresh = put_on(model, spec, None, *rest)
        state = fresh.adapters.state()
        for name, value in weights.items():
            if lost != "adapter and head" and (lost == "adapter") != ("lora" in name):
                state[f"adapter.{name}"] = value
        fresh.adapters.load_state(state)
        return fresh

    assert carry_out(AdapterApplied(), encoder).answer == "holds"
    for name in ("predictor", "untuned"):
        encoder.__dict__.pop(name)
    monkeypatch.setattr(load, "put_on", forgets)
    line = carry_out(AdapterApplied(), encoder)
    assert line.answer == "fails"
    assert figure(line, "against plain transformers") > 1e-4


def test_a_merge_that_loses_something_is_caught(seq2seq: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    from luthier.engine.export import loading

    assert carry_out(Merging(), seq2seq).answer == "holds"
    monkeypatch.setattr(loading, "merge", lambda model: model.unload())
    assert carry_out(Merging(), seq2seq).answer == "fails"


def test_a_resume_that_forgets_the_moments_is_caught(encoder: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    from luthier.engine.optim.optimiser import Optimiser

    monkeypatch.setattr(Optimiser, "load_state", lambda self, state: None)
    line = carry_out(Resume(), encoder)
    assert (line.answer, figure(line, "tensors and values") > 0) == ("fails", True)
