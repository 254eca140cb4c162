"""Generation: the fast engine against the reference with every setting, and both against transformers' `generate`."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from luthier.core.errors import UserError
from luthier.core.execution import Execution
from luthier.engine.contract import Completion, Sampling
from luthier.engine.fast import weights
from luthier.engine.fast.step import decode_step
from luthier.engine.kernels import product
from luthier.engine.memory import model
from luthier.engine.methods.lora import LoRASpec
from luthier.engine.sampler import generate
from luthier.engine.select import load_engine
from luthier.engine.text.tokenizer import TextTokenizer
from toys import random_tokens, toy_engine

SETTINGS = {
    "penalty": Sampling(max_new_tokens=16, repetition_penalty=1.4),
    "drawn": Sampling(max_new_tokens=16, temperature=0.9, seed=3),
    "everything": Sampling(
        max_new_tokens=16, temperature=0.9, top_k=30, top_p=0.9, min_p=0.02, repetition_penalty=1.2, seed=3, stop_ids=(5,)
    ),
    "samples": Sampling(max_new_tokens=12, temperature=1.1, seed=3, stop_ids=(5,), num_samples=3),
}


def prompts(num: int, shared: int = 0, longest: int = 60) -> list[np.ndarray]:
    rng = np.random.default_rng(8)
    head = random_tokens(rng, shared)
    return [np.array(head + random_tokens(rng, int(n)), np.int32) for n in rng.integers(1, longest, num)]


@pytest.mark.parametrize("name", sorted(SETTINGS))
@pytest.mark.parametrize("shared", [0, 40])
def test_the_fast_engine_says_what_the_reference_says(toy_folder: Any, name: str, shared: int) -> None:
    some, sampling = prompts(10, shared), SETTINGS[name]
    wanted = toy_engine(toy_folder("llama"), "reference", None).sample(some, sampling)
    assert len(wanted) == 10 * sampling.num_samples
    assert toy_engine(toy_folder("llama"), "fast", None).sample(some, sampling) == wanted


def test_packed_weights_change_nothing_beyond_rounding(toy_folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an adapter that then moves: the packed copy must not outlive the call."""
    engine = toy_engine(toy_folder("llama"), "fast", LoRASpec(4, 8.0), "float32")
    some, sampling = prompts(12), Sampling(max_new_tokens=16, logprobs=0)
    packed_copies: list[int] = []
    monkeypatch.setattr(product, "_LEAST", 1)
    monkeypatch.setattr(weights, "pack", lambda weight, rows: packed_copies.append(rows) or product.pack(weight, rows))
    for scale in (0.0, 0.5):
        engine.load_state({n: t + scale * torch.ones_like(t) for n, t in engine.state().items()})
        monkeypatch.setattr(model, "WORTH_PACKING", 10**9)
        wanted = engine.sample(some, sampling)
        monkeypatch.setattr(model, "WORTH_PACKING", 1)
        assert not packed_copies
        found = engine.sample(some, sampling)
        assert set(packed_copies) == {12}
        packed_copies.clear()
        assert [c.tokens for c in found] == [c.tokens for c in wanted]
        for ours, theirs in zip(found, wanted, strict=True):
            assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-5)


