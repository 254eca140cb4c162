"""End of turn: the stop token is among the trained tokens of every answer, and a measured share of answers ends by itself.

One decision: a share is asked for only of a trained model whose answers are short enough to end within the limit; of an
untrained project the base's own share is measured and nothing is asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from luthier.pipeline.doctor.document import Figure
from luthier.pipeline.doctor.proof import Finding, Proof
from luthier.pipeline.doctor.raw import reads_raw
from luthier.pipeline.doctor.subject import stretches

if TYPE_CHECKING:
    from luthier.core.records import Example
    from luthier.pipeline.doctor.subject import StoredRow, Subject

NUM_PROMPTS, MOST_TOKENS = 8, 96
LEAST_SHARE = 0.5


class EndOfTurn(Proof):
    """Every stored row, and a few answers generated for validation rows."""

    kind: Literal["end_of_turn"] = "end_of_turn"
    order: ClassVar[int] = 20
    title: ClassVar[str] = "end of turn"
    hurts: ClassVar[str] = "the tuned model would never stop: answers run on to the limit of tokens"

    def __call__(self, subject: Subject) -> Finding:
        from luthier.engine.text.plain import TextRenderer

        if subject.kind == "encoder":
            return Finding("an encoder answers with a head and writes no text: no answer has an end", applies=False)
        if reads_raw(subject):
            return _of_texts(subject)
        renderer = subject.renderer
        stops = set(renderer.stop_ids)
        whole = [row for row in subject.stored_rows if not row.cut]
        without = sum(not _ends(row, stops) for row in whole)
        name = renderer.tokenizer.text_of(renderer.stop_ids[0] if isinstance(renderer, TextRenderer) else renderer.end_of_turn)
        share, asked, limit = _stop_share(subject)
        who = "the model" if subject.trained else "the untuned base"
        proven = f"{name} is the last trained token of every answer in {len(whole):,} rows"
        proven += f"; {who} answered {asked} prompts with up to {limit} tokens"
        bound = LEAST_SHARE if subject.trained and limit < MOST_TOKENS else None
        figures = (
            Figure(name="rows with an answer that does not train its end", value=without, bound=0),
            Figure(name="share of answers that end by themselves", value=share, bound=bound, at_least=True),
        )
        return Finding(proven, figures)


def _of_texts(subject: Subject) -> Finding:
    """Raw text ends with the end-of-text token, and is not answered."""
    whole = [row for row in subject.stored_rows if not row.cut]
    if not whole:
        return Finding("the length limit cut every text, so no stored row has its end", applies=False)
    without = sum(not _ends(row, set(subject.renderer.stop_ids)) for row in whole)
    figure = Figure(name="texts that do not train their end", value=without, bound=0)
    return Finding(f"a stop token is the last trained token of {len(whole):,} whole texts; raw text is not answered", (figure,))


def _ends(row: StoredRow, stops: set[int]) -> bool:
    """True when each trained stretch ends with a stop token."""
    ends = [end for _, end in stretches(row.sequence)]
    return bool(ends) and all(int(row.sequence.tokens[end - 1]) in stops for end in ends)


def _stop_share(subject: Subject) -> tuple[float, int, int]:
    """(share of answers that ended with a stop token, prompts asked, limit of tokens)."""
    from luthier.engine.contract import Sampling

    rows, renderer = _asked(subject), subject.renderer
    longest = max(len(renderer.completion(row.reference)) for row in rows)
    limit = min(2 * longest + 8, MOST_TOKENS)
    engine = subject.engine if subject.trained else subject.untuned
    answers = engine.sample([renderer.prompt(r.prompt, r.tools) for r in rows], Sampling(limit, stop_ids=renderer.stop_ids))
    return sum(a.finish == "stop" for a in answers) / len(answers), len(answers), limit


def _asked(subject: Subject) -> list[Example]:
    """The shortest validation rows (training rows where there are none)."""
    split = "validation" if "validation" in subject.stored else "train"
    known = subject.stored_rows if split == "train" else subject.stored_rows[len(subject.stored["train"].keys) :]
    rows = {row.example.key: row for row in known if not row.cut}
    chosen = sorted(rows.values(), key=lambda r: len(r.sequence.tokens))[:NUM_PROMPTS]
    return [row.example for row in chosen] or [row.example for row in subject.rows]
