"""The toxicity check: its network against torch's, what it says and shows, and how well it does on tweets judged by people."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from luthier.core.errors import UserError
from luthier.parts.checks.steps import load_step
from luthier.parts.checks.toxicity import Toxicity
from luthier.parts.toxicity import model

RUDE = "you are a stupid idiot"


def test_the_network_equals_that_of_torch() -> None:
    import torch

    w = {name: torch.tensor(a) for name, a in model._weights().items()}
    size = w["recurrent"].shape[1]
    lstm = torch.nn.LSTM(w["embeddings"].shape[1], size, bidirectional=True, batch_first=True)
    with torch.no_grad():
        for way, end in enumerate(("", "_reverse")):
            getattr(lstm, f"weight_ih_l0{end}").copy_(w["kernels"][way].T)
            getattr(lstm, f"weight_hh_l0{end}").copy_(w["recurrent"][way].T)
            getattr(lstm, f"bias_ih_l0{end}").copy_(w["biases"][way])
            getattr(lstm, f"bias_hh_l0{end}").zero_()
        ids = torch.randint(0, len(w["embeddings"]), (5, model.MOST_WORDS), generator=torch.Generator().manual_seed(0))
        most = lstm(w["embeddings"][ids])[0].amax(1)
        wanted = torch.sigmoid(torch.relu(most @ w["dense"] + w["dense_bias"]) @ w["out"] + w["out_bias"])
    np.testing.assert_allclose(model._forward(ids.numpy()), wanted.numpy(), atol=2e-6)


def test_texts_are_read_as_its_authors_read_them() -> None:
    common = re.compile("|".join(model._common().pattern.split("|")))
    assert common.sub("", "you are a fool").split() == ["fool"]
    number = model._words()
    assert model.words_of("You ARE a FOOL!!! http://a.b/fool 10.0.0.1") == [number["fool"]]
    assert len(model.words_of("fool " * 300)) == model.MOST_WORDS
    assert model.words_of("zxqj 你好") == []
    assert not model.probabilities(["zxqj", ""]).any()


def test_what_is_rude_fails_with_its_place_and_without_its_words() -> None:
    long = "The parcel came on Monday. " * 40 + RUDE + ". " + "It was well packed. " * 40
    verdict = Toxicity()(long)
    assert not verdict.passed
    assert re.fullmatch(r"toxic language: toxic 0\.\d\d, insult 0\.\d\d", verdict.reason)
    assert [RUDE in long[start:end] for start, end in verdict.spans] == [True]
    for plain in ("", "Where is my card?", "I am a Muslim nurse from Turkey.", "thanks a lot, you are a wonderful friend"):
        assert Toxicity()(plain).passed, plain
    assert Toxicity(kinds=("threat",))(RUDE).passed
    assert Toxicity(at_least=1.0)(RUDE).passed
    with pytest.raises(UserError, match="kinds"):
        load_step({"kind": "toxicity", "kinds": ["rude"]})


def test_precision_and_recall_on_tweets_judged_by_people(shared_data: Path) -> None:
    lines = (shared_data / "bias_safety" / "tweeteval_offensive_test.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    offensive = np.array([str(r["label"]) == "1" for r in rows])
    flagged = model.probabilities([r["text"] for r in rows])[:, :5].max(1) >= 0.5
    assert flagged.sum() == 104
    assert (flagged & offensive).sum() == 92
