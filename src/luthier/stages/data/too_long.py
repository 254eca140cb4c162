"""What happens to a row that is longer than the limit: four declared ways, each told row by row.

One decision: `cut_start` shortens the texts (earliest turns first, then the start of the last question) and renders
again, so the template's own tokens and the whole answer stay; `cut_end` and `split` work on tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from luthier.core.errors import UserError
from luthier.core.records import Example, Message, Text

if TYPE_CHECKING:
    from luthier.engine.contract import TokenSequence
    from luthier.engine.text.load import AnyRenderer
    from luthier.engine.text.plain import TextRenderer
    from luthier.engine.text.renderer import Renderer

TooLong = Literal["error", "drop", "cut_start", "cut_end", "split"]


@dataclass(frozen=True, slots=True)
class Fitted:
    """What is left of a row: no sequence when it had to be dropped, several when it was split; and why, in words."""

    sequences: tuple[TokenSequence, ...]
    reason: str


def fit(example: Example | Text, whole: TokenSequence, limit: int, policy: TooLong, renderer: AnyRenderer) -> Fitted:
    """Make a row of more than `limit` tokens fit, by `policy`. `error` is the caller's to raise."""
    from luthier.engine.text.plain import TextRenderer

    if isinstance(renderer, TextRenderer):
        return _fit_text(example, whole, limit, renderer)
    size = len(whole.tokens)
    if policy == "cut_start":
        return _last_tokens(whole, limit) if isinstance(example, Text) else _cut_start(example, size, limit, renderer)
    if policy == "cut_end":
        return _cut_end(whole, limit)
    if policy == "split":
        return _split(whole, limit)
    return Fitted((), f"longer than {limit} tokens ({size})")


def size_of(example: Example | Text, whole: TokenSequence, renderer: AnyRenderer) -> int:
    """Tokens of a row before anything is cut; of an encoder's or encoder-decoder's row, those of its longer text."""
    from luthier.engine.text.plain import TextRenderer

    return renderer.whole_length(example.messages, example.tools) if isinstance(renderer, TextRenderer) else len(whole.tokens)


def sequence_of(example: Example | Text, renderer: AnyRenderer) -> TokenSequence:
    """The rendered row, its targets weighted by the row's weight. Raises UserError that names the row's place."""
    from luthier.engine.contract import TokenSequence

    try:
        rendered = renderer.render(example.messages, example.tools)
    except UserError as err:
        where = f"{example.source}, {err.where}" if err.where else str(example.source)
        raise UserError(err.must, err.got, where, err.fix) from None
    weights = rendered.weights if example.weight == 1.0 else rendered.weights * rendered.weights.dtype.type(example.weight)
    return TokenSequence(rendered.tokens, weights)


def _fit_text(example: Example | Text, whole: TokenSequence, limit: int, renderer: TextRenderer) -> Fitted:
    """The renderer has cut the text already, if the project says so; an answer is never cut."""
    size, answer = size_of(example, whole, renderer), int((whole.weights != 0).sum())
    if renderer.answers is None and answer > limit:
        return Fitted((), f"its answer is longer than {limit} tokens ({answer})")
    if renderer.policy.cut == "none":
        return Fitted((), f"longer than {limit} tokens ({size})")
    return Fitted((whole,), f"cut at the {renderer.policy.cut} from {size} to {limit} tokens")


def _cut_end(whole: TokenSequence, limit: int) -> Fitted:
    from luthier.engine.contract import TokenSequence

    size, kept = len(whole.tokens), TokenSequence(whole.tokens[:limit], whole.weights[:limit])
    if not kept.weights.any():
        return Fitted((), f"longer than {limit} tokens ({size}), and nothing to train on in the first {limit}")
    return Fitted((kept,), f"cut at the end from {size} to {limit} tokens")


def _last_tokens(whole: TokenSequence, limit: int) -> Fitted:
    """Of raw text, which has no question to shorten."""
    from luthier.engine.contract import TokenSequence

    size, weights = len(whole.tokens), whole.weights[-limit:].copy()
    weights[0] = 0
    return Fitted((TokenSequence(whole.tokens[-limit:], weights),), f"cut at the start from {size} to {limit} tokens")


def _split(whole: TokenSequence, limit: int) -> Fitted:
    """Windows that overlap by one token, so that every target is trained once, with at least one token before it."""
    from luthier.engine.predictor import windows

    pieces = windows(whole, limit)
    return Fitted(tuple(pieces), f"split from {len(whole.tokens)} tokens into {len(pieces)} pieces of at most {limit}")


def _cut_start(example: Example, size: int, limit: int, renderer: Renderer) -> Fitted:
    """Leave out the earliest turns, then the start of the last user turn, until the row fits."""
    messages, turns = example.messages, 0
    while (shorter := without_first_turn(messages)) is not None and _length(example, messages, renderer) > limit:
        messages, turns = shorter, turns + len(messages) - len(shorter)
    asked = next((i for i in reversed(range(len(messages) - 1)) if messages[i].role == "user"), None)
    cut = 0
    if _length(example, messages, renderer) > limit and asked is not None:
        text = messages[asked].content
        low, high = 0, max(0, len(text) - 1)  # characters to leave out; at least one stays
        while low < high:
            middle = (low + high) // 2
            fits = _length(example, _shortened(messages, asked, middle), renderer) <= limit
            low, high = (low, middle) if fits else (middle + 1, high)
        messages, cut = _shortened(messages, asked, low), low
    done = sequence_of(replace(example, messages=messages), renderer)
    if len(done.tokens) > limit:
        return Fitted(
            (), f"longer than {limit} tokens ({size}) even without its question's start: instruction and answer alone are too long"
        )
    parts = [f"{turns} earlier messages"] * (turns > 0) + [f"the first {cut} characters of its question"] * (cut > 0)
    return Fitted((done,), f"cut at the start from {size} to {len(done.tokens)} tokens: without {' and '.join(parts)}")


def without_first_turn(messages: Sequence[Message]) -> tuple[Message, ...] | None:
    """The conversation without its earliest exchange (system messages stay); None when only the last one is left."""
    users = [i for i, m in enumerate(messages) if m.role == "user"]
    if len(users) < 2:
        return None
    return tuple(m for i, m in enumerate(messages) if m.role == "system" or i >= users[1])


def _shortened(messages: Sequence[Message], at: int, characters: int) -> tuple[Message, ...]:
    return tuple(replace(m, content=m.content[characters:]) if i == at else m for i, m in enumerate(messages))


def _length(example: Example, messages: Sequence[Message], renderer: Renderer) -> int:
    return len(sequence_of(replace(example, messages=tuple(messages)), renderer).tokens)
