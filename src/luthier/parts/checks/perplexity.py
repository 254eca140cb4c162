"""Rows whose text a base model finds much less likely than the other rows': garble, another script, keyboard noise.

One decision: a row is compared with the rows of its own data set, because what perplexity is usual depends on the model and the
subject; it says that a row is unlike the others and never that it is wrong. Texts of few tokens are not judged.
Source: G. Wenzek et al., CCNet (LREC 2020), https://arxiv.org/abs/1911.00359, for perplexity as a filter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from luthier.core.records import Example, Record, Text
from luthier.parts.checks.contract import RecordsCheck, RowFinding, answers_of

if TYPE_CHECKING:
    import numpy as np

Of = Literal["prompt", "answer", "row"]


class Perplexity(RecordsCheck):
    """Finds rows whose log-perplexity under `base` has a modified z-score above `above`, or whose perplexity is over `most`."""

    base: str = Field(default="smollm2-135m-instruct", min_length=1, description="the base model that reads, by its name")
    of: Of = Field(default="row", description="what is read: system turns and answers that are labels never are")
    above: float = Field(default=3.5, gt=0, description="modified z-score of the log-perplexity; only upwards")
    most: float | None = Field(default=None, gt=1, description="a perplexity that no row may have, whatever the others have")
    min_tokens: int = Field(default=16, ge=2, description="shorter texts pass and set no standard")
    max_tokens: int = Field(default=512, ge=16, description="the tokens of a text that are read")

    def __call__(self, records: Sequence[Record]) -> list[RowFinding]:
        """One finding for each row, in order. Raises UserError or MachineError when the model cannot be had."""
        import numpy as np

        from luthier.stats.outlying import modified_z

        losses = self.losses([text_of(record, self.of) for record in records])
        judged = np.flatnonzero(~np.isnan(losses))
        scores = modified_z(losses[judged])
        found = []
        for row, score in zip(judged.tolist(), scores.tolist(), strict=True):
            perplexity = float(np.exp(losses[row]))
            if score > self.above or (self.most is not None and perplexity > self.most):
                found.append(RowFinding(row, f"perplexity {perplexity:,.0f} under {self.base}, {score:.1f} deviations above the median"))
        return found

    def losses(self, texts: Sequence[str]) -> np.ndarray:
        """float64 [n]: mean negative log-likelihood per token, in nats; NaN for a text of fewer than `min_tokens`. A copy costs nothing."""
        import numpy as np

        from luthier.core.execution import Execution
        from luthier.engine.contract import TokenSequence
        from luthier.engine.models.resolve import resolve
        from luthier.engine.select import load_engine
        from luthier.engine.text.tokenizer import TextTokenizer

        folder = resolve(self.base).folder
        tokenizer = TextTokenizer.load(folder)
        tokens = {text: tokenizer.encode([(text, None)])[: self.max_tokens] for text in dict.fromkeys(texts)}
        read = [text for text, ids in tokens.items() if len(ids) >= self.min_tokens]
        if not read:
            return np.full(len(texts), np.nan)
        engine = load_engine(folder, None, Execution(), seed=0)
        weights = [np.concatenate([np.zeros(1, np.float32), np.ones(len(tokens[t]) - 1, np.float32)]) for t in read]
        sequences = [TokenSequence(np.asarray(tokens[t], np.int32), w) for t, w in zip(read, weights, strict=True)]
        loss_of = {t: -float(logprobs.mean()) for t, logprobs in zip(read, engine.logprobs(sequences), strict=True)}
        return np.array([loss_of.get(t, np.nan) for t in texts])


def text_of(record: Record, of: Of) -> str:
    """The words of a record that say something of its own: no system turns, no labels."""
    if isinstance(record, Text):
        return record.text
    turns = [m.content for m in record.prompt if m.role != "system" and m.content]
    if isinstance(record, Example) and record.label is None and record.messages[-1].role != "assistant":
        turns.append(record.messages[-1].content)
    answers = list(answers_of(record))
    return "\n".join({"prompt": turns, "answer": answers, "row": turns + answers}[of])
