"""The encoder engine against plain transformers and PEFT, one row at a time, in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from luthier.core.errors import UserError
from luthier.core.execution import Execution
from luthier.core.records import Message
from luthier.engine.contract import Batch, TokenSequence
from luthier.engine.encoder.engine import EncoderEngine
from luthier.engine.encoder.load import load_encoder
from luthier.engine.headed import load_headed
from luthier.engine.methods.full import FullSpec
from luthier.engine.methods.lora import LoRASpec
from luthier.engine.models.kinds import ENCODERS
from luthier.engine.text.answers import Answers
from luthier.engine.text.plain import TextPolicy, TextRenderer
from luthier.parts.losses.sft import SFT
from toy_encoders import make_toy_encoder

TEXTS = (
    ("my card was stolen",),
    ("why is the rate wrong , can you check it now ?",),
    ("top up",),
    ("one two three", "four five six seven"),
    ("please block my account when it is late", "no"),
)
ANSWERS = {
    "label": (Answers(kind="label", labels=("a", "b", "c")), ("a", "c", "b", "c", "a")),
    "labels": (Answers(kind="labels", labels=("x", "y", "z", "w")), ('["x"]', "[]", '["w", "y"]', '["x", "y", "z", "w"]', '["z"]')),
    "number": (Answers(kind="number"), ("0.5", "-1.25", "3", "2.75", "0")),
}
WEIGHTS = (1.0, 1.0, 0.5, 2.0, 1.0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("encoders")
    return {arch: make_toy_encoder(root / arch, arch) for arch in ENCODERS}


def _rows(folder: Path, kind: str) -> tuple[TextRenderer, list[TokenSequence]]:
    answers, wanted = ANSWERS[kind]
    renderer = TextRenderer.from_model(folder, TextPolicy(max_length=64), answers)
    rows = []
    for texts, answer, weight in zip(TEXTS, wanted, WEIGHTS, strict=True):
        found = renderer.render((*(Message("user", t) for t in texts), Message("assistant", answer)))
        rows.append(TokenSequence(found.tokens, found.weights * np.float32(weight)))
    return renderer, rows


def _engine(folder: Path, kind: str, tokens: int, rank: int = 3) -> EncoderEngine:
    execution = Execution(engine="reference") if tokens == 0 else Execution(micro_batch_tokens=tokens)
    engine = load_encoder(folder, ANSWERS[kind][0], LoRASpec(rank, 2.0 * rank), execution, 7, torch.float64)
    generator = torch.Generator().manual_seed(5)
    state = engine.state()
    for name in sorted(state):
        if "lora_B" in name or "classifier" in name:
            state[name] = (torch.randn(state[name].shape, generator=generator) * 0.2).double()
    engine.load_state(state)
    return engine


def _oracle(folder: Path, adapter: Path, kind: str) -> tuple[float, dict[str, torch.Tensor], np.ndarray]:
    """Loss, gradients by our names, and outputs: transformers' own tokenizer, model and loss, PEFT's own loading."""
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

    answers, wanted = ANSWERS[kind]
    problem = {"label": "single_label_classification", "labels": "multi_label_classification", "number": "regression"}[kind]
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    plain: Any = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=answers.num_values, problem_type=problem, dtype=torch.float64, attn_implementation="eager"
    )
    model: Any = PeftModel.from_pretrained(plain, adapter, is_trainable=True, autocast_adapter_dtype=False).double().eval()
    takes_types = getattr(plain.config, "type_vocab_size", 0) > 1
    total, outputs = 0.0, []
    for texts, answer, weight in zip(TEXTS, wanted, WEIGHTS, strict=True):
        inputs = tokenizer(*texts, return_tensors="pt", return_token_type_ids=takes_types)
        numbers = torch.from_numpy(answers.numbers(answers.ids(answer)[None]))
        labels = numbers.argmax(-1) if kind == "label" else numbers
        out = model(**inputs, labels=labels)
        loss = out.loss * weight / sum(WEIGHTS)
        loss.backward()
        total += float(loss.detach())
        outputs.append(out.logits.detach().numpy()[0])
    found = {n.replace(".modules_to_save.default", "").replace(".default.weight", ".weight"): p for n, p in model.named_parameters()}
    return total, {n: p.grad for n, p in found.items() if p.requires_grad}, np.stack(outputs)


@pytest.mark.parametrize("tokens", [0, 64, 4096])
@pytest.mark.parametrize("kind", sorted(ANSWERS))
def test_loss_gradients_and_outputs_equal_transformers_one_row_at_a_time(
    folders: dict[str, Path], kind: str, tokens: int, tmp_path: Path
) -> None:
    _compare(folders["bert"], kind, tokens, tmp_path)


@pytest.mark.parametrize("arch", ENCODERS)
def test_every_family_equals_transformers(folders: dict[str, Path], arch: str, tmp_path: Path) -> None:
    _compare(folders[arch], "label", 96, tmp_path)


def _compare(folder: Path, kind: str, tokens: int, tmp_path: Path) -> None:
    _, rows = _rows(folder, kind)
    engine = _engine(folder, kind, tokens)
    normaliser = float(sum(s.weights.sum() for s in rows))
    found = engine.forward_backward(Batch(tuple(rows), normaliser), SFT())
    gradients = engine.gradients()
    engine.save_adapter(tmp_path / "adapter", "toy")
    wanted, oracle, outputs = _oracle(folder, tmp_path / "adapter", kind)
    # the adapter folder is float32, and so is every weight the engine was given: nothing was rounded on the way
    assert found.loss == pytest.approx(wanted, rel=1e-12)
    assert set(gradients) == set(oracle)
    for name, gradient in oracle.items():
        size = float(torch.linalg.vector_norm(gradient))
        assert size > 0, name
        assert float(torch.linalg.vector_norm(gradients[name] - gradient)) <= 1e-10 * size, name
    values = engine.values([s.tokens[s.weights == 0] for s in rows])
    assert np.abs(values - outputs).max() < 1e-12


@pytest.mark.parametrize("arch", ["bert", "distilbert"])
def test_full_fine_tuning_equals_transformers(folders: dict[str, Path], arch: str, tmp_path: Path) -> None:
    """Every weight moves, the head's too; the saved folder holds them all."""
    from safetensors.torch import load_file
    from transformers import AutoModelForSequenceClassification

    answers, wanted = ANSWERS["label"]
    _, rows = _rows(folders[arch], "label")
    engine = load_encoder(folders[arch], answers, FullSpec(), Execution(micro_batch_tokens=96), 7, torch.float64)
    loss = engine.forward_backward(Batch(tuple(rows), 5.5), SFT()).loss
    gradients = engine.gradients()
    engine.save_adapter(tmp_path / "adapter", "toy")
    stored = {n.removeprefix("base_model.model."): t for n, t in load_file(tmp_path / "adapter" / "adapter_model.safetensors").items()}
    model: Any = AutoModelForSequenceClassification.from_pretrained(folders[arch], num_labels=3, dtype=torch.float64).eval()
    assert set(stored) == {n for n, _ in model.named_parameters()}
    model.load_state_dict({n: t.double() for n, t in stored.items()}, strict=False)
    total = torch.zeros(())
    for s, answer, weight in zip(rows, wanted, WEIGHTS, strict=True):
        text = torch.from_numpy(s.tokens[s.weights == 0].astype(np.int64))[None]
        extra = {}
        if arch == "bert":
            ends = (text == 3).long()
            extra = {"token_type_ids": (ends.cumsum(-1) - ends).clamp(max=1)}
        label = torch.tensor([answers.labels.index(answer)])
        total = total + model(input_ids=text, labels=label, **extra).loss * weight / 5.5
    total.backward()
    assert loss == pytest.approx(float(total.detach()), rel=1e-12)
    whole = float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients.values()])))
    for name, parameter in model.named_parameters():
        assert float(torch.linalg.vector_norm(gradients[f"base_model.model.{name}"] - parameter.grad)) <= 1e-11 * whole, name
    again = load_encoder(folders[arch], answers, tmp_path / "adapter", Execution(), 1, torch.float64)
    prompts = [s.tokens[s.weights == 0] for s in rows]
    assert np.abs(again.values(prompts) - engine.values(prompts)).max() < 1e-12


