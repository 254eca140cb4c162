"""Scores of a whole list as one tree: equal to one sequence at a time, whatever the budget, and nothing shared is computed twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hard_batches import deep_tree, packed
from luthier.engine.fast.scoring import WORTH_CACHING, TreeScorer
from luthier.engine.kernels.head import Head, head_forward
from luthier.engine.trees.merge import merge
from toys import random_tokens, save_toy, sequence, toy_engine


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_toy(tmp_path_factory.mktemp("scoring") / "llama", "llama")


def few_shot(header: int, contexts: int, choices: int) -> list[Any]:
    """Contexts below a common header, each with several short continuations, every continuation token a target."""
    rng = np.random.default_rng(7)
    root = random_tokens(rng, header)
    out = []
    for _ in range(contexts):
        context = root + random_tokens(rng, 30)
        for _ in range(choices):
            end = random_tokens(rng, int(rng.integers(1, 5)))
            out.append(sequence(context + end, list(range(len(context), len(context) + len(end)))))
    return [out[i] for i in rng.permutation(len(out))]


def chain() -> list[Any]:
    """Each sequence continues the one before it: a tree that only goes down."""
    tokens = random_tokens(np.random.default_rng(9), 240)
    return [sequence(tokens[:n], [1, n // 2, n - 1]) for n in range(6, 240, 9)]


CASES = {"few-shot": few_shot(60, 9, 4), "many labels": few_shot(0, 3, 40), "tree": deep_tree(), "packed": packed(), "chain": chain()}


@pytest.mark.parametrize("budget", [64, 150, 400, 4096])
@pytest.mark.parametrize("case", CASES)
def test_scores_equal_the_reference_at_every_budget(folder: Path, case: str, budget: int) -> None:
    reference, fast = toy_engine(folder, "reference", None), toy_engine(folder, "fast", None, budget=budget)
    seen: list[tuple[int, int]] = []
    quick = fast.score(CASES[case], lambda done, total: seen.append((done, total)))
    for slow, found in zip(reference.score(CASES[case]), quick, strict=True):
        assert found.logprobs == pytest.approx(slow.logprobs, abs=1e-11)
        assert found.greedy.tolist() == slow.greedy.tolist()
    assert seen[-1] == (len(CASES[case]), len(CASES[case]))
    assert [d for d, _ in seen] == sorted({d for d, _ in seen})


def test_greedy_is_what_greedy_decoding_gives(folder: Path) -> None:
    from luthier.engine.contract import Sampling

    fast = toy_engine(folder, "fast", None)
    prompt = random_tokens(np.random.default_rng(1), 12)
    made = list(fast.sample([np.array(prompt, np.int32)], Sampling(max_new_tokens=6))[0].tokens)
    wrong = [*made[:3], (made[3] + 1) % 61, *made[4:]]
    right, other = fast.score([sequence(prompt + t, list(range(12, 18))) for t in (made, wrong)])
    assert right.greedy.all()
    assert other.greedy[:3].all()
    assert not other.greedy[3]


def test_equal_logits_go_to_the_lowest_token() -> None:
    weight = torch.tensor([[1.0], [3.0], [3.0], [0.0]])
    top = torch.empty(3, dtype=torch.bool)
    head_forward(torch.ones(1, 1), Head(weight), torch.zeros(3, dtype=torch.int64), torch.tensor([0, 1, 2]), top)
    assert top.tolist() == [False, True, False]


@pytest.mark.parametrize(("header", "contexts", "choices", "budget"), [(200, 12, 4, 300), (100, 4, 77, 150), (0, 6, 77, 128)])
def test_a_context_shared_by_many_choices_is_computed_once(folder: Path, header: int, contexts: int, choices: int, budget: int) -> None:
    """Even across micro-batch borders: computed tokens exceed the tree's own by what is not worth a cache and by the gate alone."""
    rows = few_shot(header, contexts, choices)
    scorer = TreeScorer(toy_engine(folder, "fast", None)._decoder, rows, budget, greedy=False)
    with torch.no_grad():
        scorer.run()
    unique = merge([s.tokens for s in rows], gate=0).num_tokens
    separate = sum(len(s.tokens) for s in rows)
    own = sum(int(np.count_nonzero(s.weights)) for s in rows)
    assert unique * 3 < separate
    assert scorer.computed_tokens <= header + contexts * 30 + own + contexts * WORTH_CACHING


def test_sequences_without_targets_and_an_empty_list(folder: Path) -> None:
    fast = toy_engine(folder, "fast", None, budget=64)
    assert fast.score([]) == []
    rows = [sequence(random_tokens(np.random.default_rng(i), 50), [] if i % 2 else [49]) for i in range(6)]
    assert [len(s.logprobs) for s in fast.score(rows)] == [1, 0, 1, 0, 1, 0]


@pytest.mark.parametrize("kind", ["fast", "reference"])
def test_the_last_token_may_lie_one_beyond_the_context_because_it_is_only_predicted(folder: Path, kind: str) -> None:
    from luthier.core.errors import UserError

    engine = toy_engine(folder, kind, None)
    tokens = random_tokens(np.random.default_rng(4), 257)
    assert np.isfinite(engine.score([sequence(tokens, [256])])[0].logprobs).all()
    with pytest.raises(UserError, match="256 positions"):
        engine.score([sequence(tokens, [200])])
    with pytest.raises(UserError, match="256 positions"):
        engine.score([sequence([*tokens, 5], [257])])
