"""What each perturbation does to a text, case by case."""

from __future__ import annotations

import pytest

from luthier.parts.perturbations.casing import Casing
from luthier.parts.perturbations.contract import WORD
from luthier.parts.perturbations.distractors import SENTENCES, Distractors
from luthier.parts.perturbations.length import Length
from luthier.parts.perturbations.negation import Negation
from luthier.parts.perturbations.punctuation import Punctuation
from luthier.parts.perturbations.rewording import Rewording
from luthier.parts.perturbations.typos import Typos


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("The card is lost.", "The card is not lost."),
        ("Can I pay?", "Can I not pay?"),
        ("It isn't here.", "It is here."),
        ("You cannot pay, and I will.", "You can pay, and I will."),
        ("Won't it work?", "Will it work?"),
        ("They can’t.", "They can."),
        ("It is not so.", "It is so."),
        ("Lost card", "Lost card"),
    ],
)
def test_negation(text: str, changed: str) -> None:
    assert Negation()(text, "k") == changed


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("I am late because I don't drive.", "I'm late since I do not drive."),
        ("since yesterday", "since yesterday"),
        ("How do I pay?", "How can I pay?"),
        ("it's gone", "it's gone"),
        ("PIN", "PIN"),
    ],
)
def test_rewording(text: str, changed: str) -> None:
    assert Rewording()(text, "k") == changed


def test_typos_change_so_many_words_and_keep_first_letters() -> None:
    text = "several ordinary words about nothing whatever stand here today"
    for share, wanted in ((0.1, 1), (0.5, 4), (1.0, 9)):
        for key in "abcdef":
            changed = Typos(share=share)(text, key).split(" ")
            assert sum(a != b for a, b in zip(text.split(" "), changed, strict=True)) == min(wanted, 9)
            assert [w[0] for w in changed] == [w[0] for w in text.split(" ")]
    assert Typos()("a be cat", "k") == "a be cat"


def test_casing_and_its_names() -> None:
    assert Casing(to="lower")("My CARD, 3 x", "k") == "my card, 3 x"
    mixed = Casing(to="mixed")("ordinary words", "k")
    assert mixed.lower() == "ordinary words"
    assert mixed not in ("ordinary words", "ORDINARY WORDS")
    assert [Casing(to=to).name for to in ("upper", "lower", "mixed")] == ["casing", "casing_lower", "casing_mixed"]


def test_punctuation_leaves_numbers_alone() -> None:
    assert Punctuation()("Pay 1,000.50 now, please!", "k") == "Pay 1,000.50 now please"


@pytest.mark.parametrize("words", [5, 60, 400])
def test_length_adds_so_many_words_around_the_text(words: int) -> None:
    changed = Length(words=words)("my card", "k")
    added = len(WORD.findall(changed)) - 2
    assert words <= added < words + 12
    before, after = changed.split("my card")
    assert before.strip()
    assert bool(after.strip()) == (words > 8)


def test_distractors_are_so_many_different_sentences() -> None:
    for key in "abcdef":
        changed = Distractors(sentences=3)("my card", key)
        assert sum(sentence in changed for sentence in SENTENCES) == 3
        assert "my card" in changed
