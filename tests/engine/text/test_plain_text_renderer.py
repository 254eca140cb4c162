"""The renderer of encoders and encoder-decoders: transformers' own tokens, answers behind them, one hash."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from luthier.core.errors import CorruptArtifact, UserError
from luthier.core.records import Message
from luthier.engine.text.answers import Answers, answers_of
from luthier.engine.text.load import load_renderer
from luthier.engine.text.plain import FILE, TextPolicy, TextRenderer
from toy_encoders import make_toy_encoder, make_toy_seq2seq

LABEL = Answers(kind="label", labels=("card", "rate"))
USER, ANSWER = Message("user", "why is my card late ?"), Message("assistant", "rate")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toy_encoder(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toy_seq2seq(tmp_path_factory.mktemp("t5"))


def _renderer(folder: Path, answers: Answers | None = LABEL, length: int = 64, cut: str = "none") -> TextRenderer:
    return TextRenderer.from_model(folder, TextPolicy.model_validate({"max_length": length, "cut": cut}), answers)


def test_a_text_and_a_pair_have_the_tokens_of_transformers(bert: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    plain, renderer = PreTrainedTokenizerFast.from_pretrained(bert), _renderer(bert)
    assert renderer.prompt((USER,)).tolist() == plain(USER.content)["input_ids"]
    assert renderer.prompt((USER, Message("user", "now"))).tolist() == plain(USER.content, "now")["input_ids"]


@pytest.mark.parametrize("cut", ["start", "end"])
def test_a_long_text_is_cut_as_transformers_cuts_it(bert: Path, cut: str) -> None:
    from transformers import PreTrainedTokenizerFast

    plain = PreTrainedTokenizerFast.from_pretrained(bert, truncation_side="left" if cut == "start" else "right")
    renderer = _renderer(bert, length=6, cut=cut)
    assert renderer.prompt((USER,)).tolist() == plain(USER.content, truncation=True, max_length=6)["input_ids"]
    assert renderer.whole_length((USER, ANSWER)) == 8
    assert len(_renderer(bert).prompt((USER,))) == 8


def test_a_typed_special_token_stays_text(bert: Path) -> None:
    renderer = _renderer(bert)
    separator = renderer.tokenizer.control["[SEP]"]
    assert renderer.prompt((Message("user", "card [SEP] late"),)).tolist().count(separator) == 1


def test_a_row_is_the_text_and_the_answer_behind_it(bert: Path) -> None:
    row = _renderer(bert).render((USER, ANSWER))
    assert row.tokens[-1] == 1
    assert row.weights.tolist() == [0.0] * 8 + [1.0]
    assert row.pieces == ((USER.content, False), (" -> rate", True))


def test_several_labels_and_numbers_come_back(bert: Path) -> None:
    several = Answers(kind="labels", labels=("a", "b", "c"))
    ids = several.ids('["c", "a"]')
    assert ids.tolist() == [1, 2, 5]
    assert several.numbers(ids[None]).tolist() == [[1.0, 0.0, 1.0]]
    assert several.text(np.array([0.1, -3.0, 2.0])) == '["a", "c"]'
    assert several.probabilities(np.array([0.0, -800.0, 800.0])) == pytest.approx([0.5, 0.0, 1.0])
    number = Answers(kind="number")
    assert number.numbers(number.ids("-2.625")[None]).tolist() == [[-2.625]]
    assert number.text(np.array([3.14159265])) == "3.14159"


def test_label_probabilities_are_a_softmax() -> None:
    values = np.array([1000.0, 1001.0])
    assert LABEL.probabilities(values) == pytest.approx([1 / (1 + np.e), np.e / (1 + np.e)])
    assert LABEL.text(values) == "rate"


@pytest.mark.parametrize(
    ("answers", "answer", "words"),
    [
        (LABEL, "rates", "one of the trained labels, got 'rates'; did you mean `rate`?"),
        (Answers(kind="labels", labels=("a", "b")), "a, b", "a JSON list of different texts"),
        (Answers(kind="labels", labels=("a", "b")), '["a", "a"]', "a JSON list of different texts"),
        (Answers(kind="labels", labels=("a", "b")), '["z"]', "one of the trained labels"),
        (Answers(kind="number"), "three", "an answer must be a number, got 'three'"),
        (Answers(kind="number"), "nan", "an answer must be a number"),
        (Answers(kind="number"), "1e60", "an answer must be a number"),
    ],
)
def test_an_answer_that_the_head_cannot_give_is_refused(answers: Answers, answer: str, words: str) -> None:
    with pytest.raises(UserError, match=words.replace("?", r"\?")):
        answers.ids(answer)


def test_what_an_encoder_cannot_read_is_refused(bert: Path) -> None:
    renderer = _renderer(bert)
    for messages in [(Message("system", "Be kind."), USER), (USER, USER, USER), ()]:
        with pytest.raises(UserError, match="one text or a pair of texts"):
            renderer.prompt(messages)
    with pytest.raises(UserError, match="reads text, got tools"):
        renderer.prompt((USER,), ({"name": "call"},))
    with pytest.raises(UserError, match="must end with an answer"):
        renderer.render((USER,))


def test_an_encoder_decoder_reads_and_writes_text_with_its_end_token(t5: Path) -> None:
    renderer = _renderer(t5, None)
    row = renderer.render((Message("system", "check"), USER, Message("assistant", "no rate")))
    end = renderer.tokenizer.control["</s>"]
    assert (row.tokens == end).sum() == 2
    assert row.weights.tolist() == [0.0] * 8 + [1.0] * 3
    assert renderer.stop_ids == (end,)
    assert renderer.answer(row.tokens[-3:]) == "rate"  # `no` is not in the toy's vocabulary, and is left out as a control token


def test_a_tokenizer_without_an_end_token_is_refused(bert: Path) -> None:
    with pytest.raises(UserError, match="must end a text with its end-of-text token"):
        _renderer(bert, None)


def test_it_is_saved_and_loaded_with_its_hash(bert: Path, tmp_path: Path) -> None:
    renderer = _renderer(bert, length=9, cut="end")
    renderer.save(tmp_path)
    loaded = load_renderer(tmp_path)
    assert isinstance(loaded, TextRenderer)
    assert (loaded.hash, loaded.answers, loaded.policy) == (renderer.hash, LABEL, renderer.policy)
    assert renderer.hash != _renderer(bert, length=10, cut="end").hash
    body = json.loads((tmp_path / FILE).read_text())
    body["answers"]["labels"] = ["rate", "card"]
    (tmp_path / FILE).write_text(json.dumps(body))
    with pytest.raises(CorruptArtifact, match="differ from its hash"):
        load_renderer(tmp_path)


def test_the_form_of_answers_follows_the_data_set() -> None:
    assert answers_of("text", ()) is None
    assert answers_of("text", ("a", "b")) == Answers(kind="label", labels=("a", "b"))
    assert answers_of("labels", ("a", "b")) == Answers(kind="labels", labels=("a", "b"))
    assert answers_of("number", ()) == Answers(kind="number")
