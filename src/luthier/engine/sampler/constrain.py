"""Completions that are JSON of a schema: which tokens may come next, through the library llguidance.

One decision: white space between JSON tokens is free but bounded (20 characters), so that a weak model cannot
fill its limit with blanks; everything else is the schema's own meaning, and an unknown keyword is refused, never ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from luthier.core.errors import MachineError, UserError
from luthier.engine.text.tokenizer import TextTokenizer

_WHITE_SPACE = r"[ \n\t]{0,20}"


class TokenConstraint(Protocol):
    """The state of one completion."""

    def mask(self) -> np.ndarray:
        """bool [vocabulary]: the tokens that may come next; stop tokens exactly where the completion may end."""
        ...

    def advance(self, token: int) -> None:
        """Take a token that the mask allowed (not a stop token)."""
        ...

    @property
    def complete(self) -> bool:
        """Whether nothing but the end can follow."""
        ...


class JsonGrammar:
    """A schema read once for a tokenizer; `start` gives each completion its own state.

    schema: JSON text. vocabulary: the model's, at least the tokenizer's. Raises UserError for a schema that is not
    valid, cannot be met, or says what llguidance does not know; MachineError when llguidance is not installed.
    """

    def __init__(self, schema: str, tokenizer: TextTokenizer, vocabulary: int, stop_ids: Sequence[int]) -> None:
        try:
            from llguidance import LLMatcher, LLTokenizer
        except ImportError:
            raise MachineError("answers of a JSON schema need the package llguidance: pip install 'luthier[structured]'") from None
        self._vocabulary, self._stop_ids = vocabulary, np.array(sorted(stop_ids), dtype=np.int64)
        if not stop_ids:
            raise UserError("a completion of a JSON schema must have a stop token", "none", "stop_ids")
        try:
            self._tokenizer = LLTokenizer(tokenizer.data.decode("utf-8"), n_vocab=vocabulary, eos_token=[int(i) for i in self._stop_ids])
            self._grammar = LLMatcher.grammar_from_json_schema(schema, overrides={"whitespace_pattern": _WHITE_SPACE})
        except ValueError as err:
            raise UserError("the JSON schema must be readable", str(err).splitlines()[0][:200], "json_schema") from None
        reason = LLMatcher.validate_grammar(self._grammar, self._tokenizer)
        if reason:
            raise UserError("the JSON schema must be one that an answer can meet", " ".join(reason.split())[:200], "json_schema")

    def start(self) -> TokenConstraint:
        """The state before the first token."""
        from llguidance import LLMatcher

        return _JsonState(LLMatcher(self._tokenizer, self._grammar), self._vocabulary, self._stop_ids)


class _JsonState:
    """One `LLMatcher`."""

    def __init__(self, matcher: Any, vocabulary: int, stop_ids: np.ndarray) -> None:
        self._matcher, self._vocabulary, self._stop_ids = matcher, vocabulary, stop_ids

    def mask(self) -> np.ndarray:
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._check()
        allowed = np.unpackbits(bits, count=self._vocabulary, bitorder="little").astype(bool)
        allowed[self._stop_ids] = self._matcher.is_accepting()
        return allowed

    def advance(self, token: int) -> None:
        self._matcher.consume_token(token)
        self._check()

    @property
    def complete(self) -> bool:
        return self._matcher.is_stopped() or (self._matcher.is_accepting() and not np.delete(self.mask(), self._stop_ids).any())

    def _check(self) -> None:
        if self._matcher.is_error():
            reason = " ".join(self._matcher.get_error().split())[:200]
            raise UserError("the JSON schema must be simple enough to be followed token by token", reason, "json_schema")
