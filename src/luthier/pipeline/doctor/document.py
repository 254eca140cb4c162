"""The document of `luthier doctor`: one line for each check of the machine and each proof on the project.

One decision: a figure carries its bound, so a reader of the JSON can judge it again; NaN never keeps a bound.
"""

from __future__ import annotations

from typing import Literal

import pydantic

Level = Literal["ok", "warning", "failed"]
Answer = Literal["holds", "fails", "does not apply"]


class Check(pydantic.BaseModel):
    """One line about the machine."""

    model_config = pydantic.ConfigDict(frozen=True)

    name: str
    level: Level
    found: str
    matters: str


class Figure(pydantic.BaseModel):
    """A measured number. `bound` is the most it may be (the least with `at_least`); None: measured, nothing is asked of it."""

    model_config = pydantic.ConfigDict(frozen=True)

    name: str
    value: float
    bound: float | None = None
    at_least: bool = False

    @property
    def keeps(self) -> bool:
        """True when there is no bound or it is kept."""
        if self.bound is None:
            return True
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def text(self) -> str:
        """`largest difference 1.3e-05 (at most 0.002)`."""
        bound = "" if self.bound is None else f" (at {'least' if self.at_least else 'most'} {self.bound:.3g})"
        return f"{self.name} {self.value:.3g}{bound}"


class ProofLine(pydantic.BaseModel):
    """One proof: what was proven (or why it does not apply), what was measured, what is wrong, and where it would hurt."""

    model_config = pydantic.ConfigDict(frozen=True)

    kind: str
    title: str
    answer: Answer
    proven: str
    figures: tuple[Figure, ...]
    faults: tuple[str, ...]
    hurts: str
    seconds: float


class SamplePiece(pydantic.BaseModel):
    """A stretch of a row as it is stored for training."""

    model_config = pydantic.ConfigDict(frozen=True)

    text: str
    trained: bool


class ProjectProofs(pydantic.BaseModel):
    """Everything that was proven on a project. `rows`: rows that the engines computed; `stored_rows`: rows whose tokens were read."""

    model_config = pydantic.ConfigDict(frozen=True)

    project: str
    model: str
    trained: bool
    engine: str
    rows: int
    longest_row_tokens: int
    stored_rows: int
    sample: tuple[SamplePiece, ...]
    proofs: tuple[ProofLine, ...]
    seconds: float


class DoctorDocument(pydantic.BaseModel):
    """`luthier doctor --json`. `project` is null when no project was looked at."""

    kind: Literal["doctor"] = "doctor"
    version: Literal[1] = 1
    checks: tuple[Check, ...]
    project: ProjectProofs | None = None

    @property
    def healthy(self) -> bool:
        """True when no check failed and no proof fails."""
        proofs = self.project.proofs if self.project else ()
        return all(c.level != "failed" for c in self.checks) and all(p.answer != "fails" for p in proofs)
