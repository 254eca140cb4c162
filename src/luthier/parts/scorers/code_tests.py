"""Code: does the answer's Python pass the row's own tests? Executed in the sandbox, one row in one process.

One decision: where the sandbox cannot be built nothing is executed and the evaluation stops with the reason, before a model is asked;
code is never run without it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, Literal

from pydantic import Field

from luthier.core.errors import UserError
from luthier.core.records import Example
from luthier.parts.scorers.fenced import code_of
from luthier.parts.scorers.scorer import WRITING, Answer, Measure, Score, Scorer

_MOST_AT_ONCE = 8


class CodeTests(Scorer):
    """1 when the answer's code and then the row's tests run to their end: pass@1. The standard library alone can be imported."""

    measure: ClassVar[Measure] = "binary"
    tasks: ClassVar[tuple[str, ...]] = WRITING
    needs_reference: ClassVar[bool] = False

    kind: Literal["code_tests"] = "code_tests"
    tests: str = Field(min_length=1, description="the column, kept by the mapping's `meta`, with a row's tests: Python with asserts")
    seconds: float = Field(default=10.0, gt=0, le=600, description="wall time for each row; processor time is as much")
    memory_mb: int = Field(default=512, ge=64, le=65536, description="memory for each row")

    def __call__(self, example: Example, output: str) -> Score:
        from luthier.sandbox import Limits, run_python

        limits = Limits(seconds=self.seconds, cpu_seconds=max(1, round(self.seconds)), memory_mb=self.memory_mb)
        code = code_of(output)
        if not code.strip():
            return Score(0.0, {"reason": "the answer has no code"})
        done = run_python((code, self._tests_of(example)), limits=limits)
        return Score(1.0) if done.outcome == "finished" else Score(0.0, {"reason": done.reason})

    def score_all(self, examples: Sequence[Example], answers: Sequence[Answer]) -> list[Score]:
        """As many rows at once as there are processors, at most 8."""
        with ThreadPoolExecutor(min(_MOST_AT_ONCE, os.cpu_count() or 1)) as pool:
            return list(pool.map(self.score, examples, answers))

    def check(self, examples: Sequence[Example]) -> None:
        from luthier.sandbox import run_python

        for example in examples:
            self._tests_of(example)
        run_python(("pass",))

    def _tests_of(self, example: Example) -> str:
        tests = example.meta.get(self.tests)
        if not isinstance(tests, str) or not tests.strip():
            fix = f"keep the column with the row: `mapping: {{meta: [{self.tests}]}}`"
            raise UserError(f"a row scored by code_tests must have its tests in `{self.tests}`", repr(tests), str(example.source), fix)
        return tests
