"""Code in the sandbox: right and wrong answers, hostile ones, and rows without tests."""

from __future__ import annotations

import pytest

from luthier.core.errors import MachineError, UserError
from luthier.core.records import Example, Message, Source
from luthier.parts.scorers import Answer, load

TESTS = "assert add(2, 3) == 5\nassert add(-1, 1) == 0"


def example(tests: object = TESTS) -> Example:
    return Example((Message("user", "Write add."), Message("assistant", "")), Source("rows.csv", "row 3"), meta={"tests": tests})


def test_answers_are_judged_by_the_rows_tests() -> None:
    scorer = load({"kind": "code_tests", "tests": "tests", "seconds": 60})
    try:
        scorer.check([example()])
    except MachineError as err:
        pytest.skip(f"no sandbox on this machine: {err}")
    answers = [
        "def add(a, b):\n    return a + b",
        "Here it is:\n```python\ndef add(a, b):\n    return a + b\n```\nDone.",
        "def add(a, b):\n    return a - b",
        "def add(a, b) return",
        "",
        "import sys\nsys.exit(0)",
        "import os\nos._exit(0)",
        "open('/etc/passwd')",
    ]
    scores = scorer.score_all([example()] * len(answers), [Answer(a) for a in answers])
    assert [s.value for s in scores] == [1, 1, 0, 0, 0, 0, 0, 0]
    reasons = [str(s.details.get("reason", "")) for s in scores]
    assert reasons[2] == "raised AssertionError"
    assert "SyntaxError" in reasons[3]
    assert reasons[5] == reasons[6] == "exited"
    assert "No such file" in reasons[7]


@pytest.mark.parametrize("tests", [None, "", 3])
def test_a_row_without_tests_is_the_users_error(tests: object) -> None:
    with pytest.raises(UserError, match=r"must have its tests in `tests`, got .* \(rows.csv row 3\); keep the column.*meta: \[tests\]"):
        load({"kind": "code_tests", "tests": "tests"}).check([example(tests)])


def test_without_walls_nothing_is_executed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(MachineError, match="only run where Linux can contain it"):
        load({"kind": "code_tests", "tests": "tests"}).check([example()])
