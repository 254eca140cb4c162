"""Logits of the hand-written decoder equal plain transformers for each family; the sampler equals `generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from luthier.engine.contract import Sampling
from luthier.engine.fast.architecture import read_architecture
from luthier.engine.fast.decoder import Decoder, Keep
from luthier.engine.fast.weights import Trained, build_weights
from luthier.engine.trees.pack import build_full_pack
from toys import FAMILIES, random_tokens, save_toy, toy_engine


def plain(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()


@torch.no_grad()
def our_logits(folder: Path, tokens: list[int], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    arch = read_architecture(folder)
    decoder = Decoder(arch, build_weights(folder, arch, dtype, Trained({})))
    pack = build_full_pack([np.array(tokens, np.int32)], [0])
    return decoder.weights.head.logits(decoder.forward(pack, np.arange(len(tokens)), Keep()).hidden)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_equal_transformers(toy_folder: Any, family: str) -> None:
    tokens = random_tokens(np.random.default_rng(4), 100)
    with torch.no_grad():
        wanted = plain(toy_folder(family))(torch.tensor([tokens])).logits[0]
    assert wanted.std() > 0.5
    torch.testing.assert_close(our_logits(toy_folder(family), tokens), wanted, rtol=0, atol=2e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_in_float64_are_those_of_transformers_to_the_last_digits(toy_folder: Any, family: str) -> None:
    """transformers' own model as the reference holds it: nothing of it rounds to float32."""
    tokens = random_tokens(np.random.default_rng(4), 100)
    with torch.no_grad():
        wanted = toy_engine(toy_folder(family), "reference", None)._logits(np.array(tokens, np.int32), torch.arange(100))
    assert wanted.dtype == torch.float64
    found = our_logits(toy_folder(family), tokens, torch.float64)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12 * float(wanted.abs().max()))


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16])
def test_weights_stored_in_half_precision_are_computed_in_float32(tmp_path: Path, stored: torch.dtype) -> None:
    folder = save_toy(tmp_path / "half", "llama", stored)
    tokens = random_tokens(np.random.default_rng(4), 30)
    with torch.no_grad():
        wanted = plain(folder)(torch.tensor([tokens])).logits[0]
    torch.testing.assert_close(our_logits(folder, tokens), wanted, rtol=0, atol=2e-5 * float(wanted.abs().max()))


def prompts(shared: int) -> list[np.ndarray]:
    rng = np.random.default_rng(8)
    head = random_tokens(rng, shared)
    return [np.array(head + random_tokens(rng, n), np.int32) for n in (1, 4, 11, 30, 2)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("shared", [0, 40])
def test_greedy_tokens_equal_generate(toy_folder: Any, family: str, shared: int) -> None:
    model = plain(toy_folder(family), torch.float64)
    fast = toy_engine(toy_folder(family), "fast", None)
    completions = fast.sample(prompts(shared), Sampling(max_new_tokens=24, stop_ids=(7, 9)))
    for prompt, completion in zip(prompts(shared), completions, strict=True):
        ids = torch.from_numpy(prompt.astype(np.int64))[None]
        mask = torch.ones_like(ids)
        full = model.generate(ids, attention_mask=mask, max_new_tokens=24, do_sample=False, eos_token_id=[7, 9], pad_token_id=0)
        wanted = full[0, len(prompt) :].tolist()
        stopped = wanted[-1] in (7, 9)
        assert completion.finish == ("stop" if stopped else "length")
        assert list(completion.tokens) == (wanted[:-1] if stopped else wanted)


def test_generation_does_not_depend_on_batches(toy_folder: Any) -> None:
    folder = toy_folder("llama")
    for sampling in (Sampling(max_new_tokens=20), Sampling(max_new_tokens=20, temperature=0.8, top_k=20, top_p=0.9, seed=4)):
        reference = toy_engine(folder, "reference", None).sample(prompts(40), sampling)
        assert toy_engine(folder, "fast", None).sample(prompts(40), sampling) == reference
        assert toy_engine(folder, "fast", None, budget=64).sample(prompts(40), sampling) == reference
    other = toy_engine(folder, "fast", None).sample(prompts(40), Sampling(max_new_tokens=20, temperature=0.8, seed=5))
    assert other != reference


def test_progress_reaches_the_total(toy_folder: Any) -> None:
    seen: list[tuple[int, int]] = []
    engine = toy_engine(toy_folder("llama"), "fast", None, budget=64)
    engine.sample(prompts(0), Sampling(max_new_tokens=3), lambda done, total: seen.append((done, total)))
    assert seen[-1] == (5, 5)
    assert [d for d, _ in seen] == sorted(d for d, _ in seen)
