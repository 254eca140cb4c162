"""MeasureFit: how well a base knows the language of the rows: its perplexity on their own text, as it is and without a prompt.

One decision: bits for each character stand beside the perplexity, because tokens of two vocabularies are not alike and characters
are: only bits a character may be compared between bases of different tokenizers.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from luthier.core.artifacts import BaseModel, Dataset, LanguageFit
from luthier.core.errors import UserError
from luthier.core.events import Progress
from luthier.core.records import Example
from luthier.core.rows import read_split
from luthier.core.stage import Context, Stage

if TYPE_CHECKING:
    import numpy as np

MOST_TOKENS = 1024
"""Of a text that are read."""


class MeasureFit(Stage[LanguageFit]):
    """Of a decoder, on what users wrote in at most `rows` validation rows. The sealed rows are never read here."""

    base: Stage[BaseModel]
    dataset: Stage[Dataset]
    rows: int = Field(default=200, ge=1)

    def build(self, ctx: Context) -> LanguageFit:
        """Leaves nothing but the record. Raises UserError where no text has two tokens."""
        from luthier.stats.intervals import bca
        from luthier.stats.perplexity import BOUNDS, perplexity

        rows: list[Example] = read_split(ctx.get(self.dataset), "validation")[: self.rows]
        counts = self._counts(ctx, [text for row in rows if (text := own_text(row))])
        by_token, by_character = bca(counts, perplexity, bounds=BOUNDS), bca(counts, _bits, bounds=(0.0, 64.0))
        return LanguageFit(
            num_rows=len(counts),
            perplexity={"value": by_token.value, "low": by_token.low, "high": by_token.high},
            bits_per_character={"value": by_character.value, "low": by_character.low, "high": by_character.high},
        )

    def _counts(self, ctx: Context, texts: list[str]) -> np.ndarray:
        """Of each text without its first token: surprise in nats, tokens and characters. float64 [n, 3]."""
        import numpy as np

        from luthier.engine.contract import TokenSequence
        from luthier.engine.select import load_engine
        from luthier.engine.text.tokenizer import TextTokenizer

        base = ctx.get(self.base).result
        tokenizer = TextTokenizer.load(Path(base.folder))
        most = min(MOST_TOKENS, base.context_length or MOST_TOKENS)
        read = [ids for text in texts if len(ids := tokenizer.whole(text, cut=(most, "end"))) > 1]
        if not read:
            must = "perplexity needs a validation row whose text has at least two tokens"
            raise UserError(must, f"0 of {len(texts)} texts", "split.validation", "give rows with text of their own")
        sequences = [TokenSequence(np.asarray(ids, np.int32), np.r_[0.0, np.ones(len(ids) - 1)].astype(np.float32)) for ids in read]

        def tell(done: int, total: int) -> None:
            ctx.observer(Progress("language fit", done, total, "rows read"))
            if ctx.stop_requested():
                ctx.stop("reading the rows' own text starts over")

        found = load_engine(Path(base.folder), None, ctx.execution, 0).logprobs(sequences, tell)
        return np.array([(-float(x.sum()), len(x), len(tokenizer.decode(ids[1:]))) for x, ids in zip(found, read, strict=True)])


def own_text(row: Example) -> str:
    """What users wrote in a row; of raw text, which nobody asked for, the text itself."""
    return "\n".join(m.content for m in row.prompt if m.role == "user" and m.content) or ("" if row.prompt else row.reference)


def _bits(totals: np.ndarray) -> np.ndarray:
    import numpy as np

    return totals[..., 0] / np.log(2) / np.maximum(totals[..., 2], 1.0)
