"""Stop strings: across tokens, inside tokens, over characters of several bytes; the fast watch against the slow one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.engine.sampler.stops import IncrementalStops, Stopped, WholeStops
from luthier.engine.text.tokenizer import TextTokenizer

WATCHES = (IncrementalStops, WholeStops)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    from toy_models import write_tokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return TextTokenizer.load(folder)


@pytest.fixture(scope="module")
def pieces_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    """Spaces as a mark in front of words, the first one dropped, bytes for unknown characters: as Llama 2 and Mistral do."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {"<unk>": 0, "</s>": 1} | {f"<0x{b:02X}>": 2 + b for b in range(256)}
    words = ["\u2581", *"abcde", "\u2581a", "\u2581be", "cd"]
    vocabulary |= {word: 258 + i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("\u2581", "a"), ("c", "d")], unk_token="<unk>", byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken("</s>", special=True)])
    return TextTokenizer(tokenizer.to_str().encode(), "a toy")


def follow(watch: Any, tokens: list[int]) -> tuple[int, Stopped | None]:
    """(tokens read, where it stopped)."""
    for i, token in enumerate(tokens):
        if (stopped := watch.push(token)) is not None:
            return i + 1, stopped
    return len(tokens), None


@pytest.mark.parametrize("make", WATCHES)
@pytest.mark.parametrize(
    ("text", "stops", "wanted", "by"),
    [
        ("one two\n\nthree", ("\n\n",), "one two", "\n\n"),
        ("answer: block it now. More", ("now.",), "answer: block it ", "now."),
        ("stop", ("stop",), "", "stop"),
        ("grüße €5 und mehr", ("€5",), "grüße ", "€5"),
        ("a 👍🏽 b", ("👍🏽",), "a ", "👍🏽"),
        ("abcabd", ("bd", "abd"), "abc", "abd"),
        ("xyzz", ("yz", "y"), "x", "y"),
    ],
)
def test_the_text_is_cut_before_the_stop_string(
    tokenizer: TextTokenizer, make: Any, text: str, stops: tuple[str, ...], wanted: str, by: str
) -> None:
    tokens = tokenizer.encode([(text, None)])
    read, stopped = follow(make(tokenizer, stops), tokens)
    assert stopped is not None
    assert (stopped.text, stopped.by) == (wanted, by)
    assert tokenizer.decode(tokens[: stopped.num_tokens]).startswith(wanted)
    assert stopped.num_tokens == 0 or not tokenizer.decode(tokens[: stopped.num_tokens - 1]).startswith(wanted)
    assert not any(s in tokenizer.decode(tokens[: read - 1]) for s in stops)


@pytest.mark.parametrize("make", WATCHES)
def test_a_stop_string_that_never_comes(tokenizer: TextTokenizer, make: Any) -> None:
    tokens = tokenizer.encode([("nothing of the kind", None)])
    assert follow(make(tokenizer, ("###",)), tokens) == (len(tokens), None)


STOPS = st.lists(st.text(st.sampled_from("ab c\u00e9\u20ac.ey"), min_size=1, max_size=3), min_size=1, max_size=3)


@settings(max_examples=150, deadline=None)
@given(tokens=st.lists(st.integers(3, 299), max_size=40), stops=STOPS)
def test_the_fast_watch_equals_the_slow_one_on_any_bytes(tokenizer: TextTokenizer, tokens: list[int], stops: list[str]) -> None:
    assert follow(IncrementalStops(tokenizer, tuple(stops)), tokens) == follow(WholeStops(tokenizer, tuple(stops)), tokens)


@settings(max_examples=150, deadline=None)
@given(data=st.data(), stops=STOPS)
def test_the_fast_watch_equals_the_slow_one_on_marked_spaces(
    pieces_tokenizer: TextTokenizer, data: st.DataObject, stops: list[str]
) -> None:
    euro = [2 + b for b in "é€".encode()]
    tokens = data.draw(st.lists(st.integers(258, 266) | st.sampled_from(euro), max_size=40))
    watches = (make(pieces_tokenizer, tuple(stops)) for make in WATCHES)
    assert len({follow(w, tokens) for w in watches}) == 1


def test_a_bad_byte_spoils_the_bytes_before_it(pieces_tokenizer: TextTokenizer) -> None:
    first, second = (2 + b for b in "é".encode())
    for make in WATCHES:
        assert follow(make(pieces_tokenizer, (" ",)), [first, second, first, 258]) == (4, Stopped(" ", "\ufffd" * 3, 4))


def test_stop_settings_that_cannot_be_met(toy_base: Path) -> None:
    from luthier.core.errors import UserError
    from luthier.engine.contract import Sampling
    from luthier.engine.sampler.job import check_sampling

    wrong = [{"stop": ("",)}, {"stop": ("\ufffd",)}, {"top_p": 0.0}, {"top_p": 1.5}, {"min_p": -0.1}, {"min_p": 2.0}]
    wrong += [{"temperature": -1.0}, {"temperature": float("nan")}, {"top_k": -1}, {"repetition_penalty": 0.0}, {"seed": -1}]
    wrong += [{"num_samples": 0}, {"max_new_tokens": 0}, {"logprobs": -1}]
    for settings_ in wrong:
        with pytest.raises(UserError, match="sampling"):
            check_sampling(Sampling(**settings_))
