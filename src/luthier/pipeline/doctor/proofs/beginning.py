"""Beginning of text: one token at most, and the same one wherever the model is asked.

One decision: a template that also uses the token at every turn (ChatML) is judged by how texts begin, not by how often the
token occurs; whether the tokenizer would add one by itself is measured and said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from luthier.pipeline.doctor.document import Figure
from luthier.pipeline.doctor.proof import Finding, Proof
from luthier.pipeline.doctor.raw import read_in_evaluation, reads_raw

if TYPE_CHECKING:
    from luthier.engine.text.load import AnyRenderer
    from luthier.pipeline.doctor.subject import Subject


class Beginning(Proof):
    """Every stored row, and the prompts that evaluation would send for a few of them."""

    kind: Literal["beginning"] = "beginning"
    order: ClassVar[int] = 30
    title: ClassVar[str] = "beginning of text"
    hurts: ClassVar[str] = "a doubled token shifts every position and the first attention sink: quality drops without a message"

    def __call__(self, subject: Subject) -> Finding:
        renderer = subject.renderer
        bos = renderer.tokenizer.control.get(_name(renderer))
        stored = [tuple(row.sequence.tokens[:2].tolist()) for row in subject.stored_rows]
        raw = reads_raw(subject)
        read = (read_in_evaluation(subject, r) if raw else renderer.prompt(r.example.prompt, r.example.tools) for r in subject.rows)
        asked = [tuple(tokens[:2].tolist()) for tokens in read]
        doubled = sum(len(two) == 2 and two[0] == two[1] == bos for two in (*stored, *asked)) if bos is not None else 0
        firsts = {two[0] for two in (*stored, *asked)} if not any(row.cut for row in subject.stored_rows) else {two[0] for two in asked}
        with_bos = sum(two[0] == bos for two in stored)
        figures = (
            Figure(name="texts that begin with the token twice", value=doubled, bound=0),
            Figure(name="different first tokens", value=len(firsts), bound=1 if with_bos else None),
        )
        return Finding(_words(renderer, bos, with_bos, len(stored)), figures)


def _name(renderer: AnyRenderer) -> str:
    """The token that may begin a text: an encoder's is its `cls_token`."""
    from luthier.engine.text.plain import TextRenderer

    if isinstance(renderer, TextRenderer):
        return renderer.special.get("cls_token") or renderer.special.get("bos_token", "")
    return renderer.style.special.get("bos_token", "")


def _words(renderer: AnyRenderer, bos: int | None, with_bos: int, rows: int) -> str:
    if bos is None:
        return f"the model has no beginning-of-text token, and none of {rows:,} rows begins with one"
    name = renderer.tokenizer.text_of(bos)
    if with_bos:
        return f"{with_bos:,} of {rows:,} stored rows and the prompts of evaluation begin with one {name}"
    adds = " though its tokenizer would add one by itself: other programs may" if _adds(renderer, bos) else ""
    return f"nothing writes {name}, and no row begins with one{adds}"


def _adds(renderer: AnyRenderer, bos: int) -> bool:
    """Whether tokenizer.json itself puts the token before a text."""
    from tokenizers import Tokenizer

    ids = Tokenizer.from_str(renderer.tokenizer.data.decode("utf-8")).encode("a", add_special_tokens=True).ids
    return bool(ids) and ids[0] == bos
