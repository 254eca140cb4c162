"""The lm-evaluation-harness model against the harness's own HF backend: log-likelihoods, greedy flags, windows, generation."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lm_eval", reason="the harness extra is not installed")

from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM, AutoTokenizer

from luthier.core.errors import LuthierError, UserError
from luthier.engine.harness import LuthierLM
from toy_models import make_toy_base

WORDS = re.findall(r"\w+", "my card was stolen yesterday please block it now how do I top up my account the exchange rate is wrong")


def asked(kind: Any, *arguments: tuple[Any, ...]) -> list[Instance]:
    return [Instance(request_type=kind, doc={}, arguments=a, idx=i) for i, a in enumerate(arguments)]


def hf(folder: Path, max_length: int | None = None, dtype: str = "float32") -> HFLM:
    """The peer, attention computed plainly."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=8, max_length=max_length, device="cpu")


@pytest.fixture(scope="module")
def toy(toy_base: Path) -> tuple[HFLM, LuthierLM]:
    return hf(toy_base), LuthierLM(str(toy_base))


def text(rng: np.random.Generator, n: int) -> str:
    return " ".join(WORDS[i] for i in rng.integers(0, len(WORDS), n))


def pairs() -> list[tuple[str, str]]:
    """Few-shot contexts with choices, and every odd boundary: trailing spaces, no context, one token, control tokens, emoji."""
    rng = np.random.default_rng(3)
    header = text(rng, 25)
    contexts = [f"{header}\n\nQuestion: {text(rng, 9)}\nAnswer:" for _ in range(4)]
    out = [(c, f" {choice}") for c in contexts for choice in ("card", "top up", "exchange rate", "it")]
    out += [("the card ", "was"), ("the card  \n ", "was stolen"), ("", "my card"), ("", "<|im_start|>my card"), ("the", " a"), ("a", "b")]
    return [*out, ("<|im_start|>user\nhi<|im_end|>\n", "yes ✓"), ("the ban", "k transfer"), ("the card", " was")]


def assert_same(ours: list[tuple[float, bool]], theirs: list[tuple[float, bool]], limit: float = 1e-4) -> None:
    assert [p for p, _ in ours] == pytest.approx([p for p, _ in theirs], abs=limit)
    assert [g for _, g in ours] == [g for _, g in theirs]


def test_loglikelihoods_are_those_of_the_hf_backend(toy: tuple[HFLM, LuthierLM]) -> None:
    theirs, ours = toy
    for context, continuation in pairs():
        if context:
            assert ours._encode_pair(context, continuation) == theirs._encode_pair(context, continuation)
    requests = asked("loglikelihood", *pairs())
    assert_same(ours.loglikelihood(requests, disable_tqdm=True), theirs.loglikelihood(requests, disable_tqdm=True))


def test_a_model_of_the_generic_engine_is_scored_as_the_hf_backend_scores_it(tmp_path: Path) -> None:
    folder = make_toy_base(tmp_path / "gpt2", arch="gpt2")
    ours, theirs = LuthierLM(str(folder)), hf(folder)
    assert ours.max_length == theirs.max_length
    requests = asked("loglikelihood", *pairs()[:6])
    assert_same(ours.loglikelihood(requests, disable_tqdm=True), theirs.loglikelihood(requests, disable_tqdm=True))


def test_a_greedy_continuation_is_said_to_be_greedy(toy: tuple[HFLM, LuthierLM]) -> None:
    theirs, ours = toy
    context = "my card was"
    tokens = ours.tok_encode(context)
    made = []
    for _ in range(3):
        best = max(range(300), key=lambda t: ours._loglikelihood_tokens([(None, tokens + made, [t])], True)[0][0])
        made.append(best)
    requests = [(None, tokens, made), (None, tokens, [*made[:2], (made[2] + 1) % 300])]
    found = ours._loglikelihood_tokens(requests, True)
    assert [g for _, g in found] == [True, False]
    assert_same(found, theirs._loglikelihood_tokens(requests, disable_tqdm=True))


