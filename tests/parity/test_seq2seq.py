"""The encoder-decoder engine against plain transformers and PEFT, one row at a time, in float64; its words against `generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from luthier.core.execution import Execution
from luthier.core.records import Message
from luthier.engine.contract import Batch, Sampling, TokenSequence
from luthier.engine.methods.full import FullSpec
from luthier.engine.methods.lora import LoRASpec
from luthier.engine.predictor import target_sequence
from luthier.engine.seq2seq.engine import Seq2SeqEngine
from luthier.engine.seq2seq.load import load_seq2seq
from luthier.engine.text.plain import TextPolicy, TextRenderer
from luthier.parts.losses.sft import SFT
from toy_encoders import make_toy_seq2seq

PAIRS = (
    ("my card was stolen", "block it"),
    ("why is the rate wrong , can you check it now ?", "please check the rate that applied"),
    ("top up", "a bank transfer"),
    ("one two three four five six seven", "seven"),
)
WEIGHTS = (1.0, 0.5, 2.0, 1.0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("seq2seq")
    return {arch: make_toy_seq2seq(root / arch, arch) for arch in ("t5", "bart")}


def _rows(folder: Path) -> tuple[TextRenderer, list[TokenSequence]]:
    renderer = TextRenderer.from_model(folder, TextPolicy(max_length=64), None)
    rows = []
    for (text, answer), weight in zip(PAIRS, WEIGHTS, strict=True):
        found = renderer.render((Message("user", text), Message("assistant", answer)))
        rows.append(TokenSequence(found.tokens, found.weights * np.float32(weight)))
    return renderer, rows


def _engine(folder: Path, tokens: int, dtype: torch.dtype = torch.float64) -> Seq2SeqEngine:
    execution = Execution(engine="reference") if tokens == 0 else Execution(micro_batch_tokens=tokens)
    engine = load_seq2seq(folder, LoRASpec(3, 6.0), execution, 7, dtype)
    generator = torch.Generator().manual_seed(5)
    state = engine.state()
    for name in sorted(state):
        if "lora_B" in name:
            state[name] = (torch.randn(state[name].shape, generator=generator) * 0.2).to(dtype)
    engine.load_state(state)
    return engine


def _exact(model: Any, dtype: torch.dtype) -> None:
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child).__name__ == "T5LayerNorm":
                norm = torch.nn.RMSNorm(child.weight.shape, eps=child.variance_epsilon, dtype=dtype)
                norm.weight = child.weight
                setattr(parent, name, norm)


def _plain(folder: Path, adapter: Path, dtype: torch.dtype = torch.float64) -> Any:
    """transformers' own class under PEFT's own loading; T5's norm, which rounds to float32, replaced by torch's."""
    from peft import PeftModel
    from transformers import AutoModelForSeq2SeqLM

    plain: Any = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager")
    _exact(plain, dtype)
    return PeftModel.from_pretrained(plain, adapter, is_trainable=True, autocast_adapter_dtype=False).to(dtype).eval()


@pytest.mark.parametrize("tokens", [0, 64, 4096])
@pytest.mark.parametrize("arch", ["t5", "bart"])
def test_loss_and_gradients_equal_transformers_one_row_at_a_time(folders: dict[str, Path], arch: str, tokens: int, tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    _, rows = _rows(folders[arch])
    engine = _engine(folders[arch], tokens)
    normaliser = float(sum(s.weights.sum() for s in rows))
    found = engine.forward_backward(Batch(tuple(rows), normaliser), SFT())
    gradients = engine.gradients()
    engine.save_adapter(tmp_path / "adapter", "toy")
    model, tokenizer = _plain(folders[arch], tmp_path / "adapter"), PreTrainedTokenizerFast.from_pretrained(folders[arch])
    total = 0.0
    for (text, answer), weight in zip(PAIRS, WEIGHTS, strict=True):
        labels = tokenizer(answer, return_tensors="pt")["input_ids"]
        inputs = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
        loss = model(**inputs, labels=labels).loss * labels.shape[1] * weight / normaliser
        loss.backward()
        total += float(loss.detach())
    assert found.loss == pytest.approx(total, rel=1e-12)
    oracle = {n.replace(".default.weight", ".weight"): p.grad for n, p in model.named_parameters() if p.requires_grad}
    assert set(gradients) == set(oracle)
    for name, gradient in oracle.items():
        size = float(torch.linalg.vector_norm(gradient))
        assert size > 0, name
        assert float(torch.linalg.vector_norm(gradients[name] - gradient)) <= 1e-10 * size, name


@pytest.mark.parametrize("arch", ["t5", "bart"])
def test_full_fine_tuning_equals_transformers(folders: dict[str, Path], arch: str, tmp_path: Path) -> None:
    from transformers import AutoModelForSeq2SeqLM

    _, rows = _rows(folders[arch])
    engine = load_seq2seq(folders[arch], FullSpec(), Execution(micro_batch_tokens=96), 7, torch.float64)
    loss = engine.forward_backward(Batch(tuple(rows), 4.0), SFT()).loss
    gradients = engine.gradients()
    model: Any = AutoModelForSeq2SeqLM.from_pretrained(folders[arch], dtype=torch.float64, attn_implementation="eager").eval()
    _exact(model, torch.float64)
    total = torch.zeros(())
    for s in rows:
        source, answer = (torch.from_numpy(s.tokens[(s.weights != 0) == side].astype(np.int64))[None] for side in (False, True))
        total = total + model(input_ids=source, labels=answer).loss * s.weights.sum().item() / 4.0
    total.backward()
    assert loss == pytest.approx(float(total.detach()), rel=1e-12)
    assert {f"base_model.model.{n}" for n, _ in model.named_parameters()} == set(gradients)
    whole = float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients.values()])))
    for name, parameter in model.named_parameters():
        assert float(torch.linalg.vector_norm(gradients[f"base_model.model.{name}"] - parameter.grad)) <= 1e-11 * whole, name


@pytest.mark.parametrize("penalty", [1.0, 1.7])
@pytest.mark.parametrize("arch", ["t5", "bart"])
def test_greedy_answers_equal_generate(folders: dict[str, Path], arch: str, penalty: float, tmp_path: Path) -> None:
    renderer, rows = _rows(folders[arch])
    engine = _engine(folders[arch], 4096)
    engine.save_adapter(tmp_path / "adapter", "toy")
    model = _plain(folders[arch], tmp_path / "adapter")
    prompts = [s.tokens[s.weights == 0] for s in rows]
    sampling = Sampling(max_new_tokens=12, stop_ids=renderer.stop_ids, repetition_penalty=penalty)
    for prompt, found in zip(prompts, engine.sample(prompts, sampling), strict=True):
        ids = torch.from_numpy(prompt.astype(np.int64))[None]
        wanted = model.generate(input_ids=ids, max_new_tokens=12, do_sample=False, num_beams=1, repetition_penalty=penalty)[0, 1:].tolist()
        ended = wanted[-1] in renderer.stop_ids
        assert list(found.tokens) == (wanted[:-1] if ended else wanted)
        assert found.finish == ("stop" if ended else "length")


@pytest.mark.parametrize("arch", ["t5", "bart"])
def test_scores_are_those_of_the_words_that_are_written(folders: dict[str, Path], arch: str) -> None:
    """Teacher forcing and generation are one model: a greedy answer is greedy at every target, with the same log-probabilities."""
    renderer, rows = _rows(folders[arch])
    engine = _engine(folders[arch], 64)
    prompts = [s.tokens[s.weights == 0] for s in rows]
    done = engine.sample(prompts, Sampling(max_new_tokens=8, stop_ids=renderer.stop_ids, logprobs=1))
    for prompt, found in zip(prompts, done, strict=True):
        answer = np.array(found.tokens, np.int32)
        score = engine.score([target_sequence(prompt, answer)])[0]
        assert score.greedy.all()
        assert score.logprobs == pytest.approx(found.logprobs, abs=1e-9)


def test_draws_are_keyed_by_their_place(folders: dict[str, Path]) -> None:
    renderer, rows = _rows(folders["t5"])
    engine = _engine(folders["t5"], 4096)
    prompts = [s.tokens[s.weights == 0] for s in rows]
    sampling = Sampling(max_new_tokens=6, temperature=1.0, seed=3, num_samples=2, stop_ids=renderer.stop_ids)
    assert engine.sample(prompts, sampling) == engine.sample(prompts, sampling)
    assert [c.tokens for c in engine.sample(prompts[:1], sampling)] == [c.tokens for c in engine.sample(prompts, sampling)[:2]]
