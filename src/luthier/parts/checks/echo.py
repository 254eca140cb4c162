"""An answer that only repeats the question.

One decision: the comparison ignores case and surrounding white space and nothing else, so a quotation inside
a longer answer is not an echo.
"""

from __future__ import annotations

from luthier.core.records import Example, Record
from luthier.parts.checks.contract import PASS, RecordCheck, Verdict


class Echo(RecordCheck):
    """Fails when the answer equals the last user turn (rows with a label are not judged)."""

    def __call__(self, record: Record) -> Verdict:
        if not isinstance(record, Example) or record.label is not None:
            return PASS
        asked = [m.content for m in record.prompt if m.role == "user"]
        same = bool(asked) and asked[-1].strip().casefold() == record.reference.strip().casefold()
        return Verdict(False, "the output equals the instruction: an echo") if same else PASS