def test_a_context_that_is_too_long_is_cut_from_the_left(toy_base: Path) -> None:
    theirs, ours = hf(toy_base, 48), LuthierLM(str(toy_base), max_length=48)
    rng = np.random.default_rng(5)
    requests = asked("loglikelihood", *[(text(rng, n), " " + text(rng, 3)) for n in (5, 17, 18, 19, 60, 200)])
    assert_same(ours.loglikelihood(requests, disable_tqdm=True), theirs.loglikelihood(requests, disable_tqdm=True))
    with pytest.raises(UserError, match="1 to 48 tokens"):
        ours._loglikelihood_tokens([(None, [1], list(range(3, 60)))], True)


@pytest.mark.parametrize("max_length", [None, 40])
def test_rolling_windows(toy_base: Path, max_length: int | None) -> None:
    theirs, ours = hf(toy_base, max_length), LuthierLM(str(toy_base), max_length=max_length)
    rng = np.random.default_rng(6)
    requests = asked("loglikelihood_rolling", *[(text(rng, n),) for n in (1, 20, 41, 120)])
    found, wanted = (m.loglikelihood_rolling(requests, disable_tqdm=True) for m in (ours, theirs))
    assert found == pytest.approx(wanted, rel=1e-5, abs=1e-4)


def generation() -> list[tuple[str, dict[str, Any]]]:
    rng = np.random.default_rng(8)
    kinds = [{"until": ["\n\n"], "max_gen_toks": 12}, {"until": ["e", " the"], "max_gen_toks": 24, "do_sample": False}, {"max_gen_toks": 9}]
    return [(text(rng, 3 + i), kinds[i % 3]) for i in range(12)]


def test_generated_text_is_that_of_the_hf_backend(toy: tuple[HFLM, LuthierLM]) -> None:
    theirs, ours = toy
    requests = asked("generate_until", *generation())
    assert ours.generate_until(requests, disable_tqdm=True) == theirs.generate_until(requests, disable_tqdm=True)


def test_settings_that_cannot_be_met_are_refused(toy_base: Path, toy: tuple[HFLM, LuthierLM]) -> None:
    _, ours = toy
    with pytest.raises(UserError, match="generation settings"):
        ours.generate_until(asked("generate_until", ("a", {"num_beams": 4})), disable_tqdm=True)
    with pytest.raises(UserError, match="max_gen_toks"):
        ours.generate_until(asked("generate_until", ("a", {"max_gen_toks": 512})), disable_tqdm=True)
    with pytest.raises(UserError, match="max_length"):
        LuthierLM(str(toy_base), max_length=10_000)
    with pytest.raises(UserError, match="dtype"):
        LuthierLM(str(toy_base), dtype="int8")


def test_an_adapter_is_scored_as_the_harness_scores_it_through_peft(toy_base: Path, tmp_path: Path) -> None:
    import torch
    from peft import PeftModel

    from luthier.core.execution import Execution
    from luthier.engine.methods.lora import LoRASpec
    from luthier.engine.select import load_engine

    engine = load_engine(toy_base, LoRASpec(4, 8.0), Execution(engine="fast"), 0)
    torch.manual_seed(0)
    engine.load_state({k: torch.randn_like(v) * 0.3 if torch.is_tensor(v) else v for k, v in engine.state().items()})
    engine.save_adapter(tmp_path / "adapter")
    base = AutoModelForCausalLM.from_pretrained(toy_base, dtype="float32", attn_implementation="eager")
    tuned = PeftModel.from_pretrained(base, str(tmp_path / "adapter")).merge_and_unload()
    theirs = HFLM(pretrained=tuned, tokenizer=AutoTokenizer.from_pretrained(toy_base), batch_size=4, device="cpu")
    ours, bare = LuthierLM(str(toy_base), adapter=str(tmp_path / "adapter")), LuthierLM(str(toy_base))
    requests = asked("loglikelihood", *pairs()[:6])
    found = ours.loglikelihood(requests, disable_tqdm=True)
    assert_same(found, theirs.loglikelihood(requests, disable_tqdm=True))
    assert abs(found[0][0] - bare.loglikelihood(requests, disable_tqdm=True)[0][0]) > 1e-2


