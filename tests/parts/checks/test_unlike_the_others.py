"""Perplexity and embedding distance: planted rows among ordinary ones, on the real small models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from luthier.core.records import Example, Message, Preference, Record, Source, Text
from luthier.parts.checks.outliers import Outliers, neighbour_distances
from luthier.parts.checks.perplexity import Perplexity, text_of

QUESTIONS = [
    "I ordered a new bank card last week and it has still not arrived; where is it now?",
    "Can you tell me why the transfer that I made yesterday has not reached the other account?",
    "My card was declined at the supermarket today although there is enough money on it.",
    "How do I change the PIN of my card, and how long does it take until the new one works?",
    "The cash machine kept my card and I do not know how to get it back from the bank.",
    "Why was I charged a fee for the money that I sent to my sister in another country?",
    "I would like to close my account; what happens to the money that is still on it?",
    "Is it possible to add a second card to my account for my partner, and what does it cost?",
    "The exchange rate on my statement is not the one that I saw when I paid with the card.",
    "My phone was stolen and the banking app was open; can you block my account at once?",
    "How much money can I take from a cash machine in one day with the standard card?",
    "I received a payment that is not mine; how do I send it back to the right person?",
]
GARBLE = "asdlkfj qwpoeiru zxmcnvb alskdjf hgqpwoei rutyal skdjfh zxmncb"
ELSEWHERE = "Preheat the oven, fold the egg whites into the chocolate and bake the cake for forty minutes."


def rows(*texts: str) -> list[Record]:
    return [
        Example(
            (Message("system", "Answer with a label."), Message("user", t), Message("assistant", "card")),
            Source("f", f"line {i}"),
            label="card",
        )
        for i, t in enumerate(texts, 1)
    ]


def test_a_garbled_row_stands_out_by_its_perplexity() -> None:
    found = Perplexity()(rows(*QUESTIONS, GARBLE, "Too short"))
    assert [f.row for f in found] == [len(QUESTIONS)]
    assert "under smollm2-135m-instruct" in found[0].reason
    assert [f.row for f in Perplexity(most=1.5, above=1000)(rows(*QUESTIONS[:2]))] == [0, 1]


def test_the_loss_is_the_mean_over_all_tokens_but_the_first(toy_base: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from luthier.engine.text.tokenizer import TextTokenizer

    check = Perplexity(base=str(toy_base), min_tokens=4, max_tokens=16)
    texts = ["hello there, how are you today?", "x", "hello there, how are you today?"]
    losses = check.losses(texts)
    ids = TextTokenizer.load(toy_base).encode([(texts[0], None)])[:16]
    model = AutoModelForCausalLM.from_pretrained(toy_base)
    wanted = float(model(torch.tensor([ids]), labels=torch.tensor([ids])).loss)
    assert losses[0] == losses[2] == pytest.approx(wanted, abs=1e-5)
    assert np.isnan(losses[1])
    assert np.isnan(check.losses(["x", ""])).all()
    assert check(rows("x", "y")) == []


def test_a_row_about_something_else_stands_out_by_its_distance() -> None:
    found = Outliers(above=2)(rows(*QUESTIONS, ELSEWHERE))
    assert [f.row for f in found] == [len(QUESTIONS)]
    assert "to its nearest" in found[0].reason
    assert Outliers()(rows(*QUESTIONS[:5])) == []


def test_blocks_give_the_distances_of_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(5).normal(size=(37, 8)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    cosine = points.astype(np.float64) @ points.astype(np.float64).T
    np.fill_diagonal(cosine, -np.inf)
    wanted = 1 - np.sort(cosine, axis=1)[:, -3:].mean(axis=1)
    for cells in (1, 37 * 5, 1 << 20):
        monkeypatch.setattr("luthier.parts.checks.outliers._CELLS", cells)
        np.testing.assert_allclose(neighbour_distances(points, 3), wanted, atol=1e-6)


def test_what_is_read_of_a_row() -> None:
    talk = Example((Message("system", "s"), Message("user", "u"), Message("assistant", "a")), Source("f", "line 1"))
    assert [text_of(talk, of) for of in ("prompt", "answer", "row")] == ["u", "a", "u\na"]
    labelled = Example(talk.messages, talk.source, label="a")
    assert [text_of(labelled, of) for of in ("prompt", "answer", "row")] == ["u", "", "u"]
    both = Preference(talk.messages[:2], talk.messages[2:], (Message("assistant", "b"),), talk.source)
    assert text_of(both, "row") == "u\na\nb"
    assert text_of(Text("t", talk.source), "answer") == "t"
