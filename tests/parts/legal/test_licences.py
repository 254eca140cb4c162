"""The table of licences and the judgement of sources by it."""

from __future__ import annotations

import pytest

from luthier.parts.legal.fit import Consent, IntendedUse, Rights, doubts
from luthier.parts.legal.licences import LICENCES, allows, alternatives, find_licence, near_identifier

SELL = IntendedUse(commercial=True, redistribution=False)
GIVE = IntendedUse(commercial=False, redistribution=True)
BOTH = IntendedUse(commercial=True, redistribution=True)
KEEP = IntendedUse(commercial=False, redistribution=False)


def test_every_identifier_is_on_the_spdx_list() -> None:
    from packaging.licenses import canonicalize_license_expression

    for licence in LICENCES.values():
        assert canonicalize_license_expression(licence.id) == licence.id


@pytest.mark.parametrize("licence", [i for i in LICENCES.values() if i.id.startswith("CC-BY")], ids=lambda i: i.id)
def test_creative_commons_names_mean_what_they_say(licence: object) -> None:
    marks = licence.id.split("-")  # type: ignore[attr-defined]
    assert licence.commercial == ("NC" not in marks)  # type: ignore[attr-defined]
    assert licence.changed == ("ND" not in marks)  # type: ignore[attr-defined]
    assert len(licence.conditions) == 1 + ("SA" in marks)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "wanted"), [("CC BY 4.0", "CC-BY-4.0"), ("mit", "MIT"), ("CC0", "CC0-1.0"), (" apache 2.0", "Apache-2.0")]
)
def test_other_spellings_of_one_licence_are_that_licence(text: str, wanted: str) -> None:
    found = find_licence(text)
    assert found is not None
    assert found.id == wanted


@pytest.mark.parametrize(
    "text", ["CC BY", "CC-BY-4", "GPL", "BSD", "free", "research only", "LicenseRef-ours", "openrail", "MIT OR ours", ""]
)
def test_what_is_not_in_the_table_is_unknown_and_never_guessed(text: str) -> None:
    assert not alternatives(text)
    assert allows(text) == "unknown"


def test_an_expression_allows_what_one_of_its_alternatives_allows() -> None:
    assert allows("CC-BY-NC-4.0 OR MIT") == "any use, passing on; with attribution"
    assert allows("CC-BY-NC-4.0 AND MIT") == "non-commercial use, passing on; with attribution"
    assert allows("CC-BY-ND-4.0").startswith("any use, passing on unchanged only")
    assert near_identifier("CC-BY-4") == "CC-BY-4.0"


def blocked(licence: str | None, use: IntendedUse | None, permission: str | None = None, consent: Consent | None = "given") -> list[bool]:
    rights = Rights(licence=licence, consent=consent, provenance="our shop", permission=permission)
    return [d.blocks for d in doubts("rows.csv", rights, use)]


@pytest.mark.parametrize(
    ("licence", "use", "wanted"),
    [
        ("CC0-1.0", BOTH, []),
        ("MIT", SELL, []),
        ("MIT", BOTH, [False]),  # attribution, when passed on
        ("CC-BY-NC-4.0", SELL, [True]),
        ("CC-BY-NC-4.0", KEEP, []),
        ("CC-BY-NC-4.0", GIVE, [False]),
        ("CC-BY-ND-4.0", GIVE, [True]),
        ("CC-BY-ND-4.0", SELL, []),
        ("CC-BY-NC-ND-4.0", BOTH, [True]),
        ("CC-BY-SA-4.0", BOTH, [False]),
        ("CC-BY-NC-4.0 OR CC0-1.0", SELL, []),
        ("CC-BY-NC-4.0 AND CC0-1.0", SELL, [True]),
        (None, SELL, [False]),
        ("ours", SELL, [False]),
        ("CC-BY-NC-4.0", None, []),
    ],
)
def test_a_licence_that_forbids_the_use_blocks_and_an_unknown_one_warns(
    licence: str | None, use: IntendedUse | None, wanted: list[bool]
) -> None:
    assert blocked(licence, use) == wanted


def test_a_permission_lifts_the_licence_and_no_refusal_of_consent() -> None:
    assert blocked("CC-BY-NC-4.0", SELL, permission="from the authors, 3 May 2026") == []
    assert blocked("CC0-1.0", SELL, permission="x", consent="refused") == [True]
    assert blocked("CC0-1.0", None, consent="refused") == [True]
    assert blocked("CC0-1.0", SELL, consent="unknown") == [False]


def test_the_words_name_the_use_that_is_forbidden() -> None:
    (doubt,) = doubts("rows.csv", Rights(licence="CC-BY-NC-ND-4.0", consent="given", provenance="x"), BOTH)
    assert doubt.reason.endswith("does not allow commercial use and passing on what is made from it")
    (doubt,) = doubts("rows.csv", Rights(licence="CC-BY-ND-4.0", consent="given", provenance="x"), BOTH)
    assert doubt.reason.endswith("does not allow passing on what is made from it")
