"""Prompt and prefix tuning as a learned root of the prefix tree: the generic engine against the reference, one sequence at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hard_batches import as_batch, deep_tree, packed
from luthier.core.errors import EngineRefused, UserError
from luthier.core.execution import Execution
from luthier.engine.contract import Sampling
from luthier.engine.methods.prefix import PrefixSpec
from luthier.engine.methods.prompt import PromptSpec
from luthier.engine.select import load_engine
from luthier.parts.losses.sft import SFT
from toys import random_tokens, relative_errors, sequence

SPECS: dict[str, Any] = {"prompt": PromptSpec(3), "prefix": PrefixSpec(3)}
CASES = [(family, kind) for family in ("gpt2", "llama", "gemma2") for kind in SPECS] + [("falcon", "prompt")]
LIMIT = 1e-10
Pair = Callable[[str, str], tuple[Any, Any]]


@pytest.fixture(scope="module")
def pair(toy_folder: Any) -> Pair:
    """(family, kind) -> the reference and the generic engine in float64."""
    made: dict[tuple[str, str], tuple[Any, Any]] = {}

    def engines(family: str, kind: str) -> tuple[Any, Any]:
        if (family, kind) not in made:
            made[family, kind] = tuple(  # type: ignore[assignment]
                load_engine(toy_folder(family), SPECS[kind], Execution(engine=engine, micro_batch_tokens=64), 3, dtype="float64")
                for engine in ("reference", "generic")
            )
        for engine in made[family, kind]:
            engine.load_state(engine.state())  # gradients of another test are dropped
        return made[family, kind]

    return engines


@pytest.mark.parametrize(("family", "kind"), CASES)
def test_every_gradient_and_score_equals_the_reference(pair: Pair, family: str, kind: str) -> None:
    reference, generic = pair(family, kind)
    assert generic.name == "generic"
    for rows in (deep_tree(), packed()):
        given = as_batch(rows)
        slow, quick = reference.forward_backward(given, SFT()), generic.forward_backward(given, SFT())
        assert quick.loss == pytest.approx(slow.loss, rel=1e-12)
        assert quick.unique_tokens <= slow.unique_tokens
    assert max(relative_errors(generic.gradients(), reference.gradients()).values()) < LIMIT
    for ours, theirs in zip(generic.logprobs(packed()), reference.logprobs(packed()), strict=True):
        assert ours == pytest.approx(theirs, abs=LIMIT)
    assert generic.embed(packed()) == pytest.approx(reference.embed(packed()), abs=1e-5)


@pytest.mark.parametrize(("family", "kind"), CASES)
def test_greedy_tokens_are_those_of_the_reference(pair: Pair, family: str, kind: str) -> None:
    reference, generic = pair(family, kind)
    rng = np.random.default_rng(4)
    prompts = [np.array(random_tokens(rng, n), np.int32) for n in (5, 9, 5, 7)]
    sampling = Sampling(max_new_tokens=6)
    assert [c.tokens for c in generic.sample(prompts, sampling)] == [c.tokens for c in reference.sample(prompts, sampling)]


@pytest.mark.parametrize("kind", SPECS)
def test_a_prompt_is_computed_once_below_its_root_and_branches_do_not_see_each_other(pair: Pair, kind: str) -> None:
    _, generic = pair("llama", kind)
    shared = [5, 6, 7, 8, 9, 10, 11, 12]
    rows = [sequence([*shared, *tail], [8, 9, 10]) for tail in ([20, 21, 22], [30, 31, 32])]
    step = generic.forward_backward(as_batch(rows), SFT())
    assert step.unique_tokens < step.as_if_separate_tokens
    before = generic.logprobs(rows)
    after = generic.logprobs([sequence([*shared, 40, 21, 22], [8, 9, 10]), rows[1]])
    assert after[1] == pytest.approx(before[1], abs=1e-12)
    assert abs(after[0] - before[0]).max() > 1e-3


@pytest.mark.parametrize("engine", ["auto", "generic", "reference"])
def test_a_model_whose_keys_have_another_size_than_pefts_is_one_message(toy_folder: Any, engine: Any) -> None:
    with pytest.raises(UserError, match=r"prefix_tuning has the size of its layers, got falcon, .* use another method"):
        load_engine(toy_folder("falcon"), SPECS["prefix"], Execution(engine=engine), 3)


def test_keys_that_a_dense_mask_would_not_know_are_refused(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    _, generic = pair("llama", "prefix")
    monkeypatch.setattr(generic._packed, "masked", True)
    with pytest.raises(EngineRefused, match="llama with learned keys and values"):
        generic.logprobs(packed())


def test_the_room_is_that_of_the_model_less_the_root(pair: Pair) -> None:
    rng = np.random.default_rng(6)
    fits, over = (sequence(random_tokens(rng, n), [1]) for n in (253, 254))  # of 256, three are learned
    for engine in pair("llama", "prompt"):
        assert len(engine.logprobs([fits])[0]) == 1
        with pytest.raises(UserError, match="253"):
            engine.logprobs([over])
