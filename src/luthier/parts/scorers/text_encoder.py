"""The local encoder that bertscore and style read texts with, loaded once in a process.

One decision: it is a base model by its name (`minilm-l6` comes with Luthier), so no hub is asked; a text beyond what the encoder
reads is cut at its end, and a lone surrogate is read as U+FFFD.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luthier.core.errors import UserError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class TextEncoder:
    """engine: EncoderEngine; tokenizer: TextTokenizer; longest: tokens that a text may have."""

    engine: Any
    tokenizer: Any
    longest: int

    def tokens(self, text: str) -> np.ndarray:
        """A text's ids with the encoder's first and last token around them, int32 [N]."""
        import numpy as np

        readable = text.encode("utf-8", "replace").decode("utf-8")
        return np.asarray(self.tokenizer.whole(readable, cut=(self.longest, "end")), np.int32)

    def states(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The last layer's row of every token, of unit length: float32 [N, hidden] for each text."""
        import numpy as np

        found = self.engine.token_states([self.tokens(t) for t in texts])
        return [s / np.linalg.norm(s, axis=1, keepdims=True) for s in found]

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """The mean of the last layer's rows, of unit length: float32 [n, hidden]."""
        import numpy as np

        found = self.engine.token_states([self.tokens(t) for t in texts])
        means = np.stack([s.mean(axis=0) for s in found])
        return means / np.linalg.norm(means, axis=1, keepdims=True)


@functools.lru_cache(maxsize=2)
def text_encoder(name: str) -> TextEncoder:
    """The encoder called `name`. Raises UserError when the model is no encoder, MachineError when it cannot be had."""
    from luthier.core.execution import Execution
    from luthier.engine.encoder.load import load_encoder
    from luthier.engine.models.resolve import resolve
    from luthier.engine.select import prepare_machine
    from luthier.engine.text.tokenizer import TextTokenizer

    model = resolve(name)
    if model.kind != "encoder":
        raise UserError("an encoder is wanted", f"{name}, a {model.kind}", "encoder", "minilm-l6 is one")
    execution = Execution()
    engine = load_encoder(model.folder, None, None, execution, 0, prepare_machine(execution, "float32"))
    return TextEncoder(engine, TextTokenizer.load(model.folder), model.context_length)
