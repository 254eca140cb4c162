"""What every repair must hold, whatever it mends: found by its folder, so a new one is tested without a word here."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.core.config import Config, parse_config
from luthier.core.errors import UserError
from luthier.core.keys import digest
from luthier.parts.repairs.contract import Repair
from luthier.parts.repairs.loading import STANDARD, RepairConfig, known_repairs, load_repair

REPAIRS = {kind: cls() for kind, cls in known_repairs().items()}
PIECES = [
    *("<p>", "</p>", "<b>", "</b>", "<br/>", "<a href='x'>", "<T>", "<script>", "</script>", "<!--", "-->"),
    *("&amp;", "&lt;", "b&gt;", "&#0;", "`", "```", "$", "$$", "\\(", "\\)"),
    *("\n", "\r", "\x85", "\u2028", " ", "  ", "\t", "\u00a0", "\u3000", "\x1b[31m", "\x1b", "\0", "\x0c"),
    *("\ud83d", "\ude00", "👩", "\u200d", "\u200c", "ل", "क्", "\u200f", "\u202e", "\u2066", "\ufe0f"),
    *("\U0001f3f4", "\U000e0067", "\U000e007f", "Ã©", "â€™", "Ã\x83Â©", "é", "e\u0301", "ﬁ", "\ufb1d", "\ufeff"),
    *("a", "Word.", "1", "\ufffd", "Â…", "{", '"'),
]
TEXTS = st.text(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=14).map("".join)

GOOD = [
    "",
    "Plain text, 3 < 5 and a > b.",
    "café crème – “naïve”",
    "日本語。全角\u3000空白",
    "f(x) = {x}\n    return x\n\n\tend",
    "a | b\n--|--\n1 | 2",
]
HOSTILE = [
    *("<" * 100_000, "<b>" * 30_000, "<b" * 50_000, "<!--" * 25_000, "<b>b>" * 20_000, "&" * 100_000),
    *(" " * 100_000 + "x", "Ã©" * 30_000, "`" * 99_999, "$a" * 50_000),
]


@pytest.mark.parametrize("kind", REPAIRS)
@settings(max_examples=300, deadline=None)
@given(text=TEXTS)
def test_a_repair_is_pure_idempotent_and_bounded(kind: str, text: str) -> None:
    repair = REPAIRS[kind]
    after = repair(text)
    assert repair(text) == after
    assert repair(after) == after
    assert len(after) <= repair.growth * len(text)


@pytest.mark.parametrize("kind", REPAIRS)
@pytest.mark.parametrize("text", GOOD)
def test_good_text_is_the_very_same(kind: str, text: str) -> None:
    assert REPAIRS[kind](text) is text or REPAIRS[kind](text) == text


@pytest.mark.parametrize("kind", REPAIRS)
@pytest.mark.parametrize("text", HOSTILE)
def test_time_is_bounded_on_hostile_text(kind: str, text: str) -> None:
    start = time.process_time()
    REPAIRS[kind](text)
    assert time.process_time() - start < 5.0


def test_every_repair_has_words_and_a_key_of_its_own() -> None:
    assert set(REPAIRS) - set(STANDARD) == {"end_of_text"}, "repairs that a project has to name"
    assert set(STANDARD) < set(REPAIRS)
    assert all(cls.__doc__ and cls is not Repair for cls in known_repairs().values())
    assert len({digest(r) for r in REPAIRS.values()}) == len(REPAIRS)


class _Holder(Config):
    repairs: tuple[RepairConfig, ...]


def test_a_project_names_a_repair_or_gives_options() -> None:
    got = parse_config(_Holder, {"repairs": ["mojibake", {"kind": "unicode", "form": "NFKC"}]})
    assert got.repairs == (load_repair("mojibake"), load_repair({"kind": "unicode", "form": "NFKC"}))
    assert parse_config(_Holder, got.model_dump(mode="json")) == got
    assert "mojibake" in str(_Holder.model_json_schema())


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ("mojibak", "did you mean `mojibake`"),
        ({"kind": "unicode", "fom": "NFKC"}, "did you mean `form`"),
        ({"kind": "white_space", "blank_lines": -1}, "blank_lines"),
    ],
)
def test_a_wrong_name_or_option_is_told_with_the_nearest(given_: object, said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_config(_Holder, {"repairs": [given_]})
