"""The general probe: short questions with answers that have nothing to do with the task, in a JSONL file.

One decision: the shipped probe is written for Luthier and simple on purpose; what a small base gets right is what can be
forgotten. A probe of one's own has the same two fields, and nothing in it is guessed or left out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.core.errors import UserError
from luthier.core.records import Example, Message, Source

if TYPE_CHECKING:
    import numpy as np

    from luthier.engine.contract import TokenSequence
    from luthier.engine.text.load import AnyRenderer
    from luthier.report.sections import Estimate

GENERAL = Path(__file__).parent / "probe.jsonl"
LEAST = 10


@dataclass(frozen=True, slots=True)
class Question:
    """One row of a probe."""

    prompt: str
    answer: str

    def example(self) -> Example:
        """As a conversation of two turns."""
        return Example((Message("user", self.prompt), Message("assistant", self.answer)), Source("probe", self.prompt[:40]))


def read_probe(path: Path) -> tuple[Question, ...]:
    """The rows of a probe. Raises UserError for a line that is no object with `prompt` and `answer`, or for fewer than 10 rows."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as err:
        raise UserError("the probe must be a UTF-8 text file", str(err), "watch.probe") from None
    rows = [_question(line, f"{path} line {n}") for n, line in enumerate(lines, 1) if line.strip()]
    if len(rows) < LEAST:
        raise UserError(
            f"a probe needs at least {LEAST} rows", len(rows), f"watch.probe, {path}", "a hundred show a change of a few per cent"
        )
    return tuple(rows)


def _question(line: str, where: str) -> Question:
    must = 'each line must be like {"prompt": "What is 2 plus 2?", "answer": "4."}'
    try:
        body = json.loads(line)
    except ValueError as err:
        raise UserError(must, str(err), where) from None
    if not isinstance(body, dict) or set(body) != {"prompt", "answer"}:
        raise UserError(must, f"fields {', '.join(body)}" if isinstance(body, dict) else line[:60], where)
    if not all(isinstance(v, str) and v.strip() for v in body.values()):
        raise UserError(must, "a prompt or an answer that is empty or no text", where)
    return Question(body["prompt"], body["answer"])


@dataclass(frozen=True, slots=True, eq=False)
class Losses:
    """Of some sequences: minus the log-probability of each one's targets in nats, and their number. Both float64 [n]."""

    total: np.ndarray
    tokens: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Nats a token of each sequence."""
        return self.total / self.tokens


def losses_of(logprobs: Sequence[np.ndarray]) -> Losses:
    """From the log-probabilities of each sequence's targets."""
    import numpy as np

    return Losses(np.array([-float(x.sum()) for x in logprobs]), np.array([float(len(x)) for x in logprobs]))


def rendered(row: Example, renderer: AnyRenderer) -> TokenSequence:
    """A row as a model reads it, its answer the target."""
    from luthier.engine.contract import TokenSequence

    found = renderer.render(row.messages, ())
    return TokenSequence(found.tokens, found.weights)


def probe_change(before: Losses, after: Losses) -> tuple[Estimate, Estimate, Estimate]:
    """Perplexity of the probe's answers before and after, and the change in nats a token, each with its interval."""
    import numpy as np

    from luthier.report.sections import Estimate
    from luthier.stats.intervals import bca
    from luthier.stats.paired import paired_bootstrap
    from luthier.stats.perplexity import BOUNDS, perplexity

    one, two = (np.stack([x.total, x.tokens], axis=1) for x in (before, after))
    found = [bca(one, perplexity, bounds=BOUNDS), bca(two, perplexity, bounds=BOUNDS), paired_bootstrap(two, one)]
    first, second, change = (Estimate(value=e.value, low=e.low, high=e.high, n=e.n, method=e.method) for e in found)
    return first, second, change
