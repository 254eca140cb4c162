"""Redaction: consistent, exact outside the spans, keyed, and blind to what it replaced."""

from __future__ import annotations

import logging
import os
import random
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.core.errors import UserError
from luthier.parts.privacy.find import find_values
from luthier.parts.privacy.redact import Redactor, canonical, new_key, project_key
from luthier.parts.privacy.rule import KINDS

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "reliability"))

from pii_gold import gold_set

KEY = bytes(range(32))
TEXT = "Mail Jane.Doe@example.com or jane.doe@EXAMPLE.com; card 4111-1111-1111-1111 = 4111 1111 1111 1111 😀; +1 202-555-0147"


def test_one_value_has_one_pseudonym_whatever_its_spelling() -> None:
    redacted = Redactor(KEY)(TEXT)
    new = [redacted.text[a:b] for a, b in (r.after for r in redacted.replaced)]
    assert new[0] == new[1]
    assert new[2] == new[3]
    assert len(set(new)) == 3
    assert new[0].startswith("[EMAIL_")
    assert new[4].startswith("[PHONE_")
    assert not any(part in redacted.text for part in ("Jane", "4111", "555"))
    assert redacted.text.startswith("Mail [EMAIL_")


def test_the_same_key_says_the_same_in_any_order_and_another_key_something_else() -> None:
    texts = [item.text for item in gold_set(200, seed=1)]
    once, again = Redactor(KEY), Redactor(KEY)
    forward = [once(t).text for t in texts]
    assert forward == [again(t).text for t in reversed(texts)][::-1]
    assert Redactor(new_key())(TEXT).text != Redactor(KEY)(TEXT).text


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(st.text(max_size=20), st.sampled_from(["a@b.org", "4111 1111 1111 1111", "ａ@b.org", "10.2.3.4", "👩\u200d👧"])),
        max_size=6,
    )
)
def test_everything_outside_the_spans_is_as_it_was(parts: list[str]) -> None:
    text = " ".join(parts)
    redacted = Redactor(KEY)(text)
    before = after = 0
    for r in redacted.replaced:
        assert text[before : r.before[0]] == redacted.text[after : r.after[0]]
        before, after = r.before[1], r.after[1]
    assert text[before:] == redacted.text[after:]


@pytest.mark.parametrize("style", ["tag", "fake"])
def test_no_value_of_the_gold_set_survives_and_tags_are_found_no_more(style: str) -> None:
    redactor = Redactor(KEY, style)  # type: ignore[arg-type]
    for item in gold_set(600, seed=2):
        redacted = redactor(item.text)
        for r in redacted.replaced:
            assert item.text[slice(*r.before)] not in redacted.text
        if style == "tag":
            assert find_values(redacted.text) == [], item.family


def test_fakes_keep_the_layout_and_belong_to_nobody() -> None:
    redactor = Redactor(KEY, "fake")
    new = {kind: redactor.pseudonym(kind, value) for kind, value in (  # type: ignore[arg-type]
        ("e-mail address", "jane@corp.com"),
        ("phone number", "+44 20 7946 0018"),
        ("card number", "4111-1111-1111-1111"),
        ("SSN", "078-05-1120"),
        ("IP address", "10.2.3.4"),
        ("MAC address", "00:1A:2B:3C:4D:5E"),
        ("password", "hunter22"),
    )}  # fmt: skip
    assert new["e-mail address"].endswith("@example.com")
    assert new["phone number"].startswith("+99 9")
    assert [len(p) for p in new["card number"].split("-")] == [4, 4, 4, 4]
    assert new["card number"].startswith("0000-")
    assert new["SSN"].startswith("000-")
    assert new["IP address"].startswith("24")
    assert new["MAC address"].startswith("02:")
    assert new["password"].startswith("[PASSWORD_")
    assert not find_values(" ".join(new[k] for k in ("card number", "SSN")))


def test_ten_thousand_values_have_ten_thousand_pseudonyms() -> None:
    redactor, rng = Redactor(KEY), random.Random(0)
    values = {f"user{rng.randrange(10**9)}@example.com" for _ in range(10_000)}
    assert len({redactor.pseudonym("e-mail address", v) for v in values}) == len(values)


def test_the_key_is_shown_nowhere(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    with caplog.at_level(logging.DEBUG):
        key = project_key(tmp_path / "deep" / "redaction.key")
        redactor = Redactor(key)
        redactor(TEXT)
    assert key.hex() not in caplog.text
    assert str(key) not in repr(redactor)


def test_the_project_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "redaction.key"
    with ThreadPoolExecutor(4) as pool:
        keys = set(pool.map(project_key, [path] * 8))
    assert len(keys) == 1
    assert len(keys.pop()) == 32
    assert os.listdir(tmp_path) == ["redaction.key"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(b"short")
    with pytest.raises(UserError, match="32 bytes"):
        project_key(path)
    with pytest.raises(UserError, match="32 bytes"):
        Redactor(b"short")


def test_canonical_forms() -> None:
    assert canonical("phone number", "+1 (202) 555-0147") == canonical("phone number", "001 202 555 0147")
    assert canonical("IBAN", "gb82 west") == canonical("IBAN", "GB82WEST")
    assert canonical("IP address", "2001:DB8::1") == "2001:db8::1"
    assert canonical("password", "Abc 1") != canonical("password", "abc 1")
    assert {canonical(kind, "10.2.3.4") for kind in KINDS}