def test_an_adapter_of_another_task_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    _engine(folders["bert"], "label", 96).save_adapter(tmp_path / "adapter", "toy")
    with pytest.raises(UserError, match="classifier"):
        load_encoder(folders["bert"], ANSWERS["labels"][0], tmp_path / "adapter", Execution(), 7, torch.float32)
    with pytest.raises(UserError, match="for SEQ_2_SEQ_LM is wanted, got LORA for SEQ_CLS"):
        load_headed(tmp_path / "adapter", "SEQ_2_SEQ_LM")


@pytest.mark.parametrize("kind", ["label", "labels", "number"])
def test_smoothed_labels_are_those_of_torch(folders: dict[str, Path], kind: str) -> None:
    from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

    answers, _ = ANSWERS[kind]
    _, rows = _rows(folders["bert"], kind)
    engine = _engine(folders["bert"], kind, 4096)
    batch = Batch(tuple(rows), 1.0)
    if kind == "number":
        with pytest.raises(UserError, match="labels are smoothed where the answer is a label"):
            engine.forward_backward(batch, SFT(label_smoothing=0.1))
        return
    found = engine.forward_backward(batch, SFT(label_smoothing=0.1)).loss
    values = torch.from_numpy(engine.values([s.tokens[s.weights == 0] for s in rows]))
    wanted = torch.from_numpy(np.concatenate([answers.numbers(s.tokens[s.weights != 0][None]) for s in rows]))
    if kind == "label":
        each = cross_entropy(values, wanted.argmax(-1), reduction="none", label_smoothing=0.1)
    else:
        each = binary_cross_entropy_with_logits(values, wanted * 0.9 + 0.05, reduction="none").sum(-1)
    assert found == pytest.approx(float((each * torch.tensor(WEIGHTS).double()).sum()), rel=1e-12)


