"""The renderer of encoders and encoder-decoders: plain text to tokens, with the special tokens of the model's own tokenizer.

One decision: it answers to the names of `text.renderer.Renderer`, so training, evaluation and `data show` do not ask which
one they hold. A text is cut (when the project says so) in here, by the same rule in training, evaluation and use.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydantic

from luthier.core.config import Config
from luthier.core.errors import UserError, from_os_error
from luthier.core.files import write_bytes
from luthier.core.keys import digest
from luthier.core.records import Message
from luthier.engine.text.answers import Answers
from luthier.engine.text.files import read_special_tokens
from luthier.engine.text.renderer import Rendered
from luthier.engine.text.saved import check_hash, reading
from luthier.engine.text.tokenizer import TextTokenizer

TEXT_RENDERER_VERSION = 1
FILE = "text_renderer.json"
TextKind = Literal["encoder", "seq2seq"]
_JOIN = "\n\n"


class TextPolicy(Config):
    """max_length: tokens of one text, special tokens included. cut: where a longer one is cut; `none` leaves it whole."""

    max_length: int = pydantic.Field(ge=4)
    cut: Literal["none", "start", "end"] = "none"


class TextRenderer:
    """`answers`: what an encoder's head gives; None for an encoder-decoder, whose answers are text. `hash` covers all of it."""

    def __init__(self, tokenizer: TextTokenizer, special: Mapping[str, str], policy: TextPolicy, answers: Answers | None) -> None:
        self.tokenizer, self.special, self.policy, self.answers = tokenizer, dict(special), policy, answers
        self.kind: TextKind = "seq2seq" if answers is None else "encoder"
        eos = tokenizer.control.get(self.special.get("eos_token", ""))
        if answers is None and (eos is None or tokenizer.whole("a")[-1] != eos):
            must = "an encoder-decoder's tokenizer must end a text with its end-of-text token"
            raise UserError(must, self.special.get("eos_token"), fix="save it with its post-processor (tokenizer.json)")
        self.stop_ids: tuple[int, ...] = () if answers is not None or eos is None else (eos,)
        self.hash = digest(self._identity())

    @classmethod
    def from_model(cls, folder: Path, policy: TextPolicy, answers: Answers | None) -> TextRenderer:
        """The renderer of a model folder. Raises UserError when its tokenizer cannot be used exactly."""
        return cls(TextTokenizer.load(folder), read_special_tokens(folder), policy, answers)

    def _identity(self) -> dict[str, Any]:
        return {
            "version": TEXT_RENDERER_VERSION,
            "tokenizer_sha256": self.tokenizer.sha256,
            "special": self.special,
            "policy": self.policy.model_dump(mode="json"),
            "answers": None if self.answers is None else self.answers.model_dump(mode="json"),
        }

    def prompt(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> np.ndarray:
        """Tokens int32 [N] of what is read, cut by the policy. Raises UserError for messages that have no plain form."""
        cut = None if self.policy.cut == "none" else (self.policy.max_length, self.policy.cut)
        return np.asarray(self.tokenizer.whole(*self._texts(messages, tools), cut=cut), np.int32)

    def whole_length(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> int:
        """Tokens of what is read, before anything is cut; of an encoder-decoder's answer where that is longer."""
        size = len(self.tokenizer.whole(*self._texts(messages[:-1], tools)))
        return size if self.answers is not None else max(size, len(self.completion(messages[-1].content)))

    def _texts(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> tuple[str, str | None]:
        """A text, or a text and its pair."""
        if tools or any(m.tool_calls for m in messages):
            raise UserError(f"an {self._name} reads text", "tools", fix="leave the tools out, or choose a decoder")
        if self.answers is None:
            return _JOIN.join(m.content for m in messages), None
        texts = [m.content for m in messages if m.role == "user"]
        if len(texts) < len(messages) or not 1 <= len(texts) <= 2:
            got = ", ".join(m.role for m in messages) or "nothing"
            fix = "leave data.prompt out (its system message means nothing to an encoder)"
            raise UserError("an encoder reads one text or a pair of texts (user messages)", got, fix=fix)
        return texts[0], texts[1] if len(texts) == 2 else None

    @property
    def _name(self) -> str:
        return "encoder" if self.answers is not None else "encoder-decoder"

    def completion(self, text: str) -> np.ndarray:
        """Tokens int32 [N] of an answer: what follows `prompt` in a training row."""
        return np.asarray(self.tokenizer.whole(text), np.int32) if self.answers is None else self.answers.ids(text)

    def render(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> Rendered:
        """Tokens and weights of a row: the text without, the answer with weight. Raises UserError when the last turn is no answer."""
        if len(messages) < 2 or messages[-1].role != "assistant" or messages[-1].tool_calls or messages[-1].weight == 0:
            raise UserError("a row must end with an answer that is trained", messages[-1].role if messages else "no message")
        prompt, answer = self.prompt(messages[:-1], tools), self.completion(messages[-1].content)
        weights = np.concatenate([np.zeros(len(prompt), np.float32), np.ones(len(answer), np.float32)])
        first, second = self._texts(messages[:-1], tools)
        pieces = ((first, False), *(() if second is None else ((f" | {second}", False),)), (f" -> {messages[-1].content}", True))
        return Rendered(np.concatenate([prompt, answer]), weights, pieces)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, control tokens left out."""
        return self.tokenizer.decode(ids)

    def answer(self, ids: Iterable[int]) -> str:
        """The answer in generated ids."""
        return self.decode(ids)

    def bare(self, text: str) -> str:
        """Generated text as it is: no template stands around it."""
        return text

    def save(self, folder: Path) -> None:
        """Write text_renderer.json and tokenizer.json."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            body = json.dumps(self._identity() | {"hash": self.hash}, indent=1, ensure_ascii=False)
            write_bytes(folder / FILE, body.encode())
            write_bytes(folder / "tokenizer.json", self.tokenizer.data)
        except OSError as err:
            raise from_os_error(err, "saving the renderer to") from None

    @classmethod
    def load(cls, folder: Path) -> TextRenderer:
        """The renderer that `save` wrote. Raises CorruptArtifact when its files give another hash."""
        with reading(folder):
            body = json.loads((folder / FILE).read_text(encoding="utf-8"))
            if body["version"] != TEXT_RENDERER_VERSION:
                raise UserError(f"a saved text renderer must be of version {TEXT_RENDERER_VERSION}", body["version"], str(folder))
            answers = None if body["answers"] is None else Answers.model_validate(body["answers"])
            loaded = cls(TextTokenizer.load(folder), body["special"], TextPolicy.model_validate(body["policy"]), answers)
            check_hash(loaded.hash, body["hash"], folder)
        return loaded
