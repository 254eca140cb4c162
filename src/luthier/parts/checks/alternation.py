"""Turns in an order that chat templates do not expect.

One decision: such conversations exist and train well enough, so they are kept and reported; a system turn
that is not first is reported because many templates drop or refuse it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from luthier.core.records import Example, Message, Preference, Rating, Record
from luthier.parts.checks.contract import PASS, RecordCheck, Verdict


class Alternation(RecordCheck):
    """Fails when a system turn is not first, when two turns in a row have one role and name, or when the assistant begins."""

    def __call__(self, record: Record) -> Verdict:
        if isinstance(record, Example):
            reason = _fault(record.messages)
        elif isinstance(record, Preference):
            reason = _fault(record.prompt) or _fault((*record.prompt, *record.chosen))
        elif isinstance(record, Rating):
            reason = _fault((*record.prompt, *record.completion))
        else:
            return PASS
        return Verdict(False, reason) if reason else PASS


def _fault(messages: Sequence[Message]) -> str:
    roles = [m.role for m in messages]
    if "system" in roles[1:]:
        return f"system turn not first: turn {roles.index('system', 1) + 1} of {len(roles)}"
    talk = [(i, (m.role, m.name)) for i, m in enumerate(messages, 1) if m.role in ("user", "assistant")]
    if talk and talk[0][1][0] == "assistant":
        return "the assistant speaks first"
    for (i, role), (j, other) in pairwise(talk):
        if role == other and j == i + 1:
            return f"roles do not alternate: turns {i} and {j} are both {role[0]}"
    return ""
