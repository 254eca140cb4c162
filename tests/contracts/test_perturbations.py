"""What every perturbation must hold, found by its folder: seeded, pure, harmless to any text, and it leaves an answer's words alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.core.keys import digest
from luthier.parts.perturbations.contract import Perturbation, words_of
from luthier.parts.perturbations.loading import known_perturbations

TEXT = "I am still waiting for my new card. Can you tell me why it isn't here, please?"
KINDS = sorted(known_perturbations())


@pytest.fixture(params=KINDS)
def part(request: pytest.FixtureRequest) -> Perturbation:
    return known_perturbations()[request.param]()


def test_it_changes_a_plain_sentence_and_the_same_one_alike(part: Perturbation) -> None:
    changed = part(TEXT, "row")
    assert changed != TEXT
    assert changed == part(TEXT, "row")
    assert type(part).model_validate(part.model_dump()) == part
    assert digest(type(part)(seed=14)) != digest(part)  # pyright: ignore[reportCallIssue]


def test_choices_are_of_the_row_and_of_the_seed(part: Perturbation) -> None:
    drawn = {part(TEXT, f"row {i}") for i in range(20)}
    seeded = {type(part)(seed=i)(TEXT, "row") for i in range(20)}  # pyright: ignore[reportCallIssue]
    assert (len(drawn) > 5) == (len(seeded) > 5)
    assert (len(drawn) > 5) == (part.kind in ("typos", "length", "distractors"))


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=60))
@pytest.mark.parametrize("kind", KINDS)
def test_any_text_survives(kind: str, text: str) -> None:
    part = known_perturbations()[kind]()
    assert part(text, "k") == part(text, "k")
    assert isinstance(part(text, "k"), str)


@pytest.mark.parametrize("kind", ["typos", "casing"])
def test_words_of_the_answer_stay(kind: str) -> None:
    part, keep = known_perturbations()[kind](), words_of("waiting Card")
    for i in range(30):
        changed = part(TEXT, str(i), keep)
        assert " waiting " in changed
        assert " card" in changed


def test_what_may_change_the_answer_says_so() -> None:
    assert {kind for kind, cls in known_perturbations().items() if not cls.keeps_answer} == {"negation"}