@pytest.fixture(scope="module")
def real() -> tuple[HFLM, LuthierLM]:
    from luthier.engine.models.resolve import resolve

    try:
        folder = Path(resolve("smollm2-135m-instruct", allow_network=False).folder)
    except LuthierError as err:
        pytest.skip(f"the embedded model is not in the cache: {err}")
    return hf(folder), LuthierLM(str(folder))


def banking(shared_data: Path) -> tuple[list[tuple[str, str]], list[str]]:
    with gzip.open(shared_data / "classification" / "banking77_train.jsonl.gz", "rt", encoding="utf-8") as f:
        rows = [json.loads(line) for line in f]
    key = "category" if "category" in rows[0] else "label"
    return [(r["text"], str(r[key])) for r in rows[::997]], sorted({str(r[key]) for r in rows})


@pytest.mark.slow
@pytest.mark.parametrize("shots", [0, 5])
def test_the_real_model_on_four_choices(real: tuple[HFLM, LuthierLM], shared_data: Path, shots: int) -> None:
    theirs, ours = real
    rows, labels = banking(shared_data)
    header = "".join(f"Query: {q}\nIntent: {label}\n\n" for q, label in rows[5 : 5 + shots])
    requests = asked("loglikelihood", *[(f"{header}Query: {q}\nIntent:", f" {label}") for q, _ in rows[:2] for label in labels[10:14]])
    assert_same(ours.loglikelihood(requests, disable_tqdm=True), theirs.loglikelihood(requests, disable_tqdm=True))


@pytest.mark.slow
def test_the_real_model_on_all_labels_of_a_row(real: tuple[HFLM, LuthierLM], shared_data: Path) -> None:
    """A sum of twenty log-probabilities in float32 is up to 1.4e-4 off in the HF backend itself, so its float64 run is the judge."""
    from luthier.engine.models.resolve import resolve

    theirs, ours = real
    judge = hf(Path(resolve("smollm2-135m-instruct").folder), dtype="float64")
    rows, labels = banking(shared_data)
    requests = asked("loglikelihood", *[(f"Query: {rows[0][0]}\nIntent:", f" {label}") for label in labels])
    some = requests[::7]
    found = ours.loglikelihood(requests, disable_tqdm=True)[::7]
    truth, plain = (m.loglikelihood(some, disable_tqdm=True) for m in (judge, theirs))
    assert_same(found, truth)
    error, their_error = (max(abs(a - b) for (a, _), (b, _) in zip(x, truth, strict=True)) for x in (found, plain))
    assert error <= max(their_error, 2e-5)


@pytest.mark.slow
def test_the_real_model_rolling_and_generation(real: tuple[HFLM, LuthierLM], shared_data: Path) -> None:
    theirs, ours = real
    rows, _ = banking(shared_data)
    with (shared_data / "classification" / "banking77_test.csv").open(encoding="utf-8") as f:
        long = asked("loglikelihood_rolling", (f.read(1600),))
    num = len(ours.tok_encode(long[0].args[0]))
    assert 300 < num < 500
    found, wanted = ours.loglikelihood_rolling(long, disable_tqdm=True), theirs.loglikelihood_rolling(long, disable_tqdm=True)
    assert abs(found[0] - wanted[0]) / num < 1e-5
    requests = asked("generate_until", *[(f"Query: {q}\nIntent:", {"until": ["\n"], "max_gen_toks": 8}) for q, _ in rows[:4]])
    assert ours.generate_until(requests, disable_tqdm=True) == theirs.generate_until(requests, disable_tqdm=True)
