"""The real embedded model in float32: step-0 gradients, tree log-probabilities and greedy tokens against the reference.

Skips, visibly, where the converted model is not in the cache (`luthier models pull smollm2-135m-instruct` puts it there).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hard_batches import as_batch
from luthier.core.errors import LuthierError
from luthier.core.execution import Execution
from luthier.engine.contract import Sampling
from luthier.engine.methods.lora import LoRASpec
from luthier.engine.select import load_engine
from luthier.parts.losses.sft import SFT
from toys import sequence


@pytest.fixture(scope="module")
def folder() -> Path:
    from luthier.engine.models.resolve import resolve

    try:
        return Path(resolve("smollm2-135m-instruct", allow_network=False).folder)
    except LuthierError as err:
        pytest.skip(f"the embedded model is not in the cache: {err}")


def engines(folder: Path, spec: LoRASpec | None) -> tuple[Any, Any]:
    reference, fast = (load_engine(folder, spec, Execution(engine=kind), 0) for kind in ("reference", "fast"))  # type: ignore[arg-type]
    return reference, fast


def rows(num: int) -> list[Any]:
    rng = np.random.default_rng(0)
    root = rng.integers(3, 49_152, 90).tolist()
    return [sequence(root + rng.integers(3, 49_152, 10 + 3 * i).tolist(), list(range(92, 100 + 3 * i))) for i in range(num)]


@pytest.mark.slow
def test_first_gradients_in_float32_are_those_of_float64(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the fast engine, of the reference, and less so of the reference with torch's log-softmax, as transformers takes the loss."""
    spec, batch = LoRASpec(16, 32.0), as_batch(rows(4))
    exact = load_engine(folder, spec, Execution(engine="reference"), 0, dtype="float64")
    fast, plain = (load_engine(folder, spec, Execution(engine=kind), 0) for kind in ("fast", "reference"))  # type: ignore[arg-type]
    truth, quick = (e.forward_backward(batch, SFT()) for e in (exact, fast))
    plain.forward_backward(batch, SFT())
    assert quick.loss == pytest.approx(truth.loss, rel=1e-6)
    assert quick.unique_tokens < quick.as_if_separate_tokens
    assert max(apart(fast, exact), apart(plain, exact), apart(fast, plain)) < 1e-5
    monkeypatch.setattr("luthier.engine.reference.engine.log_probabilities", lambda logits: torch.log_softmax(logits, -1))
    plain = load_engine(folder, spec, Execution(engine="reference"), 0)
    plain.forward_backward(batch, SFT())
    assert apart(fast, exact) < apart(plain, exact)


def apart(engine: Any, truth: Any) -> float:
    """|g - truth| / |truth| over all trainable weights."""
    found, wanted = (torch.cat([g.double().flatten() for g in e.gradients().values()]) for e in (engine, truth))
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.slow
def test_tree_logprobs_and_greedy_tokens(folder: Path) -> None:
    reference, fast = engines(folder, None)
    for slow, quick in zip(reference.logprobs(rows(4)), fast.logprobs(rows(4)), strict=True):
        assert quick == pytest.approx(slow, abs=1e-4)
    prompts = [s.tokens for s in rows(3)]
    assert fast.sample(prompts, Sampling(max_new_tokens=8)) == reference.sample(prompts, Sampling(max_new_tokens=8))


def test_greedy_tokens_equal_generate(folder: Path) -> None:
    """Chat prompts of mixed lengths: together here, left-padded there; with a repetition penalty one by one (padding is penalised)."""
    from transformers import AutoModelForCausalLM

    from luthier.core.records import Message
    from luthier.engine.text.renderer import Renderer

    renderer = Renderer.from_model(folder)
    asked = ("Name three colours.", "Say hello to Ann in one sentence, and then wish her a good day.", "What is 2 + 2?")
    prompts = [renderer.prompt((Message("user", text),)) for text in asked]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    fast = load_engine(folder, None, Execution(engine="fast"), 0)
    pad, longest = min(renderer.stop_ids), max(map(len, prompts))
    settings: dict[str, Any] = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": list(renderer.stop_ids), "pad_token_id": pad}
    ids = torch.tensor([[pad] * (longest - len(p)) + p.tolist() for p in prompts])
    mask = torch.arange(longest)[None] >= longest - torch.tensor([[len(p)] for p in prompts])
    plain = model.generate(ids, attention_mask=mask.long(), **settings)[:, longest:].tolist()
    found = fast.sample(prompts, Sampling(max_new_tokens=12, stop_ids=renderer.stop_ids))
    assert [list(c.tokens) for c in found] == [[t for t in row if t not in renderer.stop_ids] for row in plain]
    found = fast.sample(prompts, Sampling(max_new_tokens=12, stop_ids=renderer.stop_ids, repetition_penalty=1.3))
    for prompt, completion in zip(prompts, found, strict=True):
        one = torch.from_numpy(prompt.astype(np.int64))[None]
        row = model.generate(one, attention_mask=torch.ones_like(one), repetition_penalty=1.3, **settings)[0, len(prompt) :].tolist()
        assert list(completion.tokens) == [t for t in row if t not in renderer.stop_ids]
