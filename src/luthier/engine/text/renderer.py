"""The renderer: messages to token ids and the weights of trained tokens, from the model's own chat template.

One decision: a conversation is cut at each assistant turn and the cut texts are encoded apart, so that
`render(messages) == prompt(messages[:-1]) + completion(answer)` (and then template text of weight 0) holds token by
token: training sees exactly the tokens that generation will see. A template where this cannot hold is refused.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np

from luthier.core.config import Config
from luthier.core.errors import UserError, from_os_error
from luthier.core.files import write_bytes
from luthier.core.keys import digest
from luthier.core.records import Message
from luthier.engine.text.files import read_special_tokens, read_stop_ids, read_template
from luthier.engine.text.saved import check_hash, reading
from luthier.engine.text.template import ChatTemplate
from luthier.engine.text.tokenizer import TextTokenizer
from luthier.engine.text.typed import Hidden, TypedTokens, plain_messages, texts_in

RENDERER_VERSION = 1
_PROBE = "Luthier"
# Given to a model that brings no chat template: plain words, each answer ended by the end-of-text token.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'] + '\\n\\n' }}"
    "{% elif message['role'] == 'user' %}{{ 'User:\\n' + message['content'] + '\\n' }}"
    "{% elif message['role'] == 'assistant' %}{{ 'Assistant:\\n' + message['content'] + eos_token + '\\n' }}"
    "{% else %}{{ raise_exception('the plain template has no turn for ' + message['role']) }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:\\n' }}{% endif %}"
)


class RenderPolicy(Config):
    """What is trained, and the day a template sees as today."""

    train_on: Literal["all", "last"] = "all"
    today: date = date(2025, 1, 1)


@dataclass(frozen=True, slots=True, eq=False)
class Rendered:
    """tokens int32 [N], weights float32 [N] (0 = not a target, weights[0] == 0), pieces (text, trained) for display."""

    tokens: np.ndarray
    weights: np.ndarray
    pieces: tuple[tuple[str, bool], ...]


@dataclass(frozen=True, slots=True)
class _Part:
    """A stretch of rendered text that is encoded apart; control tokens typed by people are still hidden in it."""

    text: str
    weight: float


@dataclass(frozen=True, slots=True)
class ChatStyle:
    """A chat template with what it needs: special tokens by role, declared stop ids; `origin` is model, given or plain."""

    template: str
    special: Mapping[str, str]
    stop_ids: tuple[int, ...]
    origin: Literal["model", "given", "plain"]


def is_raw(messages: Sequence[Message]) -> bool:
    """Whether this is raw text and no conversation."""
    return len(messages) == 1 and messages[0].role == "text"


class Renderer:
    """One object for training, evaluation and serving. `hash` covers everything that can change a token or a weight."""

    def __init__(self, tokenizer: TextTokenizer, style: ChatStyle, policy: RenderPolicy) -> None:
        self.tokenizer, self.style, self.policy = tokenizer, style, policy
        self._template = ChatTemplate(style.template, today=policy.today, special_tokens=style.special)
        self._typed = TypedTokens(tokenizer.control)
        self._bos = tokenizer.control.get(style.special.get("bos_token", ""))
        self._answer_prefix, self._answer_suffix, self.end_of_turn = self._probe_turn()
        self._eos = eos = tokenizer.control.get(style.special.get("eos_token", ""))
        self.stop_ids: tuple[int, ...] = tuple(sorted({*style.stop_ids, self.end_of_turn} | ({eos} if eos is not None else set())))
        self._stop_texts = tuple(t for t, i in tokenizer.control.items() if i in self.stop_ids)
        self.hash = digest(self._identity())
        self._completion = functools.lru_cache(maxsize=4096)(self._completion_ids)

    @classmethod
    def from_model(cls, folder: Path, policy: RenderPolicy | None = None, template: str | None = None) -> Renderer:
        """The renderer of a model folder. `template` replaces the model's own; a model with none gets PLAIN_TEMPLATE.

        `style.origin` says which it was: `given`, `model` or `plain`. Raises UserError when the tokenizer or template
        cannot be used exactly.
        """
        tokenizer, special, own = TextTokenizer.load(folder), read_special_tokens(folder), read_template(folder)
        stops = read_stop_ids(folder)
        if template is not None:
            style = ChatStyle(template, special, stops, "given")
        elif own is not None:
            style = ChatStyle(own, special, stops, "model")
        else:
            style = ChatStyle(PLAIN_TEMPLATE, special, stops, "plain")
        if style.origin == "plain" and special.get("eos_token") not in tokenizer.control:
            fix = "name eos_token in tokenizer_config.json, or give a chat template"
            raise UserError("a model without a chat template must have an end-of-text token", special.get("eos_token"), str(folder), fix)
        try:
            return cls(tokenizer, style, policy or RenderPolicy())
        except UserError as err:
            where = ", ".join(filter(None, (str(folder), err.where)))
            raise UserError(err.must, err.got, where, err.fix or "mend the model's chat template, or take another model") from None

    def _identity(self) -> dict[str, Any]:
        return {
            "version": RENDERER_VERSION,
            "template": self.style.template,
            "tokenizer_sha256": self.tokenizer.sha256,
            "special": dict(self.style.special),
            "stop_ids": sorted(set(self.style.stop_ids)),
            "policy": self.policy.model_dump(mode="json"),
        }

    def _probe_turn(self) -> tuple[str, str, int]:
        """What the template puts before and after an answer, and the token that ends the turn."""
        asked = [{"role": "user", "content": _PROBE}]
        self._probe_head = self._template.render(asked, (), add_generation_prompt=True)
        full = self._template.render([*asked, {"role": "assistant", "content": _PROBE}], (), add_generation_prompt=False)
        answer = self._after(full, self._probe_head)
        prefix, found, rest = answer.partition(_PROBE)
        if not found:
            raise UserError("the chat template must show the assistant's answer", repr(answer[:80]))
        suffix = ""
        for text, token in self.tokenizer.pieces(rest):
            if token is not None:
                return prefix, suffix, token
            suffix += text
        fix = "give a chat template that ends each answer with the end-of-text token"
        raise UserError("the chat template must end an answer with a control token, or the model never learns to stop", repr(rest), fix=fix)

    def _after(self, full: str, head: str) -> str:
        """What follows `head` in `full`. Raises UserError when `head` is not its beginning."""
        if not full.startswith(head):
            at = next((i for i, (a, b) in enumerate(zip(full, head, strict=False)) if a != b), min(len(full), len(head)))
            got = f"{full[max(at - 20, 0) : at + 20]!r} where the prompt has {head[max(at - 20, 0) : at + 20]!r}"
            raise UserError("the chat template must write the prompt unchanged before the answer", got, f"character {at}")
        return full[len(head) :]

    def render(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> Rendered:
        """Tokens and weights of a conversation, or of raw text. Raises UserError when no token would be trained."""
        if is_raw(messages):
            return self._render_raw(messages[0])
        hidden, parts = self._parts(messages, tools, generation=False)
        tokens, weights, shown = self._encode(parts, hidden)
        if not any(weights):
            raise UserError("a row must have at least one trained token", "none", fix="give it an assistant turn whose weight is not 0")
        if weights[0]:
            raise UserError("something must stand before the first trained token", "an answer at the very start")
        last = messages[-1]
        if last.role == "assistant" and not last.tool_calls:
            self._check_completion(last.content, parts, hidden, tokens)
        return Rendered(np.asarray(tokens, np.int32), np.asarray(weights, np.float32), tuple(shown))

    def _render_raw(self, message: Message) -> Rendered:
        """Raw text as `text` gives it, then the end-of-text token; all of it is trained but what nothing stands before."""
        tokens = self.text(message.content)
        if self._eos is not None and tokens[-1] != self._eos:
            tokens = np.append(tokens, np.int32(self._eos))
        weights = np.ones(len(tokens), np.float32)
        weights[0] = 0
        if len(tokens) < 2:
            raise UserError("a row must have at least one trained token", "an empty text")
        return Rendered(tokens, weights, ((message.content, True),))

    def text(self, text: str) -> np.ndarray:
        """Tokens int32 [N] of raw text, after what the tokenizer itself puts before any text (often nothing)."""
        return np.asarray(self.tokenizer.whole(text), np.int32)

    def prompt(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> np.ndarray:
        """Tokens int32 [N] of a conversation with the generation prompt at its end: what an answer is sampled from."""
        hidden, parts = self._parts(messages, tools, generation=True)
        return np.asarray(self._encode(parts, hidden)[0], np.int32)

    def completion(self, text: str) -> np.ndarray:
        """Tokens int32 [N] of an answer, the end of turn included: what follows `prompt`."""
        return np.asarray(self._completion(text), np.int32)

    def _completion_ids(self, text: str) -> tuple[int, ...]:
        hidden = Hidden([text])
        asked = [{"role": "user", "content": _PROBE}, {"role": "assistant", "content": self._typed.hide(text, hidden)}]
        full = self._template.render(asked, (), add_generation_prompt=False)
        answer = self._after(full, self._probe_head)
        return tuple(self._ids(answer[: self._turn_end(answer, 0)], hidden, self._before(self._probe_head)))

    def _parts(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], *, generation: bool) -> tuple[Hidden, list[_Part]]:
        """The rendered conversation cut at each assistant turn: prompt, answer, prompt, answer ... and what trails."""
        if not messages:
            raise UserError("a conversation must have at least one message", "none")
        plain = plain_messages(messages)
        hidden = Hidden(texts_in([plain, list(tools)]))
        safe, safe_tools = self._typed.hide_all(plain, hidden), self._typed.hide_all(list(tools), hidden)
        full = self._template.render(safe, safe_tools, add_generation_prompt=generation)
        self._check_shown(safe, safe_tools, full, generation)
        parts, here = [], 0
        for i, weight in self._turns(messages):
            head = self._template.render(safe[:i], safe_tools, add_generation_prompt=True)
            self._after(full, head)
            end = self._turn_end(full, len(head))
            if len(head) < here:
                raise UserError("assistant turns must follow each other in the rendered text", "an overlap", f"message {i + 1}")
            parts += [_Part(full[here : len(head)], 0.0), _Part(full[len(head) : end], weight)]
            here = end
        return hidden, [*parts, _Part(full[here:], 0.0)]

    def _turns(self, messages: Sequence[Message]) -> list[tuple[int, float]]:
        """(index, weight) of each assistant message; a message's own weight wins over the policy."""
        turns = [i for i, m in enumerate(messages) if m.role == "assistant"]
        out = []
        for i in turns:
            given = messages[i].weight
            out.append((i, float(self.policy.train_on == "all" or i == turns[-1]) if given is None else float(given)))
        return out

    def _turn_end(self, full: str, start: int) -> int:
        """Where the turn that begins at `start` ends: after its first stop token."""
        ends = [at + len(t) for t in self._stop_texts if (at := full.find(t, start)) >= 0]
        if not ends:
            raise UserError(
                "every answer must end with a stop token", repr(full[start : start + 60]), fix=f"stop tokens: {self._stop_texts}"
            )
        return min(ends)

    def _check_shown(self, safe: list[dict[str, Any]], tools: list[Any], full: str, generation: bool) -> None:
        """Refuse a template that leaves out a system or user turn, the tools, or a tool call, without a word."""
        for i, message in enumerate(safe):
            if message["role"] in ("system", "user") and message["content"].strip() not in full:
                raise UserError(f"the chat template must show every {message['role']} turn", "one left out or changed", f"message {i + 1}")
            for call in message.get("tool_calls", ()):
                if call.get("function", call)["name"] not in full:
                    raise UserError("the chat template must show tool calls", "a template without tools", f"message {i + 1}")
        if tools and self._template.render(safe, (), add_generation_prompt=generation) == full:
            raise UserError(
                "the chat template must show the tools", "a template without tools", fix="use a base model whose template supports them"
            )

    def _encode(self, parts: Sequence[_Part], hidden: Hidden) -> tuple[list[int], list[float], list[tuple[str, bool]]]:
        tokens: list[int] = []
        weights: list[float] = []
        shown: list[tuple[str, bool]] = []
        before: str | None = None
        for part in parts:
            if not part.text:
                continue
            ids = self._ids(part.text, hidden, before)
            tokens += ids
            weights += [part.weight] * len(ids)
            shown.append((hidden.reveal(part.text), part.weight != 0))
            before = self._before(part.text)
        if self._bos is not None and tokens[:2] == [self._bos, self._bos]:
            raise UserError("a conversation must begin with one beginning-of-text token", "two of them")
        return tokens, weights, shown

    def _ids(self, text: str, hidden: Hidden, before: str | None) -> list[int]:
        pieces = self.tokenizer.pieces(text, before)
        return self.tokenizer.encode(((hidden.reveal(t) if i is None else t, i) for t, i in pieces), before)

    def _before(self, text: str) -> str:
        """The control token that ends `text`, or nothing."""
        return next((t for t in self.tokenizer.control if text.endswith(t)), "")

    def _check_completion(self, answer: str, parts: Sequence[_Part], hidden: Hidden, tokens: list[int]) -> None:
        """The last answer of a rendered row must be what `completion` gives for it."""
        trailing = len(self._ids(parts[-1].text, hidden, self._before(parts[-2].text))) if parts[-1].text else 0
        wanted = self._completion(answer)
        found = tuple(tokens[len(tokens) - trailing - len(wanted) : len(tokens) - trailing])
        if found != wanted:
            raise UserError("the chat template must write an answer alike in every conversation", repr(parts[-2].text[:60]))

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, control tokens left out."""
        return self.tokenizer.decode(ids)

    def answer(self, ids: Iterable[int]) -> str:
        """The answer in generated ids: decoded, without what the template itself puts around an answer."""
        return self.bare(self.decode(ids))

    def bare(self, text: str) -> str:
        """Generated text without what the template itself puts around an answer."""
        return text.removeprefix(self._answer_prefix).removesuffix(self._answer_suffix)

    def save(self, folder: Path) -> None:
        """Write renderer.json, chat_template.jinja and tokenizer.json."""
        body = self._identity() | {"origin": self.style.origin, "hash": self.hash}
        del body["template"]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_bytes(folder / "renderer.json", json.dumps(body, indent=1, ensure_ascii=False).encode())
            write_bytes(folder / "chat_template.jinja", self.style.template.encode("utf-8"))
            write_bytes(folder / "tokenizer.json", self.tokenizer.data)
        except OSError as err:
            raise from_os_error(err, "saving the renderer to") from None

    @classmethod
    def load(cls, folder: Path) -> Renderer:
        """The renderer that `save` wrote. Raises CorruptArtifact when its files give another hash."""
        with reading(folder):
            body = json.loads((folder / "renderer.json").read_text(encoding="utf-8"))
            template = (folder / "chat_template.jinja").read_bytes().decode("utf-8")
            if body["version"] != RENDERER_VERSION:
                raise UserError(f"a saved renderer must be of version {RENDERER_VERSION}", body["version"], str(folder))
            tokenizer, policy = TextTokenizer.load(folder), RenderPolicy.model_validate(body["policy"])
            loaded = cls(tokenizer, ChatStyle(template, body["special"], tuple(body["stop_ids"]), body["origin"]), policy)
            check_hash(loaded.hash, body["hash"], folder)
        return loaded