@pytest.mark.parametrize("budget", [64, 100, 4096])
def test_refilled_slots_change_nothing(toy_folder: Any, budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few slots, small caches (sequences are put back in the queue) and small prefills against one sequence at a time."""
    sampling = Sampling(max_new_tokens=90, temperature=0.7, seed=2, stop_ids=tuple(range(6)), repetition_penalty=1.1)
    folder, some = toy_folder("llama"), prompts(20)
    alone = toy_engine(folder, "fast", None)
    wanted = toy_engine(folder, "fast", None, budget=10**6).sample(some, sampling)
    assert {c.finish for c in wanted} == {"stop", "length"}
    monkeypatch.setattr(generate, "_MOST_SLOTS", 5)
    assert toy_engine(folder, "fast", None, budget=budget).sample(some, sampling) == wanted
    monkeypatch.setattr(generate, "_MOST_SLOTS", 1)
    assert alone.sample(some, sampling) == wanted


def test_a_full_batch_with_refill_says_what_one_by_one_says(toy_folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ninety prompts in 64 slots, which are refilled once answers end."""
    together: list[int] = []
    monkeypatch.setattr(generate, "decode_step", lambda *given: together.append(len(given[2])) or decode_step(*given))
    engine, some = toy_engine(toy_folder("llama"), "fast", None, budget=10**6), prompts(90, longest=30)
    sampling = Sampling(max_new_tokens=14, temperature=0.8, seed=2, stop_ids=tuple(range(6)))
    found = engine.sample(some, sampling)
    assert max(together) == 64
    assert any(after > before for before, after in itertools.pairwise(together)), "no slot was refilled"
    monkeypatch.setattr(generate, "_MOST_SLOTS", 1)
    assert engine.sample(some, sampling) == found


def test_caches_stay_inside_their_budget(toy_folder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from luthier.engine.fast.step import SlotCache

    seen: list[int] = []
    resize = SlotCache.resize

    def watched(cache: SlotCache, slots: int, capacity: int) -> None:
        resize(cache, slots, capacity)
        seen.append(slots * capacity)

    filled: list[int] = []
    add = SlotCache.add

    def counted(cache: SlotCache, keys_values: Any, rows: Any) -> None:
        filled.append(len(rows))
        add(cache, keys_values, rows)

    monkeypatch.setattr(SlotCache, "resize", watched)
    monkeypatch.setattr(SlotCache, "add", counted)
    toy_engine(toy_folder("llama"), "fast", None, budget=128).sample(prompts(30), Sampling(max_new_tokens=100))
    assert sum(filled) > 30, "no sequence was put back in the queue: the test shows nothing"
    assert max(seen) <= generate._CACHE_PER_BUDGET * 128
    assert len(seen) < 30


def test_progress_reaches_the_number_of_prompts(toy_folder: Any) -> None:
    for kind in ("fast", "reference"):
        seen: list[tuple[int, int]] = []
        toy_engine(toy_folder("llama"), kind, None).sample(
            prompts(5), Sampling(max_new_tokens=4, num_samples=2), lambda done, total, seen=seen: seen.append((done, total))
        )
        assert seen == sorted(set(seen))
        assert seen[-1] == (5, 5)


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_greedy_tokens_equal_generate_alone_and_in_a_batch(toy_folder: Any, penalty: float) -> None:
    """In a batch with a penalty the prompts are of one length, because transformers penalises its padding too."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(toy_folder("llama"), dtype=torch.float32).eval()
    fast = toy_engine(toy_folder("llama"), "fast", None, dtype="float32")
    some = prompts(12) if penalty == 1.0 else [p[:20] for p in prompts(30) if len(p) >= 20]
    found = fast.sample(some, Sampling(max_new_tokens=24, stop_ids=(7,), repetition_penalty=penalty))
    settings = {"max_new_tokens": 24, "do_sample": False, "eos_token_id": 7, "pad_token_id": 0, "repetition_penalty": penalty}
    longest = max(map(len, some))
    ids = torch.zeros(len(some), longest, dtype=torch.int64)
    for row, prompt in zip(ids, some, strict=True):
        row[longest - len(prompt) :] = torch.from_numpy(prompt)
    mask = torch.arange(longest)[None] >= longest - torch.tensor([[len(p)] for p in some])
    together = model.generate(ids, attention_mask=mask.long(), **settings)[:, longest:].tolist()
    for prompt, row, completion in zip(some, together, found, strict=True):
        one = torch.from_numpy(prompt.astype(np.int64))[None]
        alone = model.generate(one, attention_mask=torch.ones_like(one), **settings)[0, len(prompt) :].tolist()
        assert list(completion.tokens) == until(alone, 7) == until(row, 7)


def until(tokens: list[int], stop: int) -> list[int]:
    return tokens[: tokens.index(stop)] if stop in tokens else tokens


@pytest.mark.parametrize("kind", ["fast", "reference"])
def test_log_probabilities_are_the_models_own(toy_folder: Any, kind: str) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(toy_folder("llama"), dtype=torch.float64, attn_implementation="eager").eval()
    sampling = Sampling(max_new_tokens=10, temperature=1.5, top_k=20, repetition_penalty=1.5, stop_ids=(5, 9), logprobs=3, num_samples=2)
    some = prompts(6)
    completions = toy_engine(toy_folder("llama"), kind, None).sample(some, sampling)
    assert any(c.finish == "stop" for c in completions)
    for i, completion in enumerate(completions):
        stop = [completion.stopped_by] if completion.finish == "stop" else []
        whole = [*some[i // 2].tolist(), *completion.tokens, *stop]
        with torch.no_grad():
            rows = model(torch.tensor([whole])).logits[0].log_softmax(-1)[len(some[i // 2]) - 1 : -1]
        wanted = rows[torch.arange(len(rows)), torch.tensor(whole[len(some[i // 2]) :])].tolist()
        given = [*completion.logprobs, *([completion.stop_logprob] if stop else [])]
        assert given == pytest.approx(wanted, abs=1e-5)
        for row, top in zip(rows, completion.top_logprobs, strict=False):
            assert [t for t, _ in top] == row.topk(3).indices.tolist()
            assert [x for _, x in top] == pytest.approx(row.topk(3).values.tolist(), abs=1e-5)
        assert len(completion.top_logprobs) == len(completion.tokens)


def test_samples_of_a_prompt_differ_and_do_not_depend_on_their_number(toy_folder: Any) -> None:
    engine = toy_engine(toy_folder("llama"), "fast", None)
    one, four = (engine.sample(prompts(5), Sampling(max_new_tokens=8, temperature=1.0, num_samples=n)) for n in (1, 4))
    assert four[::4] == one
    assert len({c.tokens for c in four[:4]}) == 4


def engines(base: Path) -> tuple[Any, Any, TextTokenizer]:
    fast, reference = (load_engine(base, None, Execution(engine=kind), 0, dtype="float64") for kind in ("fast", "reference"))  # type: ignore[arg-type]
    return fast, reference, TextTokenizer.load(base)


def test_stop_strings_end_a_completion(toy_base: Path) -> None:
    fast, reference, tokenizer = engines(toy_base)
    some = [np.array(tokenizer.encode([(text, None)]), np.int32) for text in ("My card", "Where is", "I would like to know")]
    sampling = Sampling(max_new_tokens=60, temperature=1.0, seed=1, stop=("e", "th", "1"))
    found = fast.sample(some, sampling, None, tokenizer)
    assert found == reference.sample(some, sampling, None, tokenizer)
    assert {c.finish for c in found} == {"stop"}
    for c in found:
        assert c.stopped_by in sampling.stop
        assert c.text is not None
        assert not any(s in c.text for s in sampling.stop)
    never = fast.sample(some, Sampling(max_new_tokens=5, stop=("@@@",)), None, tokenizer)
    assert [(c.finish, c.stopped_by, c.text) for c in never] == [("length", None, tokenizer.decode(c.tokens)) for c in never]
    with pytest.raises(UserError, match="tokenizer"):
        fast.sample(some, sampling)


def random_schema(rng: np.random.Generator, depth: int = 0) -> dict[str, Any]:
    """A schema of a few keywords, objects and arrays up to three deep."""
    kinds = ["integer", "boolean", "null", "enum", "string", "number"] + (["object", "array", "either"] if depth < 2 else [])
    kind = "object" if depth == 0 else str(rng.choice(kinds))
    if kind == "object":
        names = [f"k{i}" for i in range(int(rng.integers(1, 4)))]
        properties = {n: random_schema(rng, depth + 1) for n in names}
        required = [n for n in names if rng.random() < 0.6]
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    if kind == "array":
        return {"type": "array", "items": random_schema(rng, depth + 1), "minItems": 1, "maxItems": 3}
    if kind == "either":
        return {"anyOf": [random_schema(rng, depth + 1), {"type": "boolean"}]}
    simple: dict[str, dict[str, Any]] = {
        "enum": {"enum": ["red", "green €", 3, None]},
        "string": {"type": "string", "maxLength": 6},
        "integer": {"type": "integer", "minimum": -5, "maximum": 120},
        "number": {"type": "number"},
    }
    return simple.get(kind, {"type": kind})


def test_answers_of_random_schemas_are_valid(toy_base: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    fast, reference, tokenizer = engines(toy_base)
    prompt = np.array(tokenizer.encode([("My card", None)]), np.int32)
    complete = 0
    for number in range(20):
        schema = random_schema(np.random.default_rng(number))
        sampling = Sampling(200, temperature=1.0, seed=number, stop_ids=(2,), json_schema=json.dumps(schema), num_samples=3)
        for completion in fast.sample([prompt], sampling, None, tokenizer):
            if completion.finish == "stop":
                jsonschema.Draft202012Validator(schema).validate(json.loads(str(completion.text)))
                complete += 1
            else:
                assert len(completion.tokens) == 200
        if number < 3:
            short = Sampling(12, temperature=1.0, seed=number, stop_ids=(2,), json_schema=json.dumps(schema))
            assert fast.sample([prompt], short, None, tokenizer) == reference.sample([prompt], short, None, tokenizer)
    assert complete >= 40


def test_schemas_that_cannot_be_met(toy_base: Path) -> None:
    fast, _, tokenizer = engines(toy_base)
    prompt = np.array([5, 6], np.int32)
    for schema in ('{"enum": []}', '{"type": "integer", "minimum": 5, "maximum": 3}', '{"type": "nonsense"}', '{"not": {}}', "{", "[]"):
        with pytest.raises(UserError, match="JSON schema must be"):
            fast.sample([prompt], Sampling(stop_ids=(2,), json_schema=schema), None, tokenizer)
    contradictions: list[dict[str, Any]] = [
        {"allOf": [{"type": "string"}, {"type": "integer"}]},
        {"type": "string", "minLength": 5, "maxLength": 2},
        {"type": "object", "properties": {"a": False}, "required": ["a"]},
        {"type": "array", "minItems": 3, "maxItems": 1},
        {"type": "integer", "multipleOf": 7, "minimum": 1, "maximum": 6},
        {"type": "string", "pattern": "^[^\\s\\S]$"},
        {"$ref": "#/nowhere"},
    ]
    for contradiction in contradictions:
        with pytest.raises(UserError, match="JSON schema must be one that an answer can meet"):
            fast.sample([prompt], Sampling(stop_ids=(2,), json_schema=json.dumps(contradiction)), None, tokenizer)


def test_equality_of_completions_is_of_all_they_hold() -> None:
    assert Completion((1,), "stop", 2) != Completion((1,), "stop", 3)
