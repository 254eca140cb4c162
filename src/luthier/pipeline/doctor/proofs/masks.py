"""Masks: what is trained is the answers, all of them and nothing else.

One decision: the stored tokens are judged, not the renderer that made them: each unbroken run of trained tokens is spelled
out and must be the answer of its row; a row that the length limit cut must hold a part of it.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, ClassVar, Literal

from luthier.pipeline.doctor.document import Figure
from luthier.pipeline.doctor.plain import mask_fault
from luthier.pipeline.doctor.proof import Finding, Proof
from luthier.pipeline.doctor.raw import faults_of_masks, reads_raw
from luthier.pipeline.doctor.subject import stretches

if TYPE_CHECKING:
    import numpy as np

    from luthier.core.records import Message
    from luthier.engine.text.load import AnyRenderer
    from luthier.engine.text.renderer import Renderer
    from luthier.pipeline.doctor.subject import StoredRow, Subject


class Masks(Proof):
    """Every stored row of the training and validation split."""

    kind: Literal["masks"] = "masks"
    order: ClassVar[int] = 10
    title: ClassVar[str] = "masks"
    hurts: ClassVar[str] = "the model would learn to write prompts, or would not learn the answers"

    def __call__(self, subject: Subject) -> Finding:
        rows = subject.stored_rows
        empty = [r for r in rows if not (r.sequence.weights != 0).any()]
        raw = reads_raw(subject)
        wrong = Counter(faults_of_masks(subject) if raw else (fault for r in rows if (fault := _fault(r, subject.renderer)) is not None))
        tokens, trained = (
            sum(int(n) for n in counts) for counts in zip(*((len(r.sequence.tokens), _trained(r)) for r in rows), strict=True)
        )
        what = "are those of transformers' own tokenizer, all but the first" if raw else "spell the answers and nothing else"
        proven = f"in all {len(rows):,} stored rows the trained tokens {what}"
        figures = (
            Figure(name="rows without a trained token", value=len(empty), bound=0),
            Figure(name="rows whose trained text is not their answers", value=sum(wrong.values()), bound=0),
            Figure(name="share of tokens that are trained", value=trained / tokens),
        )
        return Finding(proven, figures, tuple(f"{fault} ({n} rows)" for fault, n in wrong.most_common(2)))


def _trained(row: StoredRow) -> int:
    return int((row.sequence.weights != 0).sum())


def _fault(row: StoredRow, renderer: AnyRenderer) -> str | None:
    """What is wrong with the mask of one row, or None."""
    from luthier.engine.text.plain import TextRenderer

    if isinstance(renderer, TextRenderer):
        return mask_fault(row, renderer)
    found = [_spelled(renderer, row.sequence.tokens[a:b]) for a, b in stretches(row.sequence)]
    answers = _answers(row, renderer)
    if row.cut:
        whole = "".join(m.content for m in answers)
        return None if all(text.strip() in whole for text in found) else "a cut row trains text that is in no answer"
    if len(found) != len(answers):
        return f"{len(found)} trained stretches for {len(answers)} answers"
    wrong = [text for text, m in zip(found, answers, strict=True) if not m.tool_calls and text not in _forms(m.content, renderer)]
    return f"trained on {wrong[0][:40]!r}" if wrong else None


def _answers(row: StoredRow, renderer: Renderer) -> list[Message]:
    """The assistant turns that must be trained."""
    turns = [m for m in row.example.messages if m.role == "assistant"]
    default = [renderer.policy.train_on == "all" or m is turns[-1] for m in turns]
    return [m for m, d in zip(turns, default, strict=True) if (d if m.weight is None else m.weight != 0)]


def _forms(content: str, renderer: Renderer) -> set[str]:
    """The answer as a template may write it (trimmed or not), and as this tokenizer gives it back."""
    texts = {content, content.strip()}
    return texts | {renderer.tokenizer.spell(renderer.tokenizer.encode([(text, None)])) for text in texts}


def _spelled(renderer: Renderer, ids: np.ndarray) -> str:
    """The trained text without the stop token that ends it and without what the template itself puts around an answer."""
    text = renderer.tokenizer.spell(ids)
    end = renderer.tokenizer.text_of(int(ids[-1])) or ""
    return renderer.bare(text.removesuffix(end)) if int(ids[-1]) in renderer.stop_ids else text
