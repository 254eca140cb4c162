"""Style: how near an answer is to a set of texts that are written as they should be.

One decision: nearness is the cosine between the answer's embedding and the mean embedding of the reference set. An embedding holds
subject matter as well as tone, so the set should speak of what the answers speak of; the figure ranks models, and is no judgement.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from luthier.core.errors import UserError
from luthier.core.keys import SourceFile, file_sha256
from luthier.core.records import Example
from luthier.parts.scorers.scorer import WRITING, Answer, Score, Scorer

if TYPE_CHECKING:
    import numpy as np

_AT_ONCE = 128


class Style(Scorer):
    """The cosine in [0, 1] (below 0 counts as 0); an empty answer scores 0."""

    tasks: ClassVar[tuple[str, ...]] = WRITING
    needs_reference: ClassVar[bool] = False

    kind: Literal["style"] = "style"
    examples: SourceFile = Field(description="the reference set: a text a line (.txt), or JSONL with `text`")
    encoder: str = Field(default="minilm-l6", description="the base model that reads the texts: an encoder")

    def __call__(self, example: Example, output: str) -> Score:
        return self.score_all([example], [Answer(output)])[0]

    def check(self, examples: Sequence[Example]) -> None:
        read_texts(Path(self.examples.path))

    def score_all(self, examples: Sequence[Example], answers: Sequence[Answer]) -> list[Score]:
        """Many texts at once."""
        from luthier.parts.scorers.text_encoder import text_encoder

        path = Path(self.examples.path)
        middle = _middle(self.encoder, path, file_sha256(path))
        encoder, out = text_encoder(self.encoder), []
        for at in range(0, len(answers), _AT_ONCE):
            texts = [a.text for a in answers[at : at + _AT_ONCE]]
            near = encoder.embed(texts) @ middle
            out += [Score(min(1.0, max(0.0, float(x))) if t.strip() else 0.0) for t, x in zip(texts, near, strict=True)]
        return out


def read_texts(path: Path) -> list[str]:
    """The texts of a reference set. Raises UserError with the line that is wrong, or for fewer than two texts."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as err:
        raise UserError("the reference set must be a readable file", f"{path}: {err.strerror}", "style.examples") from None
    except UnicodeDecodeError:
        raise UserError("the reference set must be UTF-8 text", str(path), "style.examples") from None
    texts = [_text_of(line, f"{path}:{i}") for i, line in enumerate(lines, 1) if line.strip()] if path.suffix == ".jsonl" else lines
    texts = [t for t in texts if t.strip()]
    if len(texts) < 2:
        raise UserError("a reference set must have at least two texts", f"{len(texts)} in {path}", "style.examples")
    return texts


def _text_of(line: str, where: str) -> str:
    try:
        row = json.loads(line)
    except ValueError as err:
        raise UserError("a line of a reference set must be JSON", str(err), where) from None
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        raise UserError("a row of a reference set must have `text`", where=where)
    return row["text"]


@functools.lru_cache(maxsize=8)
def _middle(encoder: str, path: Path, sha256: str) -> np.ndarray:
    """The mean embedding of the set, of unit length, float32 [hidden]. sha256: the file's, so that a changed file is read again."""
    import numpy as np

    from luthier.parts.scorers.text_encoder import text_encoder

    texts = read_texts(path)
    rows = [text_encoder(encoder).embed(texts[at : at + _AT_ONCE]) for at in range(0, len(texts), _AT_ONCE)]
    mean = np.concatenate(rows).mean(axis=0)
    return mean / np.linalg.norm(mean)