def test_accumulated_micro_batches_equal_the_whole_batch(folders: dict[str, Path]) -> None:
    _, rows = _rows(folders["bert"], "label")
    normaliser = float(sum(s.weights.sum() for s in rows))
    whole, parts = _engine(folders["bert"], "label", 4096), _engine(folders["bert"], "label", 4096)
    whole.forward_backward(Batch(tuple(rows), normaliser), SFT())
    for chunk in (rows[:1], rows[1:4], rows[4:]):
        parts.forward_backward(Batch(tuple(chunk), normaliser), SFT())
    found = parts.gradients()
    for name, gradient in whole.gradients().items():
        assert torch.allclose(found[name], gradient, rtol=1e-10, atol=1e-14), name


def test_a_state_that_is_loaded_again_goes_on_bit_for_bit(folders: dict[str, Path]) -> None:
    _, rows = _rows(folders["bert"], "labels")
    batch = Batch(tuple(rows), 20.0)
    one = _engine(folders["bert"], "labels", 96)
    for _ in range(2):
        one.forward_backward(batch, SFT())
        one.optim_step(1e-2)
    saved = one.state()
    other = load_encoder(folders["bert"], ANSWERS["labels"][0], LoRASpec(3, 6.0), Execution(micro_batch_tokens=96), 99, torch.float64)
    other.load_state(saved)
    for engine in (one, other):
        engine.forward_backward(batch, SFT())
        engine.optim_step(1e-2)
    for name, value in one.state().items():
        assert torch.equal(torch.as_tensor(value), torch.as_tensor(other.state()[name])), name


def test_embeddings_are_the_mean_of_transformers_last_layer(folders: dict[str, Path]) -> None:
    from transformers import AutoModel

    _, rows = _rows(folders["roberta"], "label")
    prompts = [TokenSequence(s.tokens[s.weights == 0], np.zeros(int((s.weights == 0).sum()), np.float32)) for s in rows]
    engine = load_encoder(folders["roberta"], None, None, Execution(), 0, torch.float64)
    plain: Any = AutoModel.from_pretrained(folders["roberta"], dtype=torch.float64).eval()
    with torch.no_grad():
        wanted = [plain(torch.from_numpy(p.tokens.astype(np.int64))[None]).last_hidden_state[0].mean(0).float().numpy() for p in prompts]
    assert np.abs(engine.embed(prompts) - np.stack(wanted)).max() < 1e-6
