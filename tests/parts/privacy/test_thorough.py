"""The thorough path: presidio as the oracle of the fast rules, offline, and what both find together."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from luthier.core.errors import MachineError
from luthier.parts.privacy.find import find_values
from luthier.parts.privacy.redact import Redactor

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "reliability"))

from pii_gold import gold_set

SHARED = ("e-mail address", "card number", "IBAN", "IP address", "SSN")


@pytest.fixture(scope="module")
def thorough():
    pytest.importorskip("presidio_analyzer", reason="the thorough path and oracle: pip install 'luthier[pii]'")
    from luthier.parts.privacy.thorough import Thorough

    return Thorough()


def test_the_rules_find_all_that_presidio_finds_on_seen_families(thorough, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kinds that both know; each value that presidio is sure of and that is in the gold set is ours too. No connection is opened."""

    def refuse(*args: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    theirs = 0
    for item in gold_set(600, seed=4):
        if not item.seen or item.kind not in SHARED:
            continue
        gold = (item.kind, item.start, item.end)
        if gold in [(v.kind, v.start, v.end) for v in thorough.presidio(item.text)]:
            theirs += 1
            assert gold in [(v.kind, v.start, v.end) for v in find_values(item.text)], item.family
    assert theirs >= 30


def test_both_together_find_at_least_ours_and_redact(thorough) -> None:
    for item in gold_set(120, seed=6):
        ours = {(v.kind, v.start, v.end) for v in find_values(item.text)}
        both = thorough(item.text)
        assert ours <= {(v.kind, v.start, v.end) for v in both}
        assert all(a.end <= b.start for a, b in zip(both, both[1:], strict=False))  # noqa: RUF007
    redacted = Redactor(bytes(32), find=thorough)("write to jane@example.org")
    assert redacted.text.startswith("write to [EMAIL_")


def test_without_presidio_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    from luthier.parts.privacy.thorough import Thorough

    with pytest.raises(MachineError, match=r"luthier\[pii\]"):
        Thorough()
